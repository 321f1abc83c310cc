"""Find or install the pinned tools and Go; each tool is a folder in tools/ with its lock.

- Folder with a go.mod: Go builds the tool. Its program has the folder's name; the programs of a
  folder like kubernetes-1.34 have their own names with the version, like kube-apiserver-1.34. If
  the program is our own, its source is in another folder, which the go.mod names with `replace`.
- Folder with a package-lock.json: the package for this platform is downloaded from the npm
  registry, without npm. A package for all platforms, without a program, becomes a folder.

Everything is installed into .tools/. Installed tools need no network. Other clones of the same user
get them from the store that tool_store describes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.core import go_toolchain, programs, progress, repository, tool_store
from scripts.core.findings import UsageError

if TYPE_CHECKING:
    import tarfile

PINS = repository.ROOT / "tools"
STORE = repository.ROOT / ".tools"

BUILD_TIMEOUT_S = 7200
"""The time-out for one tool; a busy machine takes ten times as long as an idle one."""
FETCH_TIMEOUT_S = 60
_UNFINISHED = "unfinished"
"""The file with the names of the tools that an installation was to make, until it has made all."""
KEPT_S = 86400.0
"""How long Go's caches are kept for the rest of an interrupted installation."""
# The environment variables that a build inherits: network settings, and none of other projects.
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
    "No route to host",
)
_WRONG_HASH = ("checksum mismatch", "SECURITY ERROR", "missing go.sum")


NPM_REGISTRY = "https://registry.npmjs.org/"
_LOCK = "package-lock.json"
_CPUS = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
"""The kernel's name of a processor → npm's."""

_NETWORK_NEEDED = "not installed yet, and the network is unreachable: run this once with a network"


def names() -> list[str]:
    """Return the names of the tools that Go builds."""
    return sorted(name for folder in PINS.glob("*/go.mod") for name in _packages(folder.parent))


def fetched() -> list[str]:
    """Return the names of the tools that are downloaded as programs."""
    return sorted(path.parent.name for path in PINS.glob(f"*/{_LOCK}"))


def modules() -> list[Path]:
    """Return the folders that Go builds tools from."""
    return sorted(path.parent for path in PINS.glob("*/go.mod") if _packages(path.parent))


def tool(name: str) -> Path:
    """Return the program (or the folder) of a pinned tool; install it if necessary.

    Raises UsageError if it can't be installed.
    """
    return _program(name) if is_there(name) else build([name])[0]


def is_there(name: str) -> bool:
    """Return whether a pinned tool is installed."""
    return _program(name).exists()


def build(wanted: Sequence[str]) -> list[Path]:
    """Return the programs of the named tools, after installing the missing ones."""
    with locked():
        missing = [name for name in dict.fromkeys(wanted) if not is_there(name)]
        if missing:
            _remember(missing)
        begun = time.monotonic()
        for number, name in enumerate(missing, 1):
            _make(name, f"{number} of {len(missing)}", begun)
        if missing:
            tools = f"{len(missing)} tools" if len(missing) > 1 else missing[0]
            progress.say(f"installed {tools} in {progress.duration(time.monotonic() - begun)}")
        _drop_caches(wanted)
    return [_program(name) for name in wanted]


def _remember(missing: Sequence[str]) -> None:
    """Add tools to those that an installation was to make; an interrupted one leaves some."""
    names = {*_unfinished(), *missing}
    (STORE / _UNFINISHED).write_text("".join(f"{name}\n" for name in sorted(names)), "utf-8")


def _unfinished() -> list[str]:
    try:
        return (STORE / _UNFINISHED).read_text("utf-8").split()
    except FileNotFoundError:
        return []


def _drop_caches(made: Sequence[str]) -> None:
    """Delete Go's caches, unless an interrupted installation of other tools will need them.

    They are two gigabytes, of no use before the next change of a pin. After a day no one will go on
    with what was interrupted.
    """
    record = STORE / _UNFINISHED
    known = {*names(), *fetched()}
    left = [n for n in _unfinished() if n in known and n not in made and not is_there(n)]
    began = STORE / "gocache"
    if left and began.is_dir() and time.time() - began.stat().st_ctime < KEPT_S:
        record.write_text("".join(f"{name}\n" for name in left), "utf-8")
        return
    record.unlink(missing_ok=True)
    for cache in ("gomod", "gocache"):
        shutil.rmtree(STORE / cache, ignore_errors=True)


def _program(name: str) -> Path:
    """Return the path of a tool; each pin has another one."""
    if name in fetched():
        pins = [(PINS / name / _LOCK).read_bytes()]
    elif folder := _folder(name):
        pins = [(folder / file).read_bytes() for file in ("go.mod", "go.sum")]
        pins += (file.read_bytes() for file in _source(folder, name))
    else:
        known = ", ".join(sorted(names() + fetched()))
        raise UsageError(f"unknown tool {name}; the tools are {known}")
    key = digest(*pins, sysconfig.get_platform().encode())
    return STORE / "bin" / f"{name}-{version(name)}-{key}"


