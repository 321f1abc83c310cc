"""Go from the module that its own command would take: from GOPROXY, and only what go.sum has."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import io
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.cluster.processes import free_ports
from scripts.commands import lock
from scripts.core import go_toolchain, toolchain
from scripts.core.findings import UsageError

NAME = "v0.0.1-go1.99.1.linux-amd64"
PREFIX = f"golang.org/toolchain@{NAME}/"
FILES = {
    "bin/go": "#!/bin/sh\necho go1.99.1\n",
    "pkg/tool/linux_amd64/compile": "#!/bin/sh\n",
    "src/_go.mod": "module std\n",
    "LICENSE": "text\n",
}


def packed(files: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{PREFIX}{name}", text)
    return content.getvalue()


def total(files: dict[str, str]) -> str:
    """Return what go.sum has for an archive with these files."""
    lines = sorted((f"{PREFIX}{name}", hashlib.sha256(files[name].encode())) for name in files)
    text = "".join(f"{one.hexdigest()}  {name}\n" for name, one in lines)
    return f"h1:{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


class Handler(http.server.SimpleHTTPRequestHandler):
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        if self.path.startswith("/failing/"):
            self.send_error(500)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


class Proxy:
    """A module proxy: /proxy/ has the pinned Go, /failing/ fails, other folders have nothing."""

    def __init__(self, folder: Path, address: str, asked: list[tuple[str, str | None]]) -> None:
        self.folder, self.address, self.asked = folder, address, asked
        self.target, self.scratch = folder.parent / "go", folder.parent / "scratch"
        self.scratch.mkdir()

    def serve(self, content: bytes) -> None:
        file = self.folder / "proxy/golang.org/toolchain/@v" / f"{NAME}.zip"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def install(self) -> None:
        go_toolchain.install(self.target, self.scratch)


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    pins = tmp_path / "tools" / "go"
    pins.mkdir(parents=True)
    (pins / "go.mod").write_text("module tools/go\n\ngo 1.99.0\n\ntoolchain go1.99.1\n")
    (pins / "go.sum").write_text(f"golang.org/toolchain {NAME} {total(FILES)}\n")
    monkeypatch.setattr(go_toolchain, "PINS", pins)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    folder = tmp_path / "served"
    folder.mkdir()
    asked = list[tuple[str, str | None]]()
    of_this = type("Of", (Handler,), {"asked": asked})
    handler = functools.partial(of_this, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        made = Proxy(folder, f"127.0.0.1:{server.server_port}", asked)
        made.serve(packed(FILES))
        monkeypatch.setenv("GOPROXY", f"http://{made.address}/proxy/")
        yield made
        server.shutdown()
        thread.join()


def test_go_is_installed_with_programs_that_run(proxy: Proxy) -> None:
    proxy.install()
    for name, text in FILES.items():
        assert (proxy.target / name).read_text() == text
        assert os.access(proxy.target / name, os.X_OK) == name.startswith(("bin/", "pkg/tool/"))
    assert (proxy.target / "src/go.mod").read_text() == "module std\n"


@pytest.mark.parametrize(
    "setting",
    [
        "http://{0}/nothing,http://{0}/proxy",
        "http://{0}/nothing|http://{0}/proxy",
        "http://{0}/failing|http://{0}/proxy",
        "http://127.0.0.1:{1}|http://{0}/proxy,off",
        " http://{0}/proxy , direct",
    ],
)
def test_the_next_proxy_is_asked_as_go_does(
    setting: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", setting.format(proxy.address, free_ports(1)[0]))
    proxy.install()
    assert (proxy.target / "bin/go").is_file()


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("off", "GOPROXY=off forbids it"),
        ("http://{0}/nothing,off,http://{0}/proxy", "GOPROXY=off forbids it"),
        ("http://{0}/failing,http://{0}/proxy", r"failing/golang.org/toolchain/@v/.*: 500 "),
        ("http://127.0.0.1:{1},http://{0}/proxy", "refused"),
        ("http://{0}/nothing", "404 File not found"),
        ("nonsense", "unknown url type"),
    ],
)
def test_without_a_download_the_error_says_why_and_what_to_do(
    setting: str, why: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", setting.format(proxy.address, free_ports(1)[0]))
    with pytest.raises(UsageError, match=rf"(?s)install Go 1\.99\.1 or later .*{why}"):
        proxy.install()
    assert not proxy.target.exists()


def test_direct_means_the_source_that_go_dev_names(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go_toolchain, "_DIRECT", f"http://{proxy.address}/proxy")
    monkeypatch.setenv("GOPROXY", f"http://{proxy.address}/nothing,direct")
    proxy.install()
    assert [path.split("/")[1] for path, _ in proxy.asked] == ["nothing", "proxy"]


def test_a_password_is_sent_and_not_shown(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOPROXY", f"http://me:s%20cret@{proxy.address}/nothing")
    with pytest.raises(UsageError) as told:
        proxy.install()
    assert "cret" not in str(told.value)
    ((_, sent),) = proxy.asked
    assert sent == f"Basic {base64.b64encode(b'me:s cret').decode()}"


@pytest.mark.parametrize(
    "files", [{**FILES, "bin/go": "other"}, {**FILES, "more": ""}, {"bin/go": FILES["bin/go"]}]
)
def test_another_content_is_not_installed(files: dict[str, str], proxy: Proxy) -> None:
    proxy.serve(packed(files))
    with pytest.raises(UsageError, match=r"does not match its checksum in tools/go/go\.sum"):
        proxy.install()
    assert not proxy.target.exists()


def test_half_an_archive_is_not_installed(proxy: Proxy) -> None:
    proxy.serve(packed(FILES)[:-50])
    with pytest.raises(UsageError, match="is not a valid archive"):
        proxy.install()


def test_no_file_is_written_outside_the_folder(proxy: Proxy) -> None:
    files = {**FILES, "../../outside": "x"}
    proxy.serve(packed(files))
    (go_toolchain.PINS / "go.sum").write_text(f"golang.org/toolchain {NAME} {total(files)}\n")
    with pytest.raises(UsageError, match="has a file outside its folder"):
        proxy.install()
    assert not list(proxy.folder.parent.rglob("outside"))


def test_a_platform_without_go_is_told(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(UsageError, match=r"go\.sum has none for linux-riscv64: install Go 1\.99"):
        proxy.install()
    assert not proxy.asked


def test_the_pinned_go_is_one_for_every_platform_and_new_enough_for_the_tools() -> None:
    of = go_toolchain.version()
    wanted = [go_toolchain.module_version(of, where) for where in go_toolchain.PLATFORMS]
    assert [*go_toolchain.sums()] == wanted
    pinned = [int(part) for part in of.split(".")]
    for folder in toolchain.modules():
        least = (folder / "go.mod").read_text().partition("\ngo ")[2].split()[0]
        assert [int(part) for part in least.split(".")] <= pinned, folder
    # Nothing to do, so that it needs no network.
    lock.pin_go()


def test_lock_keeps_the_hashes_that_are_there_and_adds_those_of_a_new_version(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "STORE", tmp_path / "store")
    made = list[str]()

    def sums(path: str, version: str, _: Path) -> tuple[str, str]:
        made.append(version)
        return f"{path} {version} h1:new=", f"{path} {version}/go.mod h1:mod="

    monkeypatch.setattr(lock, "_sums", sums)
    lock.pin_go()
    text = (go_toolchain.PINS / "go.sum").read_text()
    assert f"golang.org/toolchain {NAME} {total(FILES)}\n" in text
    assert text.count("h1:new=") == len(made) == 3
    assert "/go.mod" not in text
    lock.pin_go()
    assert len(made) == 3
