"""All commands as nox sessions; `nox` without arguments runs what a pull request must pass."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import nox
import nox.virtualenv
from nox.command import CommandFailed

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "none"
# No session uses one of these; unless told so, nox looks for uv, and logs that there is none.
nox.virtualenv.OPTIONAL_VENVS = {}
nox.options.sessions = ["check", "validate", "admission", "policy", "lint", "tests", "e2e"]
# A mistake in an input makes `render` fail, and `validate` and `policy` would report it again.
nox.options.stop_on_first_error = True

ROOT = Path(__file__).resolve().parent
LOCKS = ROOT / "tools" / "python"
ENVIRONMENT = ROOT / ".nox" / "python"
PYTHON = ENVIRONMENT / "bin" / "python"
KUBERNETES = sorted((ROOT / "tools").glob("kubernetes-*"))
"""The pins of Kubernetes, one folder for each minor version."""
TESTED_WITH = [
    "axe-core",
    "cast",
    "crane",
    "cron",
    "gitleaks",
    "helm4",
    "kube-score",
    "kubeconform",
    "mermaid",
]
"""The tools that tests need."""
TESTED_WITH_MORE = ["chromium", "cyclonus", "geth", "helm3", "promtool", "rclone"]
"""Those that few tests need, and that take long to install: a choice, like admission's programs."""
CHECKOV = ROOT / ".nox" / "policy"
"""A virtual environment for checkov, which pins other versions than the other locks."""

SILENT_S = 20.0
"""How long a step says nothing."""

CLEAN = dict.fromkeys(
    (
        "PYTHONHOME",
        "PYTHONINSPECT",
        "PYTHONOPTIMIZE",
        "PYTHONPATH",
        "PYTHONPLATLIBDIR",
        "PYTHONSAFEPATH",
        "PYTHONWARNINGS",
        "VIRTUAL_ENV",
    )
)
"""Environment variables to unset (https://docs.python.org/3/using/cmdline.html): they could add
packages that the locks do not have, hide this repository's own modules from Python, turn assertions
off or warnings into errors, or wait for input at the end."""


@nox.session
def adopt(session: nox.Session) -> None:
    """Make this repository yours: asks for addresses, accounts and environments, writes them."""
    install(session, "pipeline")
    run(session, "scripts", "adopt", *session.posargs)


ENGINE = {"GOGC": "800", "GOMAXPROCS": "1", "GOMEMLIMIT": "250MiB"}
"""Settings of Go for Helm's engine, which reads them where Python's process has started with them.
With Go's defaults, collecting garbage takes a quarter of a rendering, and threads of one process
compete with the process that renders other environments (https://pkg.go.dev/runtime)."""


@nox.session
def render(session: nox.Session) -> None:
    """Write the manifests and Applications of all environments, or of those named: -- prod."""
    install(session, "pipeline")
    run(session, "scripts", "render", *session.posargs, env=ENGINE)


@nox.session
def check(session: nox.Session) -> None:
    """Fail if the committed manifests are out of date, and show how they differ; write nothing."""
    install(session, "pipeline")
    run(session, "scripts", "check", *session.posargs, env=ENGINE)


@nox.session
def validate(session: nox.Session) -> None:
    """Check environments offline: -- prod [--against origin/main] [--format sarif|gitlab|…]."""
    install(session, "pipeline")
    run(session, "scripts", "validate", *session.posargs, env=ENGINE)


@nox.session
def admission(session: nox.Session) -> None:
    """Check objects with Kubernetes' own validation: -- prod [--against origin/main]."""
    install(session, "pipeline")
    run(session, "scripts", "admission", *session.posargs)


@nox.session
def impact(session: nox.Session) -> None:
    """Predict what merging a change will do: -- --against origin/main [--format markdown]."""
    install(session, "pipeline")
    run(session, "scripts", "impact", *session.posargs)


@nox.session
def join(session: nox.Session) -> None:
    """Join the reports of shards, which --shard 1/8 --format json writes: -- shard-*.json."""
    install(session, "pipeline")
    run(session, "scripts", "join", *session.posargs)


@nox.session
def overview(session: nox.Session) -> None:
    """List what runs where, and what needs attention: -- [prod] [--format html] [--output FILE]."""
    install(session, "pipeline")
    run(session, "scripts", "overview", *session.posargs)


@nox.session
def promote(session: nox.Session) -> None:
    """Move a release to an environment, and show the impact: -- staging prod [--images]."""
    install(session, "pipeline")
    run(session, "scripts", "promote", *session.posargs)


@nox.session
def diff(session: nox.Session) -> None:
    """Compare a live cluster with what is committed: -- prod [--context NAME]; it only reads."""
    install(session, "pipeline")
    run(session, "scripts", "diff", *session.posargs)


@nox.session
def release(session: nox.Session) -> None:
    """Set the version of the chart and pack it, with what an attestation needs: -- 0.4.0."""
    install(session, "pipeline")
    run(session, "scripts", "release", *session.posargs)