def _folder(name: str) -> Path | None:
    """Return the folder that a tool is built from."""
    several = PINS.glob(f"*-{name.rpartition('-')[2]}")
    return next((folder for folder in (PINS / name, *several) if name in _packages(folder)), None)


def _source(folder: Path, name: str) -> list[Path]:
    """Return the files of a tool that is our own; none of any other tool."""
    text = (folder / "go.mod").read_text("utf-8")
    own = dict(re.findall(r"^replace (\S+) => (\.\S+)$", text, re.MULTILINE))
    source = own.get(_packages(folder)[name])
    return sorted(file for file in (folder / source).iterdir() if file.is_file()) if source else []


def digest(*parts: bytes) -> str:
    """Return a short name for the contents: results of other contents have another name."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8))
        total.update(part)
    return total.hexdigest()[:12]


def version(name: str) -> str:
    """Return the pinned version of a tool, like v0.7.0."""
    if name in fetched():
        return f"v{_entry(name)['version']}"
    folder = _folder(name)
    assert folder is not None, name
    text, package = (folder / "go.mod").read_text("utf-8"), _packages(folder)[name]
    required = dict(re.findall(r"^(?:require)?\s+(\S+) (v\S+)", text, re.MULTILINE))
    return str(required[max((m for m in required if package.startswith(m)), key=len)])


def _packages(folder: Path) -> dict[str, str]:
    """Return tool → its Go package, of a folder."""
    try:
        text = (folder / "go.mod").read_text("utf-8")
    except FileNotFoundError:
        return {}
    packages = re.findall(r"^tool ([^\s(]+)$", text, re.MULTILINE)
    for block in re.findall(r"^tool \((.*?)^\)", text, re.MULTILINE | re.DOTALL):
        packages += block.split()
    several = re.search(r"-\d+\.\d+$", folder.name)
    return {
        f"{package.rpartition('/')[2]}{several.group()}" if several else folder.name: package
        for package in packages
    }


def _make(name: str, place: str, begun: float) -> None:
    """Install a tool, from the store of the user or from its source.

    place: like "2 of 5". begun: the time when the first began. Both are for the progress.
    """
    program, making = _program(name), f"{name} {version(name)}"
    program.parent.mkdir(parents=True, exist_ok=True)
    make, how = (_fetch, "downloading") if name in fetched() else (_build, "building")
    with scratch() as temporary:
        if not tool_store.take(program.name, temporary / program.name):
            with progress.progress(f"{how} {making} ({place})", begun):
                make(name, making, temporary / name)
            os.rename(temporary / name, temporary / program.name)
            tool_store.add(program.name, temporary / program.name)
        os.replace(temporary / program.name, program)
    for other in program.parent.glob(f"{name}-v*"):
        if other.is_dir() and other != program:
            shutil.rmtree(other, ignore_errors=True)
        elif other != program:
            other.unlink(missing_ok=True)


def _build(name: str, making: str, target: Path) -> None:
    folder = _folder(name)
    assert folder is not None, name
    find_go(folder)
    # -s -w: without symbols it is a third smaller. -X: Kubernetes has its version only from here.
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion={version(name)}"
    # What -w leaves out takes a seventh of the compiler's time.
    command: list[str | Path] = ["build", "-gcflags=all=-dwarf=false", "-ldflags", flags]
    command += ["-o", target, _packages(folder)[name]]
    go(command, folder, making, folder / "go.sum")


def _fetch(name: str, making: str, target: Path) -> None:
    """Write the program of an npm package, which must have the hash of the lock.

    For a package without a program, write a folder with all its files.
    """
    # Imported only here: they take as long as a rule, and tools are mostly there.
    import http.client
    import tarfile
    import urllib.error
    import urllib.request

    package, lock = _entry(name), f"tools/{name}/{_LOCK}"
    lower = os.environ.get("npm_config_registry")  # noqa: SIM112 - npm's own spelling
    registry = lower or os.environ.get("NPM_CONFIG_REGISTRY")
    url = str(package["resolved"])
    if registry:
        url = url.replace(NPM_REGISTRY, f"{registry.rstrip('/')}/", 1)
    try:
        with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310
            content = answer.read()
    except urllib.error.HTTPError as error:
        why = f"cannot download {url}: {error.code} {error.reason}"
        fix = "set npm_config_registry to use another registry"
        raise UsageError(f"{making}: {why}; {fix}") from error
    except (OSError, http.client.HTTPException) as error:
        settings = "(https_proxy and npm_config_registry are used)"
        raise UsageError(f"{making}: {_NETWORK_NEEDED} {settings}:\n{url}: {error}") from error
    integrity = f"sha512-{b64encode(hashlib.sha512(content).digest()).decode()}"
    if integrity != package["integrity"]:
        raise UsageError(f"{making}: {_wrong_hash(lock)}:\n{url}: {integrity}")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        if "bin" not in package:
            unpack(archive, target, above=1)
            return
        file = archive.extractfile(f"package/{package['bin'][name]}")
        assert file is not None, url
        target.write_bytes(file.read())
    target.chmod(0o755)


def unpack(archive: tarfile.TarFile, target: Path, above: int = 0) -> None:
    """Write the files of an archive whose hash was checked; above: outer folders to strip."""
    for member in archive:
        if file := archive.extractfile(member):
            path = target.joinpath(*Path(member.name).parts[above:])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read())


def _entry(name: str) -> dict[str, Any]:
    """Return the entry of package-lock.json for this platform, or for all platforms.

    Source: https://docs.npmjs.com/cli/configuring-npm/package-lock-json
    """
    packages = json.loads((PINS / name / _LOCK).read_text("utf-8"))["packages"]
    for wanted in packages[""].get("dependencies", ()):
        return dict(packages[f"node_modules/{wanted}"])
    cpu = _CPUS.get(platform.machine().lower(), platform.machine())
    for package in packages.values():
        if sys.platform in package.get("os", ()) and cpu in package.get("cpu", ()):
            return dict(package)
    known = sorted(f"{p['os'][0]} {p['cpu'][0]}" for p in packages.values() if "os" in p)
    message = f"{name}: npm has none for {sys.platform} {cpu}, only for {', '.join(known)}"
    raise UsageError(message)


def go(
    arguments: Sequence[str | Path],
    cwd: Path,
    making: str,
    pins: Path,
    modules: Path = STORE / "gomod",
) -> str:
    """Run the go command in a folder and return its output; call it inside `locked()`.

    making: what it is for, in messages. pins: the file with the checksums of its downloads.
    modules: the folder for its downloads.
    Raises UsageError without Go, without a network, or for a download with another checksum.
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
        done = programs.run_bound(
            command, making, BUILD_TIMEOUT_S, cwd=cwd, environment=environment
        )
    if done.returncode:
        raise _failure(making, pins, done.stdout + done.stderr)
    return done.stdout


