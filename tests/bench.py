"""How fast the pipeline is, as ratios within one run: `nox -s bench [-- [releases|impact] N …]`.

releases: only a cold render of 100 environments over three releases, beside one release.
impact: only the report of what a change does, of 300 environments where no other count is given.

Environments are generated into a temporary copy of the repository; ours and the others' commands
take turns, and the medians are compared.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from scripts.core import toolchain
from scripts.environments.layout import RELEASE
from tests import example_repository
from tests.environment_copies import copy_environment
from tests.git import git

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = os.cpu_count() or 1
ROUNDS = 5
FEW = 3
"""Environments of this repository, for which there is a goal in seconds."""
MANY = 300
"""Environments for which the report of a change has goals in seconds."""
IMPACT_MIB = 500
"""The most that it may take with all of its processes."""

MEMORY = Path("/dev/shm")
"""Where there is one, files are written here: a disk takes as long for a file of ours as of the
others', and from day to day between 20 and 400 µs, which would be all that one sees."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One command's cost."""

    seconds: float
    peak_mib: float
    """The largest single process."""
    processor_s: float = 0.0
    """What it kept processors busy for, with its children; another load does not change it."""


ENGINE = ("env", "GOGC=800", "GOMAXPROCS=1", "GOMEMLIMIT=250MiB")
"""Starts a program with the settings of Go with which nox starts this one: see noxfile.py."""


def run(command: Sequence[str | Path], cwd: Path = ROOT) -> Measure:
    """Run a command to its end and return what it cost; raises where it fails."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        assert process.stderr is not None
        if process.returncode:
            raise SystemExit(f"{command[0]}: {process.stderr.read().decode()}")
    return Measure(seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)


def median(measures: Sequence[Measure]) -> Measure:
    """Return the median times and the highest peak."""
    return Measure(
        statistics.median(m.seconds for m in measures),
        max(m.peak_mib for m in measures),
        statistics.median(m.processor_s for m in measures),
    )


def generate(folder: Path, count: int) -> None:
    """Write a repository of so many environments, prod's shape with values of their own."""
    example = example_repository.path()
    for part in ("chart", "base", "tools/python"):
        shutil.copytree(example / part, folder / part)
    prod = example / "overlays" / "prod"
    for number in range(count):
        name = f"env-{number:03}"
        overlay = folder / "overlays" / name
        copy_environment(prod, overlay, number)
        text = (overlay / "values.yaml").read_text("utf-8")
        # Two environments can't share a host or a role in the cloud.
        for shared in ("linea.example.com", "role/linea-prod"):
            text = text.replace(shared, shared.replace("linea", f"linea-{name}", 1))
        values = yaml.safe_load(text)
        values["besu"]["podLabels"] = {"example.com/number": f"n{number:03}"}
        values["txSender"] = {"amount": number + 1}
        (overlay / "values.yaml").write_text(yaml.safe_dump(values), "utf-8")


def ours(folder: Path, command: str, *more: str) -> Measure:
    """Run a command of this program on the repository."""
    return run([*ENGINE, sys.executable, "-m", "scripts", "--repository", folder, command, *more])


def helm(folder: Path, output: Path) -> Measure:
    """Run one `helm template` an environment, as many at a time as there are processors."""
    program = toolchain.tool("helm4")

    def one(overlay: Path) -> Measure:
        layers = [folder / "base" / "values.yaml"]
        layers += [folder / "base" / "profiles" / f"{p}.yaml" for p in profiles(overlay)]
        layers += [overlay / "network.yaml", overlay / "values.yaml"]
        files = [f"--values={path}" for path in layers]
        command: list[str | Path] = [program, "template", RELEASE, folder / "chart"]
        command += ["--kube-version=1.34"]
        command += [f"--namespace=linea-{overlay.name}", f"--output-dir={output / overlay.name}"]
        return run([*command, *files])

    began = time.perf_counter()
    with ThreadPoolExecutor(PROCESSES) as pool:
        each = list(pool.map(one, sorted((folder / "overlays").iterdir())))
    return Measure(time.perf_counter() - began, max(m.peak_mib for m in each))


def profiles(overlay: Path) -> list[str]:
    """Return the profiles of a generated environment."""
    return list(yaml.safe_load((overlay / "environment.yaml").read_text("utf-8"))["profiles"])


def helmfile(folder: Path, output: Path) -> Measure | None:
    """Run one helmfile over all environments, where it is on PATH."""
    program = shutil.which("helmfile")
    if not program:
        return None
    releases = []
    for overlay in sorted((folder / "overlays").iterdir()):
        layers = ["base/values.yaml", *(f"base/profiles/{p}.yaml" for p in profiles(overlay))]
        layers.append(f"overlays/{overlay.name}/values.yaml")
        releases.append(
            {
                "name": f"{RELEASE}-{overlay.name}",
                "namespace": f"linea-{overlay.name}",
                "chart": "./chart",
                "values": layers,
            }
        )
    file = folder / "helmfile.yaml"
    file.write_text(yaml.safe_dump({"kubeVersion": "v1.34.0", "releases": releases}), "utf-8")
    command: list[str | Path] = [
        program,
        "--helm-binary",
        toolchain.tool("helm4"),
        "--file",
        file,
        "template",
    ]
    return run([*command, "--concurrency", str(PROCESSES), "--output-dir", output], folder)