@nox.session
def merge(session: nox.Session) -> None:
    """Resolve conflicts in rendered files, after those in inputs: render and git add them."""
    install(session, "pipeline")
    run(session, "scripts", "merge", *session.posargs)


@nox.session
def policy(session: nox.Session) -> None:
    """Run kube-score, checkov and gitleaks: on all environments, or -- prod --format …."""
    install(session, "pipeline")
    install(session, "policy", environment=CHECKOV)
    run(session, "scripts", "policy", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Run formatters, linters and type checkers on code, chart, workflows and hand-written YAML."""
    if helped(session, "nox -s lint"):
        return
    install(session, "pipeline", "cluster", "tests", "lint", "site")
    built = run(session, "scripts", "tools", "actionlint", "helm4", silent=True)
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
        [PYTHON, "-m", "scripts", "docs", "--check"],
        [PYTHON, "-m", "scripts", "gate"],
    )


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests: -- tests/core -k name; --all-tools: also those whose tools build long.

    -- --all-examples: all of long sweeps; --stress 10 repeats the tests under load.
    """
    examples = ("tests/rules -k quota", "--all-tools", "--all-examples", "--stress 10")
    if helped(session, *(f"nox -s tests -- {example}" for example in examples)):
        return
    install(session, "pipeline", "tests", "site")
    install(session, "policy", environment=CHECKOV)
    wanted = [*TESTED_WITH]
    # A test is skipped only on a person's machine: CI shows that all pass.
    if "--all-tools" in session.posargs or os.environ.get("CI"):
        wanted += [*TESTED_WITH_MORE]
        wanted += (f"admission-{folder.name.partition('-')[2]}" for folder in KUBERNETES)
    run(session, "scripts", "tools", *wanted, silent=True)
    pytest(session)


@nox.session
def e2e(session: nox.Session) -> None:
    """Test syncing on a real control plane and Argo CD: -- [-k drift] [--all]."""
    if helped(session, "nox -s e2e -- -k drift", "nox -s e2e -- --all", "nox -s e2e -- --stress 5"):
        return
    install(session, "pipeline", "cluster", "tests")
    run(session, "scripts", "cluster", "--build")
    run(session, "scripts", "tools", "rclone", silent=True)
    # -n3: two thirds of the time is waiting; tests/e2e/costs.py says for what.
    # --dist=loadfile: tests/e2e/conftest.py says which files share a cluster, and so a worker.
    # --no-loadscope-reorder: the group that takes longest begins, not the one with most tests.
    # --timeout: the first test of a group waits for a cluster and two syncs.
    options = ["-n3", "--dist=loadfile", "--no-loadscope-reorder", "--timeout=10800"]
    # pytest runs all paths that it is given: with a file, it would run the whole folder, too.
    if not any("tests/e2e" in argument for argument in session.posargs):
        options.append("tests/e2e")
    pytest(session, *options)


@nox.session
def cluster(session: nox.Session) -> None:
    """Run a cluster and Argo CD with all environments until Ctrl-C: -- [--kubernetes 1.37]."""
    install(session, "pipeline", "cluster")
    run(session, "scripts", "cluster", *session.posargs)


@nox.session
def images(session: nox.Session) -> None:
    """Look up the digests that base/images.yaml lacks; -- --refresh also reports moved tags."""
    install(session, "pipeline")
    run(session, "scripts", "images", *session.posargs)


@nox.session
def network(session: nox.Session) -> None:
    """Create an environment's chain, keys and genesis: -- dev [--validators N] [--chain-id N]."""
    install(session, "pipeline")
    run(session, "scripts", "network", *session.posargs)


@nox.session
def new(session: nox.Session) -> None:
    """Make an environment like another one, with its own chain and keys: -- qa --like staging."""
    install(session, "pipeline")
    run(session, "scripts", "new", *session.posargs)


@nox.session
def rename(session: nox.Session) -> None:
    """Rename an environment; its objects stay, and no pod restarts: -- qa quality."""
    install(session, "pipeline")
    run(session, "scripts", "rename", *session.posargs)


@nox.session
def rules(session: nox.Session) -> None:
    """List the rules across objects: -- --format json."""
    install(session, "pipeline")
    run(session, "scripts", "rules", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare the pipeline's speed with Helm and others: -- [few|fleet|policy|… [COUNT]] …."""
    if helped(session, "nox -s bench", "nox -s bench -- few fleet 30", "nox -s bench -- policy"):
        return
    install(session, "pipeline")
    if not session.posargs or "policy" in session.posargs:
        install(session, "policy", environment=CHECKOV)
    run(session, "tests.bench", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the generated text: the chart's values (README, schema), the rules (docs/rules.md)."""
    install(session, "pipeline")
    run(session, "scripts", "docs", *session.posargs)


@nox.session
def site(session: nox.Session) -> None:
    """Build the documentation as a site in .site/, and check all its links; -- serve: show it."""
    if helped(session, "nox -s site", "nox -s site -- serve"):
        return
    install(session, "pipeline", "site")
    mermaid = run(session, "scripts", "tools", "mermaid", silent=True).strip()
    overview = ENVIRONMENT.parent / "overview.html"
    run(session, "scripts", "overview", "--format", "html", "--output", overview)
    command = session.posargs or ["build", "--strict"]
    given = {"MERMAID": mermaid, "NO_MKDOCS_2_WARNING": "1", "OVERVIEW": str(overview)}
    run(session, "mkdocs", *command, env=given)


@nox.session
def tools(session: nox.Session) -> None:
    """Install the pinned tools, all or those named: -- helm4."""
    install(session, "pipeline")
    run(session, "scripts", "tools", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Update the locks to what their inputs pin: -- --upgrade, -- --kubernetes 1.38."""
    install(session, "pipeline", "lock")
    run(session, "scripts", "lock", *session.posargs)


def helped(session: nox.Session, *examples: str) -> bool:
    """Print a session's help if the arguments ask for it; return whether they do."""
    if not {"-h", "--help"}.intersection(session.posargs):
        return False
    print(f"usage: nox -s {session.name} [-- …]\n\n{globals()[session.name].__doc__}\n\nexamples:")
    print(*(f"  {example}" for example in examples), sep="\n")
    return True


def pytest(session: nox.Session, *options: str) -> None:
    """Run pytest; with --stress, repeat the tests under load."""
    module = "tests.stress" if "--stress" in session.posargs else "pytest"
    run(session, module, *options, *session.posargs)


def run(
    session: nox.Session,
    module: str,
    *arguments: str | os.PathLike[str],
    silent: bool = False,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a module with the sessions' Python; silent: return its stdout instead of printing it."""
    command = [PYTHON, "-m", module, *arguments]
    # stderr, with the progress, is always printed. After a Ctrl-C, a cluster needs time to end.
    output = session.run(
        *command,
        env=CLEAN | {"LINEA_STARTED_BY": str(os.getpid())} | dict(env or {}),
        external=True,
        silent=silent,
        stderr=None,
        log=False,
        interrupt_timeout=20,
    )
    return output if isinstance(output, str) else ""


def every(session: nox.Session, *commands: Sequence[str | os.PathLike[str]]) -> None:
    """Run all the commands, then fail if any did, so that one run shows all failures."""
    failed = []
    for command in commands:
        try:
            session.run(*command, env=CLEAN, external=True, silent=True, log=False)
        except CommandFailed:
            words = [Path(part).name for part in command if part != "-m"]
            failed.append(" ".join(words[1:3] if words[0] == PYTHON.name else words[:1]))
    if failed:
        session.error(f"{session.name} failed: {', '.join(failed)}")


def install(session: nox.Session, *locks: str, environment: Path = ENVIRONMENT) -> None:
    """Install locks into a virtual environment that sessions share, unless they are installed.

    The locks have the same versions of common packages, so one environment can have several. If a
    lock has changed, the environment is created again, so that it keeps no packages of the old one.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - the machine decides, not we
        session.error(
            f"nox runs on Python {platform.python_version()}; it needs 3.11 or later:"
            " install nox with a newer Python, or run uvx --python 3.13 nox"
        )
    wanted = {
        name: hashlib.sha256((LOCKS / f"{name}.txt").read_bytes()).hexdigest() for name in locks
    }
    wanted["python"] = f"{sys.version} {sys.base_prefix} {environment}"
    python = environment / "bin" / "python"
    environment.parent.mkdir(exist_ok=True)
    with (environment.parent / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        installed = _installed(environment)
        if wanted.items() <= installed.items() and python.exists():
            return
        if not python.exists() or any(installed.get(k, v) != v for k, v in wanted.items()):
            installed = {}
            _create(session, environment)
        missing = [name for name in locks if name not in installed]
        what = f"installing {', '.join(missing)} into {environment.relative_to(ROOT)}"
        session.log(what)
        with _counted(what):
            _pip(session, python, missing)
        (environment / "installed.json").write_text(json.dumps(installed | wanted))


@contextlib.contextmanager
def _counted(what: str) -> Iterator[None]:
    """Print every few seconds how long a step has been running, as a silent one looks stuck."""
    ended, begun = threading.Event(), time.monotonic()

    def report() -> None:
        while not ended.wait(SILENT_S):
            print(f"{what} … {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _installed(environment: Path) -> dict[str, str]:
    """Return lock → its hash, and `python` → the interpreter, of what is installed."""
    try:
        installed: dict[str, str] = json.loads((environment / "installed.json").read_text())
    except (OSError, ValueError):
        return {}
    return installed


def _create(session: nox.Session, environment: Path) -> None:
    # Not venv, which is a separate package on Debian; virtualenv comes with nox.
    command = [sys.executable, "-m", "virtualenv", "--quiet", "--clear", "--no-periodic-update"]
    command += ["--app-data", str(environment.parent / "virtualenv"), str(environment)]
    session.run(*command, external=True, silent=True, log=False)


def _pip(session: nox.Session, python: Path, names: Iterable[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-input", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    for name in names:
        command += ["-r", str(LOCKS / f"{name}.txt")]
    session.run(*command, external=True, silent=True, log=False)
