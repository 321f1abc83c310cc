"""Every command a person runs here; bare `nox` does what a pull request must pass."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["check", "validate", "policy", "lint", "tests", "e2e"]
# A mistake in an input fails `render`, and would fail `validate` and `policy` with the same words.
nox.options.stop_on_first_error = True

ROOT = Path(__file__).resolve().parent
LOCKS = ROOT / "tools" / "python"
ENVIRONMENT = ROOT / ".nox" / "python"
PYTHON = ENVIRONMENT / "bin" / "python"
CHECKOV = ROOT / ".nox" / "policy"
"""An environment of its own, as checkov holds other versions than the locks that agree."""

CLEAN = {"PYTHONHOME": None, "PYTHONPATH": None, "VIRTUAL_ENV": None}
"""Other projects' settings that would bring other packages than the locks'."""


@nox.session
def render(session: nox.Session) -> None:
    """Write the manifests and Applications of all environments, or of those named: -- prod."""
    install(session, "pipeline")
    run(session, "scripts", "render", *session.posargs)


@nox.session
def check(session: nox.Session) -> None:
    """Show where the committed output is not what the inputs give; write nothing."""
    install(session, "pipeline")
    run(session, "scripts", "render", "--check", *session.posargs)


@nox.session
def validate(session: nox.Session) -> None:
    """Prove environments offline: -- prod [--against origin/main] [--format json|sarif|github]."""
    install(session, "pipeline")
    run(session, "scripts", "validate", *session.posargs)


@nox.session
def impact(session: nox.Session) -> None:
    """Tell what a change does when it is merged: -- --against origin/main [--format markdown]."""
    install(session, "pipeline")
    run(session, "scripts", "impact", *session.posargs)


@nox.session
def merge(session: nox.Session) -> None:
    """Resolve conflicts in rendered files, once those in inputs are: render, and git add them."""
    install(session, "pipeline")
    run(session, "scripts", "merge", *session.posargs)


@nox.session
def policy(session: nox.Session) -> None:
    """Run kube-score and checkov on all environments, or those named: -- prod --format …."""
    install(session, "pipeline")
    install(session, "policy", environment=CHECKOV)
    run(session, "scripts", "policy", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check the form of code, chart, scripts, workflows and hand-written YAML."""
    install(session, "pipeline", "cluster", "tests", "lint")
    built = run(session, "scripts.tools", "actionlint", "helm4", silent=True)
    actionlint, helm = built.split()
    shell = sorted((ROOT / "chart" / "files").rglob("*.sh"))
    every(
        session,
        [PYTHON, "-m", "ruff", "check"],
        [PYTHON, "-m", "ruff", "format", "--check"],
        [PYTHON, "-m", "mypy"],
        [ENVIRONMENT / "bin" / "lint-imports"],
        [PYTHON, "-m", "yamllint", "--strict", "."],
        [ENVIRONMENT / "bin" / "shellcheck", ".ci/run", *shell],
        [actionlint, "-shellcheck", ENVIRONMENT / "bin" / "shellcheck", "-pyflakes="],
        [ENVIRONMENT / "bin" / "zizmor", "--offline", "--quiet", ".github/workflows"],
        [helm, "lint", "--strict", "--quiet", "chart"],
        [PYTHON, "-m", "scripts", "values-table", "--check"],
        [PYTHON, "-m", "scripts", "rules-table", "--check"],
    )


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests: -- tests/test_x.py -k name; -- --stress 10: so often, beside a load."""
    install(session, "pipeline", "tests")
    install(session, "policy", environment=CHECKOV)
    run(
        session,
        "scripts.tools",
        "axe-core",
        "cast",
        "chromium",
        "crane",
        "cyclonus",
        "geth",
        "helm3",
        "helm4",
        "kube-score",
        "kubeconform",
        "promtool",
        "rclone",
        silent=True,
    )
    pytest(session)


@nox.session
def e2e(session: nox.Session) -> None:
    """Prove on a real control plane and Argo CD that it syncs: -- -k drift [--against REVISION]."""
    install(session, "pipeline", "cluster", "tests")
    run(session, "scripts", "cluster", "--build")
    # Each of the two has a cluster of its own, for the files that it takes; a third gains 20 s.
    # They begin with the one that takes longest, not with the one of most tests.
    # The time-out ends what hangs: the first test of each waits for a cluster and two syncs.
    options = ("-n2", "--dist=loadfile", "--no-loadscope-reorder", "--timeout=10800")
    pytest(session, *options, "tests/e2e")


@nox.session
def cluster(session: nox.Session) -> None:
    """Run such a cluster with all environments, until Ctrl-C: -- [--kubernetes 1.37]."""
    install(session, "pipeline", "cluster")
    run(session, "scripts", "cluster", *session.posargs)


@nox.session
def images(session: nox.Session) -> None:
    """Look up the digests that base/images.yaml lacks; -- --refresh: which tags have moved."""
    install(session, "pipeline")
    run(session, "scripts", "images", *session.posargs)


@nox.session
def network(session: nox.Session) -> None:
    """Make an environment's own chain, keys and genesis: -- dev [--validators N] [--chain-id N]."""
    install(session, "pipeline")
    run(session, "scripts", "network", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the pipeline against one helm process an environment: -- [impact] COUNT …."""
    install(session, "pipeline")
    run(session, "tests.bench", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Update generated text: the chart's values (README, descriptions in its schema), the rules."""
    install(session, "pipeline")
    run(session, "scripts", "values-table", *session.posargs)
    run(session, "scripts", "rules-table", *session.posargs)


@nox.session
def tools(session: nox.Session) -> None:
    """Build the pinned tools, all or those named: -- helm4."""
    install(session, "pipeline")
    run(session, "scripts.tools", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Bring the locks up to date with what they pin: -- --upgrade, -- --kubernetes 1.38."""
    install(session, "pipeline", "lock")
    run(session, "scripts.lock", *session.posargs)


def pytest(session: nox.Session, *options: str) -> None:
    """Run pytest, or where --stress is asked for, that beside a load."""
    module = "tests.stress" if "--stress" in session.posargs else "pytest"
    run(session, module, *options, *session.posargs)


def run(
    session: nox.Session, module: str, *arguments: str | os.PathLike[str], silent: bool = False
) -> str:
    """Run a module with the sessions' Python, and return its output where it is silent."""
    command = [PYTHON, "-m", module, *arguments]
    # Only what it prints on stdout is the answer; its progress is for the person.
    # After a Ctrl-C, a cluster needs a moment to end.
    said = session.run(
        *command,
        env=CLEAN | {"LINEA_STARTED_BY": str(os.getpid())},
        external=True,
        silent=silent,
        stderr=None,
        log=False,
        interrupt_timeout=20,
    )
    return said if isinstance(said, str) else ""


def every(session: nox.Session, *commands: Sequence[str | os.PathLike[str]]) -> None:
    """Run all the commands, then fail if one did: whoever mends the first sees the others, too."""
    failed = []
    for command in commands:
        try:
            session.run(*command, env=CLEAN, external=True, silent=True, log=False)
        except CommandFailed:
            words = [Path(part).name for part in command if part != "-m"]
            failed.append(" ".join(words[1:3] if words[0] == PYTHON.name else words[:1]))
    if failed:
        session.error(f"not as they should be: {', '.join(failed)}")


def install(session: nox.Session, *locks: str, environment: Path = ENVIRONMENT) -> None:
    """Bring an environment, that of all sessions, to the locks; nothing is done where it is there.

    The locks agree with each other, so each adds to the others; where one has changed, the
    environment is made anew, lest it keep what is pinned no more.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - the machine decides, not we
        session.error(f"nox runs on Python {platform.python_version()}; 3.11 is the least")
    wanted = {
        name: hashlib.sha256((LOCKS / f"{name}.txt").read_bytes()).hexdigest() for name in locks
    }
    wanted["python"] = f"{sys.version} {sys.base_prefix} {environment}"
    python = environment / "bin" / "python"
    environment.parent.mkdir(exist_ok=True)
    with (environment.parent / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        there = _installed(environment)
        if wanted.items() <= there.items() and python.exists():
            return
        if not python.exists() or any(there.get(name, is_) != is_ for name, is_ in wanted.items()):
            there = {}
            _create(session, environment)
        missing = [name for name in locks if name not in there]
        session.log(f"installing {', '.join(missing)} into {environment.relative_to(ROOT)}")
        _pip(session, python, missing)
        (environment / "installed.json").write_text(json.dumps(there | wanted))


def _installed(environment: Path) -> dict[str, str]:
    try:
        there: dict[str, str] = json.loads((environment / "installed.json").read_text())
    except (OSError, ValueError):
        return {}
    return there


def _create(session: nox.Session, environment: Path) -> None:
    # Not venv: Debian has it in a package of its own, while nox always brings virtualenv.
    command = [sys.executable, "-m", "virtualenv", "--quiet", "--clear", "--no-periodic-update"]
    command += ["--app-data", str(environment.parent / "virtualenv"), str(environment)]
    session.run(*command, external=True, silent=True, log=False)


def _pip(session: nox.Session, python: Path, names: Iterable[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-input", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    for name in names:
        command += ["-r", str(LOCKS / f"{name}.txt")]
    session.run(*command, external=True, silent=True, log=False)
