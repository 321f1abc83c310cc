"""Install the pinned Go from the module that the go command itself would switch to.

tools/go/go.mod has the version, and go.sum the hash of the module's archive for each platform. They
are as Go's own: https://go.dev/doc/toolchain, https://go.dev/ref/mod#module-proxy. So GOPROXY is
respected, and no Go is needed to install it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from scripts.core import repository
from scripts.core.findings import UsageError

if TYPE_CHECKING:
    import zipfile

PINS = repository.ROOT / "tools" / "go"
MODULE = "golang.org/toolchain"
PLATFORMS = ("darwin-amd64", "darwin-arm64", "linux-amd64", "linux-arm64")

_PROXIES = "https://proxy.golang.org,direct"
_DIRECT = "https://go.dev/dl/mod"
"""What the page https://golang.org/toolchain?go-get=1 names as the module's source."""
_CPUS = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
"""The kernel's name of a processor → Go's."""
_TIMEOUT_S = 60
_PIECE = 1 << 20
# What the go command makes executable, as a module's archive has no modes.
_PROGRAMS = ("bin/", "pkg/tool/")


def version() -> str:
    """Return the pinned version, like 1.27.3."""
    pin = re.search(r"^toolchain go(\S+)$", (PINS / "go.mod").read_text("utf-8"), re.MULTILINE)
    assert pin is not None, PINS
    return pin[1]


def module_version(of: str, where: str) -> str:
    """Return the version of the module that is this version of Go for a platform."""
    return f"v0.0.1-go{of}.{where}"


def platform_name() -> str:
    """Return the name of this machine's platform, like linux-amd64."""
    cpu = platform.machine().lower()
    return f"{sys.platform}-{_CPUS.get(cpu, cpu)}"


def sums() -> dict[str, str]:
    """Return version of the module → its hash, in go.sum."""
    lines = (line.split() for line in (PINS / "go.sum").read_text("utf-8").splitlines())
    return {name: total for module, name, total in lines if module == MODULE}


def install(target: Path, scratch: Path) -> None:
    """Write the pinned Go to a folder that does not exist; scratch: an empty folder for downloads.

    Raises UsageError if it can't be downloaded, or is not what go.sum has.
    """
    import zipfile

    name = module_version(version(), platform_name())
    wanted = sums().get(name)
    if wanted is None:
        message = f"Go: tools/go/go.sum has none for {platform_name()}"
        fix = f"install Go {version()} or later yourself, so that PATH has it"
        raise UsageError(f"{message}: {fix}")
    file = scratch / "go.zip"
    source = _download(name, file)
    try:
        with zipfile.ZipFile(file) as archive:
            if (found := _hash(archive)) != wanted:
                raise UsageError(
                    f"Go: a download does not match its checksum in tools/go/go.sum, and was "
                    "deleted. Try again; if that fails, a proxy between here and the source "
                    f"changes it: try another network:\n{source}: {found}"
                )
            _unpack(archive, f"{MODULE}@{name}/", scratch / "go")
    except zipfile.BadZipFile as error:
        raise UsageError(f"Go: {source} is not a valid archive: {error}") from error
    os.replace(scratch / "go", target)


def _download(name: str, target: Path) -> str:
    """Write the module's archive to a file, from the first proxy that has it; return its address.

    As Go does, a proxy that has no such module is followed by the next, and one that fails only if
    a | is between them.
    """
    import http.client
    import urllib.error
    import urllib.request

    failed = list[str]()
    for proxy, is_last_word in _proxies(os.environ.get("GOPROXY") or _PROXIES):
        if proxy == "off":
            failed.append("GOPROXY=off forbids it")
            break
        url = f"{_DIRECT if proxy == 'direct' else proxy.rstrip('/')}/{MODULE}/@v/{name}.zip"
        shown, headers = _without_account(url)
        try:
            request = urllib.request.Request(shown, headers=headers)  # noqa: S310
            with (
                urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer,  # noqa: S310
                target.open("wb") as file,
            ):
                shutil.copyfileobj(answer, file, _PIECE)
            return shown
        except urllib.error.HTTPError as error:
            failed.append(f"{shown}: {error.code} {error.reason}")
            if is_last_word and error.code not in (404, 410):
                break
        except (OSError, http.client.HTTPException, ValueError) as error:
            failed.append(f"{shown}: {getattr(error, 'reason', error)}")
            if is_last_word:
                break
    settings = "(GOPROXY and https_proxy are used)"
    why = f"cannot download it {settings}: run this once with a network, or install Go"
    raise UsageError(f"Go: {why} {version()} or later so that PATH has it:\n" + "\n".join(failed))


def _proxies(setting: str) -> Iterator[tuple[str, bool]]:
    """Yield the proxies of GOPROXY, and whether the next one is tried only if one has no module."""
    for proxy, separator in re.findall(r"([^,|]+)([,|]?)", setting):
        if proxy.strip():
            yield proxy.strip(), separator != "|"


def _without_account(url: str) -> tuple[str, dict[str, str]]:
    """Return an address without its name and password, and the header that they go into."""
    import urllib.parse

    parts = urllib.parse.urlsplit(url)
    account, _, host = parts.netloc.rpartition("@")
    plain = urllib.parse.unquote(account).encode()
    headers = {"Authorization": f"Basic {b64encode(plain).decode()}"} if account else {}
    return urllib.parse.urlunsplit(parts._replace(netloc=host)), headers


def _hash(archive: zipfile.ZipFile) -> str:
    """Return the hash h1: of go.sum, which is of the files' names and contents."""
    total = hashlib.sha256()
    for name in sorted(archive.namelist(), key=str.encode):
        one = hashlib.sha256()
        with archive.open(name) as file:
            while piece := file.read(_PIECE):
                one.update(piece)
        total.update(f"{one.hexdigest()}  {name}\n".encode())
    return f"h1:{b64encode(total.digest()).decode()}"


def _unpack(archive: zipfile.ZipFile, prefix: str, target: Path) -> None:
    """Write the files of an archive whose hash was checked."""
    for name in archive.namelist():
        inner = PurePosixPath(name.removeprefix(prefix))
        if not name.startswith(prefix) or inner.is_absolute() or ".." in inner.parts:
            raise UsageError(f"Go: the archive has a file outside its folder: {name}")
        if name.endswith("/"):
            continue
        path = target / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(name) as file, path.open("wb") as written:
            shutil.copyfileobj(file, written, _PIECE)
        if str(inner).startswith(_PROGRAMS):
            path.chmod(0o755)
        # An archive of a module has no other module's go.mod, so that they have another name in it.
        if inner.name == "_go.mod":
            shutil.copyfile(path, path.with_name("go.mod"))