def find_go(cwd: Path) -> Path:
    """Return a go command that is new enough for the folder's go.mod; call it inside `locked()`."""
    least = re.search(r"^go (\S+)$", (cwd / "go.mod").read_text("utf-8"), re.MULTILINE)
    assert least is not None, cwd
    for folder in os.get_exec_path():
        program = Path(folder) / "go"
        if program.is_file() and os.access(program, os.X_OK):
            environment = {**os.environ, "GOTOOLCHAIN": "local"}
            call: list[str | Path] = [program, "env", "GOVERSION"]
            try:
                done = programs.run(
                    call, "go", programs.QUERY_TIMEOUT_S, cwd=PINS, environment=environment
                )
            except UsageError:  # a broken go on PATH: use the pinned one
                continue
            installed = re.match(r"go(\d[\d.]*)\s*$", done.stdout)
            if installed and _numbers(installed.group(1)) >= _numbers(least.group(1)):
                return program
    return _pinned_go()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.strip(".").split("."))


def _pinned_go() -> Path:
    """Return the pinned go command; install it if necessary."""
    sums = (go_toolchain.PINS / "go.sum").read_bytes()
    key = digest(sums, go_toolchain.platform_name().encode())
    home = STORE / f"go-{go_toolchain.version()}-{key}"
    program = home / "bin" / "go"
    if program.is_file():
        return program
    with scratch() as temporary, progress.progress(f"downloading Go {go_toolchain.version()}"):
        go_toolchain.install(temporary / "installed", temporary)
        for other in STORE.glob("go-*"):
            shutil.rmtree(other, ignore_errors=True)
        os.replace(temporary / "installed", home)
    return program


def _failure(making: str, pins: Path, output: str) -> UsageError:
    """Return the error for a failed download or build, with its cause if the output shows it."""
    file = (
        pins.relative_to(repository.ROOT).as_posix()
        if pins.is_relative_to(repository.ROOT)
        else pins.name
    )
    if any(sign in output for sign in _WRONG_HASH):
        why = _wrong_hash(file)
    elif any(sign in output for sign in _NO_NETWORK):
        why = f"{_NETWORK_NEEDED} (https_proxy and GOPROXY are used)"
    elif "no space left" in output.lower():
        why = "the disk is full"
    else:
        why = "the installation failed"
    last = "\n".join(output.strip().splitlines()[-8:])
    return UsageError(f"{making}: {why}:\n{last}")


def _wrong_hash(pins: str) -> str:
    return (
        f"a download does not match its checksum in {pins}, and was deleted. Try again; if that "
        "fails, a proxy between here and the source changes it: try another network"
    )


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Lock .tools/: a second installation waits for the first.

    Raises UsageError if the folder is not writable.
    """
    try:
        STORE.mkdir(exist_ok=True)
        lock = os.open(STORE / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(f"cannot write to .tools: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.progress("waiting for another installation of tools"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        # The files of a killed installation.
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
    """Yield an empty folder in .tools/, from which a rename moves a result to its place at once.

    Call it inside `locked()`.
    """
    parent = STORE / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
