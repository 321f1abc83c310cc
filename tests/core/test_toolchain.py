"""Tools from the npm registry: only the pinned file is installed."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import io
import json
import platform
import shutil
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.cluster.processes import free_ports
from scripts.core import programs, tool_store, toolchain
from scripts.core.findings import UsageError

PROGRAM = b"#!/bin/sh\necho it runs\n"
FILE = "it-1.2.3.tgz"


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a folder as the npm registry; its only tool is `it`."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/bin/it")
        entry.size = len(PROGRAM)
        archive.addfile(entry, io.BytesIO(PROGRAM))
    served = tmp_path / "registry"
    served.mkdir()
    (served / FILE).write_bytes(content.getvalue())
    package = {
        "version": "1.2.3",
        "resolved": f"https://registry.npmjs.org/{FILE}",
        "integrity": "sha512-"
        + base64.b64encode(hashlib.sha512(content.getvalue()).digest()).decode(),
        "os": ["darwin" if sys.platform == "darwin" else "linux"],
        "cpu": ["arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x64"],
        "bin": {"it": "bin/it"},
    }
    pins = tmp_path / "tools" / "it"
    pins.mkdir(parents=True)
    locked = {"lockfileVersion": 3, "packages": {"": {}, "node_modules/it": package}}
    (pins / "package-lock.json").write_text(json.dumps(locked))
    monkeypatch.setattr(toolchain, "PINS", tmp_path / "tools")
    monkeypatch.setattr(toolchain, "STORE", tmp_path / "store")
    monkeypatch.setenv(tool_store.VARIABLE, "")
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    handler = functools.partial(Silent, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host, port = str(server.server_address[0]), server.server_address[1]
        monkeypatch.setenv("npm_config_registry", f"http://{host}:{port}")
        yield served
        server.shutdown()
        thread.join()


def test_a_tool_from_npm_is_downloaded_once_and_runs(registry: Path, tmp_path: Path) -> None:
    program = toolchain.tool("it")
    (registry / FILE).unlink()
    assert toolchain.tool("it") == program
    assert program.name.startswith("it-v1.2.3-")
    assert programs.run([program], "it", 30, cwd=tmp_path).stdout == "it runs\n"
    assert [file.name for file in program.parent.iterdir()] == [program.name]


def test_a_package_for_all_platforms_becomes_a_folder_of_its_files(
    registry: Path, tmp_path: Path
) -> None:
    lock = tmp_path / "tools" / "it" / "package-lock.json"
    packages = json.loads(lock.read_text())["packages"]
    it = {key: packages["node_modules/it"][key] for key in ("version", "resolved", "integrity")}
    packages = {"": {"dependencies": {"it": "1.2.3"}}, "node_modules/a": {}, "node_modules/it": it}
    lock.write_text(json.dumps({"lockfileVersion": 3, "packages": packages}))
    folder = toolchain.tool("it")
    assert (folder / "bin" / "it").read_bytes() == PROGRAM
    content = (registry / FILE).read_bytes()
    (registry / FILE).write_bytes(b"")
    assert toolchain.tool("it") == folder
    it["version"] = "1.2.4"
    lock.write_text(json.dumps({"lockfileVersion": 3, "packages": packages}))
    with pytest.raises(UsageError, match=r"it v1\.2\.4: .*does not match"):
        toolchain.tool("it")
    (registry / FILE).write_bytes(content)
    assert toolchain.tool("it") != folder
    assert not folder.exists()


def test_a_file_with_another_hash_is_deleted(registry: Path) -> None:
    with (registry / FILE).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UsageError, match=r"does not match its checksum in tools/it/package-lock"):
        toolchain.tool("it")
    assert not list((toolchain.STORE / "bin").iterdir())


def test_a_file_that_is_missing_in_the_registry_is_an_error(registry: Path) -> None:
    (registry / FILE).unlink()
    with pytest.raises(UsageError, match=r"it v1\.2\.3: .* http://.*it-1\.2\.3\.tgz: 404"):
        toolchain.tool("it")


def test_without_a_network_the_error_says_what_to_do(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{free_ports(1)[0]}/")
    with pytest.raises(UsageError, match=r"network is unreachable: run this once with a network"):
        toolchain.tool("it")


def test_a_platform_without_a_program_is_an_error(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "sparc")
    with pytest.raises(UsageError, match=r"it: npm has none for .* sparc, only for"):
        toolchain.tool("it")


def test_a_tool_without_a_pin_is_an_error(registry: Path) -> None:
    with pytest.raises(UsageError, match="unknown tool nothing; the tools are it"):
        toolchain.tool("nothing")


def test_tools_from_npm_are_not_built_by_go() -> None:
    assert {"axe-core", "cast", "chromium", "mermaid"} <= {*toolchain.fetched()}
    assert {"helm4", "kube-apiserver-1.34", "kubectl-1.34"} <= {*toolchain.names()}
    assert all(
        toolchain.version(name).startswith("v") for name in toolchain.names() + toolchain.fetched()
    )


def test_another_source_of_our_own_program_is_another_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = tmp_path / "tools"
    for name in ("admission", "kubernetes-1.34"):
        shutil.copytree(toolchain.PINS / name, pins / name)
    monkeypatch.setattr(toolchain, "PINS", pins)
    monkeypatch.setattr(toolchain, "STORE", tmp_path / "store")
    monkeypatch.setenv(tool_store.VARIABLE, "")

    def build(name: str, making: str, target: Path) -> None:
        target.write_text(making)

    monkeypatch.setattr(toolchain, "_build", build)
    names = ("admission-1.34", "kube-apiserver-1.34")
    own, other = map(toolchain.tool, names)
    assert own.read_text() == f"admission-1.34 {toolchain.version(names[1])}"
    with (pins / "admission" / "main.go").open("a") as file:
        file.write("// changed\n")
    assert not toolchain.is_there(names[0])
    assert toolchain.tool(names[0]) != own
    assert toolchain.tool(names[1]) == other


def test_caches_are_kept_for_what_an_interrupted_installation_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        folder = tmp_path / "tools" / name
        folder.mkdir(parents=True)
        text = f"tool x.example/{name}\n\nrequire x.example/{name} v1.0.0\n"
        (folder / "go.mod").write_text(text)
        (folder / "go.sum").write_text("")
    store, works = tmp_path / "store", ["one"]
    monkeypatch.setattr(toolchain, "PINS", tmp_path / "tools")
    monkeypatch.setattr(toolchain, "STORE", store)
    monkeypatch.setenv(tool_store.VARIABLE, "")

    def build(name: str, making: str, target: Path) -> None:
        (store / "gocache").mkdir(exist_ok=True)
        if name not in works:
            raise KeyboardInterrupt
        target.write_text(making)

    monkeypatch.setattr(toolchain, "_build", build)
    with pytest.raises(KeyboardInterrupt):
        toolchain.build(["one", "two"])
    assert toolchain.is_there("one")
    # Another command needs less: what is left can still be continued.
    toolchain.build(["one"])
    assert (store / "gocache").is_dir()
    works.append("two")
    toolchain.build(["two"])
    assert not (store / "gocache").exists()
    assert not (store / "unfinished").exists()
    with monkeypatch.context() as later:
        later.setattr(toolchain, "KEPT_S", -1.0)
        for program in (store / "bin").iterdir():
            program.unlink()
        works.remove("two")
        with pytest.raises(KeyboardInterrupt):
            toolchain.build(["one", "two"])
        toolchain.build(["one"])
        assert not (store / "gocache").exists()
