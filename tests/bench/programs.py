"""The commands that are compared: ours, Helm, helmfile, dyff and checkov."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import yaml

from scripts.checks.policy_scanners import CHECKOV
from scripts.core import toolchain
from scripts.core.findings import UsageError
from scripts.environments.layout import RELEASE
from tests.bench import fleets
from tests.bench.measuring import PROCESSES, Measure, many, run

KUBERNETES = "1.34"
RUNBOOKS = "metrics.prometheusRule.runbookUrl", "https://git.example.com/runbooks"
"""A value that the chart demands, and that our commands make from the URL of the repository."""
HELMFILE = "helmfile"
HELMFILE_TEMPLATE = "helmfile template"


def ours(folder: Path, command: str, *more: str) -> Measure:
    """Run a command of this program on the repository."""
    return run([sys.executable, "-m", "scripts", "--repository", folder, command, *more])


def nox(folder: Path, *sessions: str) -> Measure:
    """Run sessions in a copy of this repository, as a person does."""
    program = shutil.which("nox")
    if program is None:
        raise SystemExit("nox is not on PATH: install it (pip install nox), or choose other parts")
    return run([program, "-s", *sessions], folder)


def helm(folder: Path, output: Path) -> Measure:
    """Run one `helm template` an environment, as many at a time as there are processors."""
    program = toolchain.tool("helm4")

    def command(overlay: Path) -> list[str | Path]:
        files = [f"--values={path}" for path in fleets.layers(folder, overlay)]
        call: list[str | Path] = [program, "template", RELEASE, folder / "chart", *files]
        call += [f"--kube-version={KUBERNETES}", f"--namespace=linea-{overlay.name}"]
        call += [f"--set={'='.join(RUNBOOKS)}"]
        return [*call, f"--output-dir={output / overlay.name}"]

    commands = [command(overlay) for overlay in fleets.overlays(folder)]
    return many([partial(run, command) for command in commands])


def helmfile(folder: Path, output: Path) -> dict[str, Measure]:
    """Run one helmfile over all environments; return nothing if it is not installed."""
    if not toolchain.is_there(HELMFILE):
        return {}
    releases = [
        {
            "name": f"{RELEASE}-{overlay.name}",
            "namespace": f"linea-{overlay.name}",
            "chart": "./chart",
            "set": [dict(zip(("name", "value"), RUNBOOKS, strict=True))],
            "values": [
                path.relative_to(folder).as_posix() for path in fleets.layers(folder, overlay)
            ],
        }
        for overlay in fleets.overlays(folder)
    ]
    file = folder / "helmfile.yaml"
    file.write_text(yaml.safe_dump({"kubeVersion": KUBERNETES, "releases": releases}), "utf-8")
    command: list[str | Path] = [toolchain.tool(HELMFILE), "--file", file]
    command += ["--helm-binary", toolchain.tool("helm4"), "template", "--skip-deps"]
    try:
        command += ["--concurrency", str(PROCESSES), "--output-dir", output]
        return {HELMFILE_TEMPLATE: run(command, folder)}
    finally:
        file.unlink()


def dyff(pairs: Sequence[tuple[Path, Path]]) -> Measure:
    """Run one `dyff between` for each pair of files, as many at a time as there are processors."""
    program = toolchain.tool("dyff")
    return many([partial(run, [program, "between", *pair]) for pair in pairs])


def checkov(folder: Path) -> Measure:
    """Run one checkov an environment, as many at a time as there are processors."""
    options = ["--framework=kubernetes", "--skip-download", "--output=json", "--compact"]
    calls: list[Callable[[], Measure]] = []
    for overlay in fleets.overlays(folder):
        command: list[str | Path] = [CHECKOV, "-I", "-m", "checkov.main", *options, "--directory=."]
        # 1: a check has failed.
        calls.append(partial(run, command, overlay / "manifests", (0, 1)))
    return many(calls)


def prepare(names: Sequence[str]) -> list[str]:
    """Install the tools before anything is measured, and return those that are there.

    helmfile may be missing: what it takes to build it, some machines have not. Raises SystemExit if
    another tool can't be installed.
    """
    installed = []
    for name in names:
        try:
            toolchain.build([name])
        except UsageError as error:
            if name != HELMFILE:
                raise SystemExit(f"bench: {error}") from None
            print(f"bench: it is measured without {name}, which can't be installed: {error}")
        else:
            installed.append(name)
    return installed


def versions(names: Sequence[str]) -> str:
    """Return the versions of the tools, for the table."""
    installed = filter(toolchain.is_there, names)
    return ", ".join(f"{name} {toolchain.version(name)}" for name in installed)


def machine() -> str:
    """Return the processor, the number of processors, and the memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "CPU")
    return f"{PROCESSES} × {model}, {memory:.0f} GiB of memory"
