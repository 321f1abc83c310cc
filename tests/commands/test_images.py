"""`nox -s images` writes digests from registries into the lock, and reports failed look-ups.

The registry is crane's own; a proxy in front of it requires a login.
"""

from __future__ import annotations

import base64
import http.server
import io
import json
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from scripts.commands import images
from scripts.core import toolchain
from scripts.environments import image_lock
from tests.conftest import Repository

LOCK = image_lock.LOCK
DIGEST = f"sha256:{'ab' * 32}"
OTHER = f"sha256:{'cd' * 32}"


def crane(*arguments: str | Path, **environment: str) -> str:
    """Run crane and return what it prints."""
    done = subprocess.run(
        [toolchain.tool("crane"), *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
    )
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry on this machine."""

    host: str
    folder: Path

    def push(self, image: str, content: str, platform: str = "linux/amd64") -> str:
        """Push an image whose one file has the content, and return its digest."""
        (self.folder / "file").write_text(content)
        with tarfile.open(self.folder / "layer.tar", "w") as layer:
            layer.add(self.folder / "file", "file")
        name = f"{self.host}/{image}"
        crane("append", "--new_layer", self.folder / "layer.tar", "--new_tag", name)
        crane("mutate", "--set-platform", platform, "--tag", name, name)
        return crane("digest", name)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    log = folder / "log"
    command: list[str | Path] = [toolchain.tool("crane"), "registry", "serve"]
    command += ["--address", "127.0.0.1:0"]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        while not (port := re.search(r"serving on port (\d+)\n", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        yield Registry(f"localhost:{port[1]}", folder)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def down() -> Iterator[str]:
    """Yield the host of a registry that is down; its port stays reserved meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"localhost:{held.getsockname()[1]}"


class Gate(http.server.BaseHTTPRequestHandler):
    """Forwards requests with the password to a registry."""

    behind = ""
    wanted = f"Basic {base64.b64encode(b'ci:hunter2-hunter2').decode()}"

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != self.wanted:
            self.answer(401, {"WWW-Authenticate": 'Basic realm="registry"'}, b"")
            return
        url = f"http://{self.behind}{self.path}"
        asked = urllib.request.Request(
            url, method=self.command, headers={"Accept": self.headers.get("Accept", "")}
        )
        straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with straight.open(asked) as got:
            self.answer(got.status, dict(got.headers), got.read())

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name not in ("Date", "Transfer-Encoding"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def gated(registry: Registry) -> Iterator[str]:
    """Return the host of a proxy of the registry that requires a password."""
    handler = type("TheGate", (Gate,), {"behind": registry.host})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"localhost:{server.server_port}"
        server.shutdown()


def only_dev(repository: Repository, **values: str) -> None:
    """Remove all environments but dev, and give it these images: besu and maru."""
    for name in ("prod", "staging"):
        shutil.rmtree(repository / "overlays" / name)
    chosen = dict[str, object]()
    for component, image in {"sequencer": values["besu"], **values}.items():
        name, _, tag = image.rpartition(":")
        chosen[component] = {"image": {"repository": name, "tag": tag}}
    chosen |= {"ethstats": {"enabled": False}, "txSender": {"enabled": False}}
    repository.write("overlays/dev/values.yaml", yaml.safe_dump(chosen, sort_keys=False))
    repository.write(LOCK, "# Reviewed by hand.\n")


def locked(repository: Repository) -> dict[str, str]:
    return dict(yaml.safe_load((repository / LOCK).read_text("utf-8")) or {})


def statefulset(repository: Repository, component: str) -> str:
    file = f"overlays/dev/manifests/statefulset-linea-stack-{component}.yaml"
    return (repository / file).read_text("utf-8")


def test_a_missing_digest_is_looked_up_and_rendered(
    repository: Repository, registry: Registry
) -> None:
    besu, maru = registry.push("besu:1.0", "besu"), registry.push("maru:2.0", "maru")
    only_dev(repository, besu=f"{registry.host}/besu:1.0", maru=f"{registry.host}/maru:2.0")
    done = repository.run("images")
    assert done.code == 0, done.out
    assert locked(repository) == {
        f"{registry.host}/besu:1.0": besu,
        f"{registry.host}/maru:2.0": maru,
    }
    assert f"{registry.host}/besu:1.0: {besu}\n" in done.out
    assert repository.run("render").code == 0
    assert f"image: {registry.host}/besu:1.0@{besu}\n" in statefulset(repository, "besu")
    assert f"image: {registry.host}/maru:2.0@{maru}\n" in statefulset(repository, "maru")
    assert repository.run("images").out == "no digest is missing\n"


def test_other_lines_of_the_lock_and_their_comments_are_kept(
    repository: Repository, registry: Registry
) -> None:
    registry.push("kept:1", "kept")
    added = registry.push("m:1", "m")
    only_dev(repository, besu=f"{registry.host}/kept:1", maru=f"{registry.host}/m:1")
    text = f"# Ours.\na/a:1: {OTHER}\n\n# Why it is held.\n{registry.host}/kept:1: {DIGEST} # x\n"
    text += f"# Gone.\nz/z:9: {OTHER}\n"
    repository.write(LOCK, text)
    assert repository.run("images").code == 0
    line = f"{registry.host}/m:1: {added}\n"
    before, after = text.split("# Gone.\n")
    assert (repository / LOCK).read_text("utf-8") == f"{before}{line}# Gone.\n{after}"


def test_a_new_first_line_of_the_lock_goes_below_its_header(
    repository: Repository, registry: Registry
) -> None:
    digest = registry.push("first:1", "first")
    only_dev(repository, besu=f"{registry.host}/first:1", maru=f"{registry.host}/first:1")
    repository.write(LOCK, f"# Head.\n\nzz/z:1: {OTHER}\n")
    assert repository.run("images").code == 0
    wanted = f"# Head.\n\n{registry.host}/first:1: {digest}\nzz/z:1: {OTHER}\n"
    assert (repository / LOCK).read_text("utf-8") == wanted


def test_the_digest_is_that_of_the_index_over_all_platforms(
    repository: Repository, registry: Registry
) -> None:
    parts = [registry.push(f"multi:{cpu}", cpu, f"linux/{cpu}") for cpu in ("amd64", "arm64")]
    name = f"{registry.host}/multi:1"
    manifests = [f"--manifest={registry.host}/multi@{digest}" for digest in parts]
    crane("index", "append", *manifests, "--tag", name)
    only_dev(repository, besu=name, maru=name)
    assert repository.run("images").code == 0
    digest = locked(repository)[name]
    assert digest not in parts
    index = json.loads(crane("manifest", f"{registry.host}/multi@{digest}"))
    assert [each["digest"] for each in index["manifests"]] == parts


def test_a_missing_tag_is_reported_at_its_line_and_the_others_are_written(
    repository: Repository, registry: Registry
) -> None:
    digest = registry.push("there:1", "there")
    only_dev(repository, besu=f"{registry.host}/there:1", maru=f"{registry.host}/there:2")
    done = repository.run("images")
    assert done.code == 1
    values = (repository / "overlays/dev/values.yaml").read_text("utf-8").splitlines()
    line = 1 + values.index("    tag: '2'")
    assert f"overlays/dev/values.yaml:{line}:5  error  image-not-found\n" in done.out
    assert f"{registry.host} has no {registry.host}/there:2: " in done.out
    assert locked(repository) == {f"{registry.host}/there:1": digest}


def test_a_registry_that_is_down_is_reported_for_each_image_and_the_others_are_written(
    repository: Repository, registry: Registry, down: str
) -> None:
    digest = registry.push("up:1", "up")
    only_dev(repository, besu=f"{registry.host}/up:1", maru=f"{down}/maru:1")
    values = (repository / "overlays/dev/values.yaml").read_text("utf-8")
    ethstats = f"{{image: {{repository: '{down}/ethstats', tag: '3'}}}}"
    repository.write(
        "overlays/dev/values.yaml",
        values.replace("ethstats:\n  enabled: false", f"ethstats: {ethstats}"),
    )
    done = repository.run("images")
    assert done.code == 2
    for image in (f"{down}/maru:1", f"{down}/ethstats:3"):
        assert f"cannot ask {down} for {image}: " in done.out
    assert done.out.count("connection refused") >= 2
    assert "2 errors" in done.out
    assert locked(repository) == {f"{registry.host}/up:1": digest}


def test_a_locked_digest_is_looked_up_only_by_refresh(repository: Repository, down: str) -> None:
    only_dev(repository, besu=f"{down}/besu:1", maru=f"{down}/besu:1")
    repository.write(LOCK, f"{down}/besu:1: {DIGEST}\n")
    done = repository.run("images")
    assert (done.code, done.out) == (0, "no digest is missing\n")
    assert repository.run("images", "--refresh").code == 2
    assert locked(repository) == {f"{down}/besu:1": DIGEST}


def test_a_moved_tag_is_reported_and_written_only_by_refresh(
    repository: Repository, registry: Registry
) -> None:
    name = f"{registry.host}/moving:1"
    old = registry.push("moving:1", "old")
    only_dev(repository, besu=name, maru=name)
    assert repository.run("images").code == 0
    assert repository.run("images", "--refresh").out == "no tag has moved\n"
    text = (repository / LOCK).read_text("utf-8")
    new = registry.push("moving:1", "new")
    assert new != old
    assert repository.run("images").code == 0
    assert (repository / LOCK).read_text("utf-8") == text
    done = repository.run("images", "--refresh")
    assert done.code == 0
    assert f"{LOCK}:2:1  warning  moved-tag\n  the tag {name} has moved" in done.out
    assert old in done.out
    assert new in done.out
    assert (repository / LOCK).read_text("utf-8") == text.replace(old, new)


def test_a_registry_that_needs_a_login_is_reported_without_the_password(
    repository: Repository, registry: Registry, gated: str, tmp_path: Path
) -> None:
    digest = registry.push("private:1", "private")
    only_dev(repository, besu=f"{gated}/private:1", maru=f"{gated}/private:1")
    done = repository.run("images", DOCKER_CONFIG=str(tmp_path))
    assert done.code == 2
    assert "error  image-access-denied\n" in done.out
    assert f"→ run docker login {gated}" in done.out
    crane("auth", "login", gated, "-u=ci", "-p=wrong-and-secret", DOCKER_CONFIG=str(tmp_path))
    done = repository.run("images", DOCKER_CONFIG=str(tmp_path))
    assert done.code == 2
    assert "wrong-and-secret" not in done.out + done.err
    assert "http://" not in done.out + done.err
    assert locked(repository) == {}
    crane("auth", "login", gated, "-u=ci", "-p=hunter2-hunter2", DOCKER_CONFIG=str(tmp_path))
    done = repository.run("images", DOCKER_CONFIG=str(tmp_path))
    assert done.code == 0, done.out
    assert locked(repository) == {f"{gated}/private:1": digest}
    assert "hunter2" not in done.out + done.err


def test_with_an_error_in_an_environment_nothing_is_looked_up(repository: Repository) -> None:
    repository.write("overlays/dev/values.yaml", "besu: {replica: 1}\n")
    before = (repository / LOCK).read_text("utf-8")
    done = repository.run("images")
    assert done.code == 1
    assert done.out.startswith("overlays/dev/values.yaml:1:8  error  unknown-key\n")
    assert "besu.replica" in done.out
    assert "registry" not in done.out
    assert (repository / LOCK).read_text("utf-8") == before


def test_failed_lookups_are_written_as_one_document(
    repository: Repository, registry: Registry, down: str
) -> None:
    registry.push("up:2", "up")
    only_dev(repository, besu=f"{registry.host}/up:2", maru=f"{down}/maru:1")
    done = repository.run("images", "--format", "json")
    assert done.code == 2
    assert [each["rule"] for each in json.loads(done.out)["findings"]] == ["registry-unreachable"]


def test_a_registry_that_never_answers_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        failure = images.digest(f"localhost:{silent.getsockname()[1]}/a:1")
    assert isinstance(failure, images.Failure)
    assert failure.rule == "registry-unreachable"
    assert "did not finish within" in failure.message


def test_pruning_removes_only_digests_of_images_that_no_environment_runs(
    repository: Repository,
) -> None:
    before = (repository / LOCK).read_text("utf-8")
    stale = f"hyperledger/besu:24.1.0: {DIGEST}\n"
    repository.write(LOCK, f"{before}{stale}")
    missing = {one for one in image_lock.load(repository.root).data if one not in before}
    assert missing == {"hyperledger/besu:24.1.0"}
    image_lock.load.cache_clear()
    stream = io.StringIO()
    images.prune(repository.root, stream)
    assert stream.getvalue() == "hyperledger/besu:24.1.0: removed, as no environment runs it\n"
    assert (repository / LOCK).read_text("utf-8") == before