def row(name: str, measure: Measure, against: Measure | None = None, goal: float = 0) -> None:
    """Print a line of the table."""
    ratio = f"{measure.seconds / against.seconds:8.2f}" if against else " " * 8
    wanted = f"  (goal: at most {goal})" if goal else ""
    print(f"{name:44}{measure.seconds:8.2f} s{measure.peak_mib:9.0f} MiB{ratio}{wanted}")


def one_round(folder: Path, count: int) -> dict[str, Measure | None]:
    """Return what each command costs, in a repository of its own.

    Nothing is deleted between rounds: some file systems make files slowly just after many were
    deleted.
    """
    repository = folder / "repository"
    generate(repository, count)
    return {
        "helm": helm(repository, folder / "helm"),
        "helmfile": helmfile(repository, folder / "helmfile"),
        "cold": ours(repository, "render"),
        "unchanged": ours(repository, "render"),
        "check": ours(repository, "render", "--check"),
    }


def compare(count: int) -> float:
    """Print the table for so many environments; return the seconds of a cold render."""
    print(f"\n{count} environments, {PROCESSES} processes, median of {ROUNDS}")
    print(f"{'':44}{'time':>10}{'peak':>13}{'ratio':>8}")
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as temporary:
        rounds = [one_round(Path(temporary) / str(number), count) for number in range(ROUNDS)]
    found = {
        name: median([m for r in rounds if (m := r[name]) is not None])
        for name in rounds[0]
        if rounds[0][name] is not None
    }
    row("helm template, one process an environment", found["helm"])
    if "helmfile" in found:
        row("helmfile template", found["helmfile"], found["helm"])
    row("render, cold (ratio to helm)", found["cold"], found["helm"], 0.5)
    row("render, nothing changed (ratio to cold)", found["unchanged"], found["cold"], 0.2)
    row("render --check (ratio to cold)", found["check"], found["cold"])
    return found["cold"].seconds


def validation(counts: Sequence[int]) -> None:
    """Print what validate costs, each time after one that is not counted."""
    print(f"\nvalidate with all layers, warm, median of {ROUNDS}")
    each = dict[int, float]()
    for count in sorted(counts):
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as temporary:
            repository = Path(temporary)
            generate(repository, count)
            argocd = example_repository.path() / "argocd"
            shutil.copytree(argocd, repository / "argocd", dirs_exist_ok=True)
            ours(repository, "render")
            ours(repository, "validate")
            measure = median([ours(repository, "validate") for _ in range(ROUNDS)])
        each[count] = measure.seconds / count
        row(f"{count} environments", measure, goal=1.5 if count == FEW else 0)
        print(f"{'':44}{each[count] * 1000:8.0f} ms an environment")
    few, many = min(each), max(each)
    if few < many:
        ratio = each[many] / each[few]
        print(f"an environment among {many} costs {ratio:.2f} times what it costs among {few}")


def impact(count: int) -> None:
    """Print what the report of a change costs, beside dyff on the same pairs of files.

    A change is a tag of Besu's: of one environment, of all alike, of each another, which can't be
    told together.
    """
    print(f"\nimpact of a change, {count} environments, {PROCESSES} processes, median of {ROUNDS}")
    print(f"{'':44}{'time':>10}{'peak':>13}{'ratio':>8}")
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as temporary:
        repository = Path(temporary) / "repository"
        generate(repository, count)
        ours(repository, "render")
        git(repository, "init", "--quiet")
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "--message", "before")
        was = documents(repository, Path(temporary) / "was")
        overlays = sorted((repository / "overlays").iterdir())
        changes: dict[str, tuple[list[Path], float]] = {
            "nothing changed": ([], 0),
            "one changed": (overlays[:1], 3),
            "all changed alike": (overlays, 20),
            "all changed, each otherwise": (overlays, 20),
        }
        for what, (changed, goal) in changes.items():
            for number, overlay in enumerate(changed):
                retag(overlay / "values.yaml", number if "each" in what else 0)
            if changed:
                ours(repository, "render")
            now = documents(repository, Path(temporary) / what)
            pairs = [(was / f"{one.name}.yaml", now / f"{one.name}.yaml") for one in changed]
            compare_impact(repository, what, pairs, goal)


