"""How fast the pipeline is, as ratios within one run: `nox -s bench [-- COUNT …]`.

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

from scripts import tools
from scripts.helm import RELEASE
from tests.copies import copy_environment

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = os.cpu_count() or 1
ROUNDS = 5
FEW = 3
"""Environments of this repository, for which there is a goal in seconds."""

MEMORY = Path("/dev/shm")
"""Where there is one, files are written here: a disk takes as long for a file of ours as of the
others', and from day to day between 20 and 400 µs, which would be all that one sees."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One command's cost."""

    seconds: float
    peak_mib: float
    """The largest single process."""


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
    return Measure(seconds, usage.ru_maxrss / 1024)


def median(measures: Sequence[Measure]) -> Measure:
    """Return the median time and the highest peak."""
    return Measure(
        statistics.median(m.seconds for m in measures), max(m.peak_mib for m in measures)
    )


def generate(folder: Path, count: int) -> None:
    """Write a repository of so many environments, prod's shape with values of their own."""
    for part in ("chart", "base", "tools/python"):
        shutil.copytree(ROOT / part, folder / part)
    prod = ROOT / "overlays" / "prod"
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
    return run([sys.executable, "-m", "scripts", "--repository", folder, command, *more])


def helm(folder: Path, output: Path) -> Measure:
    """Run one `helm template` an environment, as many at a time as there are processors."""
    program = tools.tool("helm4")

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
        tools.tool("helm4"),
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
            shutil.copytree(ROOT / "argocd", repository / "argocd", dirs_exist_ok=True)
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


def main() -> None:
    """Print all tables."""
    counts = [int(argument) for argument in sys.argv[1:]] or [FEW, 10, 100]
    seconds = {count: compare(count) for count in counts}
    few, many = min(seconds), max(seconds)
    if few < many:
        added = (seconds[many] - seconds[few]) / (many - few)
        print(f"\neach further environment costs {added * 1000:.0f} ms of a cold render")
    validation(counts)
    nox = shutil.which("nox")
    if nox:
        command = [nox, "-s", "render", "validate"]
        run(command)
        print(f"\nnox -s render validate on this repository, warm, median of {ROUNDS}")
        row("", median([run(command) for _ in range(ROUNDS)]))
        print("(goal: at most 4 s)")


if __name__ == "__main__":
    main()