def compare_impact(
    repository: Path, what: str, pairs: Sequence[tuple[Path, Path]], goal: float
) -> None:
    """Print the lines of a change: its report's, dyff's, and what both have cost processors."""
    own, other = list[Measure](), list[Measure]()
    for _ in range(ROUNDS):
        own.append(ours(repository, "impact", "--against", "HEAD"))
        if pairs:
            other.append(dyff(pairs))
    found = median(own)
    beside = median(other) if pairs else None
    row(what, found, beside, goal)
    told = f"busy for {found.processor_s:.2f} s"
    if beside:
        row(f"  dyff between, of {len(pairs)}", beside)
        told += (
            f", dyff for {beside.processor_s:.2f} s: {found.processor_s / beside.processor_s:.2f}"
        )
    # Its workers share with it what they began with, so that this is more than they take.
    most = found.peak_mib * (1 + PROCESSES if len(pairs) > 1 else 1)
    print(f"  {told}; all its processes: at most {most:.0f} MiB (goal: {IMPACT_MIB})")


def releases(count: int) -> None:
    """Print what a cold render costs over three releases, beside one, and the working tree.

    All have the same contents but for a comment, so that only the number of releases differs.
    """
    print(f"\nreleases of {count} environments, {PROCESSES} processes, median of {ROUNDS}")
    print(f"{'':44}{'time':>10}{'peak':>13}{'ratio':>8}")
    found: dict[str, list[Measure]] = {"the working tree": [], "one release": []}
    found["three releases"] = []
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as temporary:
        for number in range(ROUNDS):
            repository = Path(temporary) / str(number)
            generate(repository, count)
            git(repository, "init", "--quiet", "--initial-branch=main")
            for tag in RELEASES:
                values = repository / "chart" / "values.yaml"
                values.write_text(f"{values.read_text('utf-8')}# {tag}\n", "utf-8")
                git(repository, "add", "--all")
                git(repository, "commit", "--quiet", "--message", tag)
                git(repository, "tag", tag)
            for what, tags in zip(found, ((), RELEASES[:1], RELEASES), strict=True):
                pin(repository, tags)
                shutil.rmtree(repository / ".render", ignore_errors=True)
                for overlay in (repository / "overlays").iterdir():
                    shutil.rmtree(overlay / "manifests", ignore_errors=True)
                found[what].append(ours(repository, "render"))
    one = median(found["one release"])
    row("the working tree", median(found["the working tree"]), one)
    row("one release", one)
    three = median(found["three releases"])
    row("three releases (ratio to one)", three, one, 1.3)
    print(f"  busy for {three.processor_s / one.processor_s:.2f} times as long")


RELEASES = ("v0.1.0", "v0.2.0", "v0.3.0")


def pin(repository: Path, tags: Sequence[str]) -> None:
    """Give the environments the releases in turn; without any, they have the working tree."""
    for number, overlay in enumerate(sorted((repository / "overlays").iterdir())):
        file = overlay / "environment.yaml"
        lines = file.read_text("utf-8").splitlines(keepends=True)
        own = [line for line in lines if not line.startswith("release: ")]
        own += [f"release: {tags[number % len(tags)]}\n"] if tags else []
        file.write_text("".join(own), "utf-8")


def retag(values: Path, number: int) -> None:
    """Give an environment's Besu nodes the tag of that number."""
    data = yaml.safe_load(values.read_text("utf-8"))
    for component in ("besu", "sequencer"):
        data[component]["image"] = {"tag": f"26.1.{number}"}
    values.write_text(yaml.safe_dump(data), "utf-8")


def documents(repository: Path, folder: Path) -> Path:
    """Write one file for each environment, with all of its manifests, and return their folder."""
    folder.mkdir()
    for overlay in (repository / "overlays").iterdir():
        texts = [one.read_text("utf-8") for one in sorted((overlay / "manifests").iterdir())]
        (folder / f"{overlay.name}.yaml").write_text("---\n".join(texts), "utf-8")
    return folder


def dyff(pairs: Sequence[tuple[Path, Path]]) -> Measure:
    """Run one `dyff between` for each pair of files, as many at a time as there are processors."""
    program = toolchain.tool("dyff")
    began = time.perf_counter()
    with ThreadPoolExecutor(PROCESSES) as pool:
        each = list(pool.map(lambda pair: run([program, "between", *pair]), pairs))
    return Measure(
        time.perf_counter() - began,
        max(one.peak_mib for one in each),
        sum(one.processor_s for one in each),
    )


def main() -> None:
    """Print all tables."""
    words = sys.argv[1:]
    if words[:1] == ["releases"]:
        releases(int((words[1:] or ["100"])[0]))
        return
    if words[:1] == ["impact"]:
        for word in words[1:] or [str(MANY)]:
            impact(int(word))
        return
    counts = [int(word) for word in words] or [FEW, 10, 100]
    seconds = {count: compare(count) for count in counts}
    few, many = min(seconds), max(seconds)
    if few < many:
        added = (seconds[many] - seconds[few]) / (many - few)
        print(f"\neach further environment costs {added * 1000:.0f} ms of a cold render")
    validation(counts)
    impact(MANY)
    nox = shutil.which("nox")
    if nox:
        command = [nox, "-s", "render", "validate"]
        run(command)
        print(f"\nnox -s render validate on this repository, warm, median of {ROUNDS}")
        row("", median([run(command) for _ in range(ROUNDS)]))
        print("(goal: at most 4 s)")


if __name__ == "__main__":
    main()
