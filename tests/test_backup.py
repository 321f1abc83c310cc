"""Backups restore byte for byte, and whatever goes wrong hurts neither a backup nor a volume.

The scripts that the chart ships run against rclone's own S3 server, by each shell there is.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scripts.core.toolchain import tool
from tests.conftest import ROOT, Run, digest
from tests.execution import until

SCRIPTS = ROOT / "chart" / "files" / "backup"
BUCKET, PREFIX = "backups", "linea-prod/linea-stack"
BIG = 12 * 1024 * 1024
"""Bytes of a file that is uploaded in three parts of the 5 MiB that the tests set."""
PRIVATE = ("besu/key", "besu/key.pub", "besu/jwt.hex", "maru/private-key")
VERSION = "besu/VERSION_METADATA.json"
OF_ONE_RUN = ("besu/besu.ports", "besu/besu.networks", "besu/database/LOCK", "maru/LOCK", VERSION)
CHAIN, ANOTHER_CHAIN = "1337-0123456789abcdef", "1337-fedcba9876543210"


def write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def fill(volume: Path, *, big: int = BIG) -> None:
    """Make the volume of a stopped Besu pod, with names that shells and S3 trip over."""
    write(volume / "besu/database/CURRENT", b"MANIFEST-000005\n")
    write(volume / "maru/CURRENT", b"MANIFEST-000007\n")
    write(volume / "besu/database/000001.sst", secrets.token_bytes(big))
    write(volume / "maru/000002.sst", secrets.token_bytes(4096))
    for name in (*PRIVATE, *OF_ONE_RUN):
        write(volume / name, secrets.token_hex(32).encode())
    (volume / "lost+found").mkdir()
    (volume / "besu/caches/CODE CACHE").mkdir(parents=True)


def fill_with_odd_names(volume: Path) -> None:
    names = ["-rf", " lead", "trail ", "a\\b", 'it\'s "so"', "$(id) `id` ;&|", "*?[x]{y}", "%2F%00"]
    names += ["é", "e\u0301", "\N{FISH}", ".hidden", "..", "empty", "key", "x" * 200]
    for name in names:
        write(volume / "besu" / "odd" / f"{name}.d" / name.replace("..", "..."), name.encode())
    (volume / "besu/odd/empty.d/empty").write_bytes(b"")
    (volume / "maru/an empty folder/and one in it").mkdir(parents=True)
    for number in range(1000):
        write(volume / f"besu/database/{number:06}.log", str(number).encode())


def content(volume: Path, *parts: str) -> dict[str, str]:
    """Return what a backup must hold of a volume: the digests of its files and folders."""
    found = {}
    for part in parts or ("besu", "maru"):
        for path in sorted((volume / part).rglob("*")):
            name = path.relative_to(volume).as_posix()
            if name not in PRIVATE + OF_ONE_RUN:
                found[name] = digest(path)
    return found


@dataclass(frozen=True, slots=True)
class Store:
    """An S3 server, and the scripts' environment."""

    folder: Path
    """What the server holds: a folder a bucket."""
    environment: dict[str, str]
    server: subprocess.Popen[bytes]

    @property
    def root(self) -> Path:
        return self.folder / BUCKET / PREFIX

    def start(self, script: str, *before: str | Path, **more: str | Path) -> subprocess.Popen[str]:
        """Start a script as the leader of a process group."""
        # The server looks at its folders again, which the test may have changed.
        self.server.send_signal(signal.SIGHUP)
        return subprocess.Popen(
            [*before, "sh", SCRIPTS / script],
            env=self.environment | {name: str(value) for name, value in more.items()},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, script: str, *before: str | Path, **more: str | Path) -> Run:
        return end(self.start(script, *before, **more))

    def backup(self, source: Path, **more: str | Path) -> Run:
        return self.run("backup.sh", SOURCE_DIR=source, **more)

    def restore(self, backup: str, target: Path, **more: str | Path) -> Run:
        target.mkdir(exist_ok=True)
        return self.run("restore.sh", BACKUP=backup, TARGET_DIR=target, **more)

    def made(self, source: Path, **more: str | Path) -> str:
        """Return the time of a new backup."""
        done = self.backup(source, **more)
        assert done.code == 0, done
        assert "warning: " not in done.err, done
        return self.complete()[-1]

    def complete(self) -> list[str]:
        return sorted(mark.parent.name for mark in self.root.glob("2*/SHA256SUMS"))

    def all(self) -> list[str]:
        return sorted(path.name for path in self.root.glob("*"))

    def aged(self, backup: str | Path, days: float, *, marked: bool = True) -> str:
        """Copy a backup as if made so many days ago, and return its time."""
        then = datetime.now(UTC) - timedelta(days=days)
        name = then.strftime("%Y%m%dT%H%M%SZ")
        shutil.copytree(self.root / backup, self.root / name)
        if not marked:
            (self.root / name / "SHA256SUMS").unlink()
        return name


def end(process: subprocess.Popen[str]) -> Run:
    """Return how a script ended; nothing of its process group stays."""
    try:
        out, err = process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return Run(process.returncode, out, err)


def put(backup: Path, name: str, text: str) -> None:
    """Put another file into a backup, or none for an empty text, and list it as backup.sh does."""
    mark = backup / "SHA256SUMS"
    listed = [line for line in mark.read_text().splitlines() if not line.endswith(f"  {name}")]
    if text:
        (backup / name).write_text(text)
        listed.append(f"{digest(backup / name)}  {name}")
    else:
        (backup / name).unlink()
    mark.write_text("".join(f"{line}\n" for line in listed))


def errors(run: Run) -> list[str]:
    return [line for line in run.err.splitlines() if line.startswith("error: ")]


def error(run: Run) -> str:
    """Return the one line that tells what went wrong."""
    assert run.code == 1, run
    (line,) = errors(run)
    assert run.err.rstrip().endswith(line)
    return line


def shells() -> list[str]:
    return ["sh", *(["busybox"] if shutil.which("busybox") else [])]


every_shell = pytest.mark.parametrize("shell", shells(), indirect=True)
"""Where shells and tools may differ: dates, signals, patterns of names."""


@pytest.fixture
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a PATH with rclone on it, and the shell and the tools of this system or of busybox."""
    programs = tmp_path / "programs"
    programs.mkdir()
    if getattr(request, "param", "sh") == "busybox":
        busybox = shutil.which("busybox")
        assert busybox
        listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
        for name in listed.stdout.split():
            (programs / name).symlink_to(busybox)
    (programs / "rclone").symlink_to(tool("rclone"))
    return f"{programs}:{os.environ['PATH']}"


@contextlib.contextmanager
def serving(
    folder: Path, environment: dict[str, str], before: tuple[str | Path, ...] = ()
) -> Iterator[Store]:
    """Run an S3 server on a port of its own, with keys made for it."""
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    log = folder.with_suffix(".log")
    with log.open("w") as output:
        server = subprocess.Popen(
            # Until the server minds SIGHUP, which start sends, it is not to end of it.
            [*before, "nohup", tool("rclone"), "serve", "s3", "--addr", "127.0.0.1:0", folder],
            env=environment
            | {
                "RCLONE_AUTH_KEY": f'"{key},{secret}"',
                "RCLONE_CONFIG": os.devnull,
                "RCLONE_NO_UNICODE_NORMALIZATION": "true",  # S3 does none
            },
            stdout=output,
            stderr=output,
        )
    try:

        def address() -> str:
            assert server.poll() is None, log.read_text()
            found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
            return found.group() if found else ""

        endpoint = until(address, "the server's address")
        yield Store(
            folder,
            environment
            | {
                "BUCKET": BUCKET,
                "PREFIX": PREFIX,
                "PARTS": "besu maru",
                "CHAIN": CHAIN,
                "RETENTION_DAYS": "30",
                "RETENTION_KEEP": "2",
                "RCLONE_CONFIG_S3_TYPE": "s3",
                "RCLONE_CONFIG_S3_PROVIDER": "Other",
                "RCLONE_CONFIG_S3_ENV_AUTH": "true",
                "RCLONE_CONFIG_S3_REGION": "us-east-1",
                "RCLONE_CONFIG_S3_ENDPOINT": endpoint,
                "AWS_ACCESS_KEY_ID": key,
                "AWS_SECRET_ACCESS_KEY": secret,
                "RCLONE_S3_CHUNK_SIZE": "5Mi",
                "RCLONE_S3_UPLOAD_CUTOFF": "5Mi",
                "RCLONE_RETRIES": "1",
                "RCLONE_LOW_LEVEL_RETRIES": "1",
                # This server fails where two requests make one folder at the same time.
                "RCLONE_TRANSFERS": "1",
            },
            server,
        )
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def empty_store(folder: Path, path: str) -> Iterator[Store]:
    scratch = folder / "scratch"
    (folder / "s3" / BUCKET).mkdir(parents=True)
    scratch.mkdir()
    environment = {"PATH": path, "HOME": str(scratch), "TMPDIR": str(scratch)}
    # A third of rclone's start is Go's collector, and few of these runs need it.
    with serving(folder / "s3", environment | {"GOGC": "off", "GOMEMLIMIT": "256MiB"}) as made:
        yield made


@pytest.fixture
def store(shell: str, tmp_path: Path) -> Iterator[Store]:
    with empty_store(tmp_path, shell) as made:
        yield made


SIZES = {"source": BIG, "small": 5000}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of volumes, and of a backup of each, which no test changes."""
    folder = tmp_path_factory.mktemp("volumes")
    (folder / "rclone").symlink_to(tool("rclone"))
    for name, big in SIZES.items():
        fill(folder / name, big=big)
        (folder / f"{name} store").mkdir()
        with empty_store(folder / f"{name} store", f"{folder}:{os.environ['PATH']}") as made:
            shutil.move(made.root / made.made(folder / name), folder / f"{name} backup")
    return folder


@pytest.fixture
def source(volumes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(volumes / "source", tmp_path / "source volume"))


@pytest.fixture
def small(volumes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(volumes / "small", tmp_path / "small volume"))


@pytest.fixture
def big_backup(store: Store, volumes: Path) -> str:
    """Return the time of a backup of source that the store has."""
    return store.aged(volumes / "source backup", 0)


@pytest.fixture
def backup(store: Store, volumes: Path) -> str:
    """Return the time of a backup of small that the store has."""
    return store.aged(volumes / "small backup", 0)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    volume = tmp_path / "target volume"
    volume.mkdir()
    return volume


def wait_for_another_second_than(backup: str) -> None:
    while datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ") == backup:
        time.sleep(0.05)


@dataclass(slots=True)
class Proxy:
    """Stands between a script and S3, and acts once where a request holds a pattern."""

    port: int
    pattern: bytes
    action: Callable[[], bool]
    """Called at the pattern; False cuts this connection and all later ones."""
    seen: list[bytes] = field(default_factory=list)
    """What requests began with; connections add to it at the same time."""
    dead: bool = False
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                if self.dead:
                    client.close()
                    continue
                threading.Thread(target=self.connect, args=(client,), daemon=True).start()

    def connect(self, client: socket.socket) -> None:
        """Carry a connection both ways.

        Its sockets are closed only when neither thread uses them: the number of a closed one is
        given to the next file of this process, which the other thread would then read or write.
        """
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port)) as server,
        ):
            back = threading.Thread(target=self.pump, args=(server, client, False), daemon=True)
            back.start()
            self.pump(client, server, True)
            back.join()

    def pump(self, giver: socket.socket, taker: socket.socket, is_request: bool) -> None:
        with contextlib.suppress(OSError):
            while data := giver.recv(65536):
                if is_request:
                    self.seen.append(data[:2000])
                    if self.pattern in data and not self.action():
                        self.dead = True
                if self.dead:
                    break
                taker.sendall(data)
        for end_of_it in (giver, taker):
            with contextlib.suppress(OSError):
                end_of_it.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def between(store: Store, pattern: bytes, action: Callable[[], bool]) -> Iterator[Proxy]:
    port = int(store.environment["RCLONE_CONFIG_S3_ENDPOINT"].rsplit(":", 1)[1])
    proxy = Proxy(port, pattern, action)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.dead = True
        # Wakes who waits for connections, which a close does not.
        with contextlib.suppress(OSError):
            proxy.listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        proxy.listener.close()


@dataclass(frozen=True, slots=True)
class Pause:
    """An action that holds a request until it is let go, and cuts it then."""

    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> bool:
        self.reached.set()
        self.released.wait()
        return False


def stopped(
    store: Store, pattern: bytes, by: signal.Signals, script: str, **more: Path | str
) -> Run:
    """Run a script, and send it a signal while a request with the pattern waits."""
    pause = Pause()
    with between(store, pattern, pause) as proxy:
        process = store.start(script, RCLONE_CONFIG_S3_ENDPOINT=proxy.endpoint, **more)
        try:
            until(
                lambda: pause.reached.is_set() or process.poll() is not None,
                "the request",
                lambda: len(proxy.seen),
            )
            assert pause.reached.is_set(), end(process)
            # Kubernetes tells a container's first process only; the kernel kills them all.
            (os.killpg if by == signal.SIGKILL else os.kill)(process.pid, by)
            return end(process)
        finally:
            pause.released.set()


def assert_untouched(target: Path) -> None:
    """A failed restore leaves the room to the next one."""
    assert list(target.iterdir()) == []


def assert_restorable(store: Store, backup: str, source: Path, target: Path) -> None:
    done = store.restore(backup, target)
    assert done.code == 0, done
    assert content(target) == content(source)
    assert sorted(path.name for path in target.iterdir()) == ["besu", "maru"]


UPLOAD_OF_BIG = b"partNumber=2"
UPLOAD_OF_LIST = b"/FOLDERS"
"""Of what comes after all files."""
BIG_FILE = f"/{PREFIX}/".encode()


@every_shell
def test_a_restore_gives_every_byte_and_folder_back(
    store: Store, source: Path, target: Path
) -> None:
    fill_with_odd_names(source)
    backup = store.made(source)
    done = store.restore(backup, target)
    assert done.code == 0, done
    assert content(target) == content(source)
    assert len(content(target)) > 1000
    assert "maru/an empty folder/and one in it" in content(target)
    assert sorted(path.name for path in target.iterdir()) == ["besu", "maru"]


def test_sha256sum_alone_can_check_a_backup(store: Store, small: Path) -> None:
    folder = store.root / store.made(small)
    assert (folder / "CHAIN").read_text() == f"{CHAIN}\n"
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder, check=False).returncode == 0
    assert (folder / "FOLDERS").read_text().splitlines() == [
        *("besu", "besu/caches", "besu/caches/CODE CACHE", "besu/database", "maru")
    ]


def test_keys_leave_neither_the_volume_nor_the_environment(store: Store, small: Path) -> None:
    secret = [(small / name).read_bytes() for name in PRIVATE]
    secret.append(store.environment["AWS_SECRET_ACCESS_KEY"].encode())
    done = store.backup(small)
    stored = [path for path in store.folder.rglob("*") if path.is_file()]
    assert len(stored) > 4
    told = [path.read_bytes() for path in stored] + [(done.out + done.err).encode()]
    assert not any(key in text for key in secret for text in told)
    names = {path.name for path in stored}
    assert not names & {Path(name).name for name in (*PRIVATE, *OF_ONE_RUN)}


def test_parts_grow_where_a_file_would_have_more_than_s3_allows(
    store: Store, source: Path, target: Path
) -> None:
    # As for a file of more than 10000 x 16 MiB, with numbers that a test can have.
    with between(store, b"\0never\0", lambda: True) as proxy:
        backup = store.made(
            source, RCLONE_CONFIG_S3_ENDPOINT=proxy.endpoint, RCLONE_S3_MAX_UPLOAD_PARTS="2"
        )
        assert any(b"partNumber=2" in one for one in proxy.seen)
        assert not any(b"partNumber=3" in one for one in proxy.seen)
    assert_restorable(store, backup, source, target)


@every_shell
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda v: shutil.rmtree(v / "besu"), "besu is no data folder of Besu"),
        (lambda v: (v / "besu/database/CURRENT").unlink(), "has no file database/CURRENT"),
        (lambda v: shutil.rmtree(v / "maru"), "maru is no data folder of Maru"),
        (lambda v: (v / "maru/link").symlink_to("CURRENT"), "neither a file nor a folder"),
        (lambda v: (v / "maru/a\nb").write_text(""), "a name with a control character"),
    ],
)
def test_a_source_that_cant_be_copied_is_refused(
    store: Store, small: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(small)
    assert message in error(store.backup(small))
    assert store.all() == []


WRONG: list[tuple[dict[str, str], str]] = [
    ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "refuses the credentials"),
    ({"AWS_ACCESS_KEY_ID": "wrong"}, "refuses the credentials"),
    ({"BUCKET": "missing"}, "there is no bucket missing"),
    ({"RCLONE_CONFIG_S3_ENDPOINT": "http://127.0.0.1:1"}, "can't be reached"),
    ({"BUCKET": ""}, "BUCKET is not set"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_s3_that_cant_be_used_is_told_and_changes_nothing(
    store: Store, backup: str, small: Path, target: Path, wrong: dict[str, str], message: str
) -> None:
    assert message in error(store.backup(small, **wrong))
    assert message in error(store.restore(backup, target, **wrong))
    assert message in error(store.restore("latest", target, **wrong))
    assert_untouched(target)
    assert store.all() == [backup]
    assert_restorable(store, backup, small, target)


@pytest.mark.parametrize("setting", ["DAYS", "KEEP", "DAILY", "WEEKLY"])
def test_a_retention_that_is_no_number_is_refused(store: Store, small: Path, setting: str) -> None:
    done = store.backup(small, **{f"RETENTION_{setting}": "-1"})
    assert "must be whole numbers, not -1" in error(done)


def test_an_upload_that_is_cut_marks_nothing(
    store: Store, big_backup: str, source: Path, target: Path
) -> None:
    earlier = store.aged(big_backup, 1)
    shutil.rmtree(store.root / big_backup)
    with between(store, UPLOAD_OF_BIG, lambda: False) as proxy:
        done = store.backup(source, RCLONE_CONFIG_S3_ENDPOINT=proxy.endpoint)
    assert re.search(r"the upload failed: .*(was cut|can't be reached)", error(done))
    assert "is not complete and won't be used; earlier ones are as they were" in error(done)
    assert store.complete() == [earlier]
    assert_restorable(store, earlier, source, target)


@every_shell
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("at", [UPLOAD_OF_BIG, UPLOAD_OF_LIST])
def test_a_backup_that_is_stopped_marks_nothing(
    store: Store, source: Path, target: Path, by: signal.Signals, at: bytes
) -> None:
    done = stopped(store, at, by, "backup.sh", SOURCE_DIR=source)
    if by == signal.SIGTERM:
        assert "interrupted by a signal; the backup" in error(done)
    assert store.complete() == []
    # rclone may begin with the big file: then nothing is there yet.
    assert len(store.all()) in ((1,) if at == UPLOAD_OF_LIST else (0, 1))
    for torn in store.all():
        assert "is not complete: its upload never ended" in error(store.restore(torn, target))
        assert_untouched(target)
        wait_for_another_second_than(torn)
    assert_restorable(store, store.made(source), source, target)


def test_what_s3_holds_is_read_back_before_the_mark(store: Store, source: Path) -> None:
    todo = [flip_a_byte]

    def flip() -> bool:
        (held,) = store.root.glob("*/data/besu/database/000001.sst")
        while todo:
            todo.pop()(held)
        return True

    # The list of folders is uploaded last before the reading.
    with between(store, UPLOAD_OF_LIST, flip) as proxy:
        done = store.backup(source, RCLONE_CONFIG_S3_ENDPOINT=proxy.endpoint)
    assert "data/besu/database/000001.sst has changed" in error(done)
    assert store.complete() == []


def may_mount() -> bool:
    """Return whether a small file system can be made, which needs no more than a user's rights."""
    command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def on_a_full_disk(folder: Path, mebibytes: int) -> tuple[str | Path, ...]:
    """Return a command's beginning that gives it a small disk at the folder, or the like of it.

    Where nothing can be mounted, each file may be so large only.
    """
    folder.mkdir(exist_ok=True)
    if may_mount():
        mount = f'mount -t tmpfs -o size={mebibytes}m none "$0" && mkdir -p "$0/{BUCKET}"'
        return ("unshare", "-Urm", "/bin/sh", "-c", f'{mount} && exec "$@"', folder)
    return of_small_files(mebibytes)


def of_small_files(mebibytes: int) -> tuple[str | Path, ...]:
    blocks = mebibytes * 1024 * 2
    return ("/bin/sh", "-c", f'trap "" XFSZ; ulimit -f {blocks}; exec "$@"', "sh")


def test_a_full_disk_of_the_server_is_told(store: Store, source: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    (full / BUCKET).mkdir(parents=True)
    plain = {name: store.environment[name] for name in ("PATH", "HOME", "TMPDIR")}
    with serving(full, plain, on_a_full_disk(full, 6)) as other:
        whole = other.backup(source, RCLONE_S3_UPLOAD_CUTOFF="100Mi")
        wait_for_another_second_than(whole_time(whole))
        parts = other.backup(source)
        for done in (whole, parts):
            assert "disk is full" in error(done)
        gone = other.restore(whole_time(whole), tmp_path / "target")
        assert "is not complete" in error(gone) or "there is no backup" in error(gone)


def whole_time(run: Run) -> str:
    found = re.search(r"\d{8}T\d{6}Z", run.out)
    assert found
    return found.group()


def test_a_volume_that_is_too_small_is_told_before_the_download(
    store: Store, big_backup: str, target: Path
) -> None:
    before = on_a_full_disk(target, 6)
    done = store.run("restore.sh", *before, BACKUP=big_backup, TARGET_DIR=target)
    assert ("too small" if may_mount() else "the disk is full") in error(done)
    assert_untouched(target)


def test_a_volume_that_gets_full_is_left_empty(
    store: Store, big_backup: str, source: Path, target: Path
) -> None:
    done = store.run("restore.sh", *of_small_files(6), BACKUP=big_backup, TARGET_DIR=target)
    assert "the download failed: the disk is full" in error(done)
    assert_untouched(target)
    assert_restorable(store, big_backup, source, target)


def flip_a_byte(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        (old,) = opened.read(1)
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([old ^ 1]))


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def truncate_to_a_line(file: Path) -> None:
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[1:]))


@pytest.mark.parametrize(
    ("damage", "file", "message"),
    [
        (flip_a_byte, "data/besu/database/000001.sst", "000001.sst has changed"),
        (truncate, "data/besu/database/000001.sst", "000001.sst has changed"),
        (Path.unlink, "data/besu/database/000001.sst", "000001.sst is missing"),
        (Path.touch, "data/maru/added", "data/maru/added was added"),
        (Path.unlink, "FOLDERS", "FOLDERS is missing"),
        (flip_a_byte, "FOLDERS", "FOLDERS has changed"),
        (Path.unlink, "CHAIN", "CHAIN is missing"),
        (flip_a_byte, "CHAIN", "CHAIN has changed"),
        (lambda f: f.write_text("garbage\n"), "SHA256SUMS", "SHA256SUMS of"),
        (lambda f: f.write_text(""), "SHA256SUMS", "SHA256SUMS of"),
        (truncate_to_a_line, "SHA256SUMS", "was added"),
        (flip_a_byte, "SHA256SUMS", "damaged"),
    ],
)
def test_a_damaged_backup_is_refused_and_an_earlier_one_is_not(
    store: Store,
    backup: str,
    small: Path,
    target: Path,
    damage: Callable[[Path], None],
    file: str,
    message: str,
) -> None:
    earlier = store.aged(backup, 1)
    damage(store.root / backup / file)
    done = store.restore(backup, target)
    assert message in error(done)
    assert "damaged" in error(done)
    assert_untouched(target)
    assert_restorable(store, earlier, small, target)


@every_shell
def test_a_backup_that_is_not_there_is_told_with_those_that_are(
    store: Store, small: Path, target: Path
) -> None:
    assert "There are: none" in error(store.restore("20200101T000000Z", target))
    backup = store.made(small)
    torn = store.aged(backup, 2, marked=False)
    assert f"There are: {backup}" in error(store.restore("20200101T000000Z", target))
    assert f"Complete are: {backup}" in error(store.restore(torn, target))
    assert "must be latest, or a time like" in error(store.restore("../../etc", target))
    assert_untouched(target)


@every_shell
def test_retention_removes_what_is_old_and_keeps_the_newest(store: Store, small: Path) -> None:
    first = store.made(small, RETENTION_DAYS="0")
    ages = (2.0, 29.9, 30.1, 31.0, 400.0)
    young, month, late, later, last = (store.aged(first, age) for age in ages)
    fresh, torn = (store.aged(first, age, marked=False) for age in (0.9, 1.1))
    (store.root / "of someone else").mkdir()
    (store.root / "of someone else" / "SHA256SUMS").write_text("")
    shutil.rmtree(store.root / first)

    def kept(days: str, keep: str) -> set[str]:
        new = store.made(small, RETENTION_DAYS=days, RETENTION_KEEP=keep)
        left = set(store.all()) - {"of someone else"}
        assert new in left
        shutil.rmtree(store.root / new)
        assert (store.root / "of someone else" / "SHA256SUMS").exists()
        return left - {new}

    assert torn in store.all()
    assert kept("0", "0") == {fresh, young, month, late, later, last}
    assert kept("30", "5") == {fresh, young, month, late, later}
    assert kept("30", "4") == {fresh, young, month, late}
    assert kept("30", "3") == {fresh, young, month}
    assert kept("1", "0") == {fresh}


def ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y%m%dT%H%M%SZ")


def in_tiers(times: list[str], daily: int, weekly: int) -> set[str]:
    """Return those of some times that are the last of a young day or week, given newest first."""
    kept = dict[tuple[str, int], str]()
    for name in times:
        made = datetime.strptime(name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        for kind, days, count in (("day", 1, daily), ("week", 7, weekly)):
            period = (kind, int(made.timestamp()) // (days * 86400))
            kept.setdefault(period, name if name > ago(days * count) else "")
    return set(kept.values()) - {""}


@every_shell
def test_tiers_of_retention_keep_the_last_of_each_day_and_week(store: Store, small: Path) -> None:
    first = store.made(small)
    hours = [1, 5, 20, 26, 40, 75, *(24 * day + 3 for day in (5, 6, 8, 9, 16, 17, 30, 54, 60, 200))]
    times = [store.aged(first, (hour + 0.5) / 24) for hour in hours]
    shutil.rmtree(store.root / first)

    def kept(keep: int, days: int, daily: int, weekly: int) -> tuple[str, set[str]]:
        tiers = {"RETENTION_DAILY": str(daily), "RETENTION_WEEKLY": str(weekly)}
        new = store.made(small, RETENTION_KEEP=str(keep), RETENTION_DAYS=str(days), **tiers)
        left = set(store.all())
        shutil.rmtree(store.root / new)
        return new, left

    new, left = kept(1, 0, 0, 0)
    assert left == {new, *times}
    new, left = kept(4, 0, 7, 9)
    assert left == in_tiers([new, *times], 7, 9) | {new, *times[:3]}
    assert 10 < len(left) < len(times)
    times = sorted(left - {new}, reverse=True)
    new, left = kept(1, 20, 0, 9)
    young = {time for time in in_tiers([new, *times], 0, 9) if time >= ago(20)}
    assert left == young | {new}
    assert 2 < len(left) < len(times)


def test_a_retention_that_fails_is_told_and_is_no_failed_backup(
    store: Store, backup: str, small: Path, target: Path
) -> None:
    old = store.aged(backup, 40)
    shutil.rmtree(store.root / backup)
    with between(store, b"DELETE /", lambda: False) as proxy:
        done = store.backup(small, RETENTION_KEEP="1", RCLONE_CONFIG_S3_ENDPOINT=proxy.endpoint)
    assert done.code == 0
    assert re.search(
        r"^warning: .* older ones were not all removed: .* S3 at", done.err, re.MULTILINE
    )
    assert len(store.complete()) == 2
    assert_restorable(store, old, small, target)


def test_a_backup_that_is_half_removed_looks_incomplete(
    store: Store, backup: str, small: Path
) -> None:
    old = store.aged(backup, 40)
    shutil.rmtree(store.root / backup)
    # The first object is removed, and then S3 is gone.
    deletions = iter([True])
    with between(store, b"DELETE /", lambda: next(deletions, False)) as proxy:
        store.backup(small, RETENTION_KEEP="1", RCLONE_CONFIG_S3_ENDPOINT=proxy.endpoint)
    assert old in store.all()
    assert old not in store.complete()


def restored(run: Run) -> str:
    """Return the time of the backup that was restored."""
    assert run.code == 0, run
    found = re.search(r"^restored: .* of s3:.*/(\w+)$", run.out, re.MULTILINE)
    assert found, run
    return found[1]


@every_shell
def test_latest_is_the_newest_complete_backup_of_this_chain(
    store: Store, backup: str, small: Path, target: Path
) -> None:
    unknown, another, old, older = (store.aged(backup, age) for age in (1, 2, 3, 4))
    store.aged(backup, 0.5, marked=False)
    put(store.root / unknown, "CHAIN", "")
    put(store.root / another, "CHAIN", f"{ANOTHER_CHAIN}\n")
    shutil.rmtree(store.root / backup)
    assert restored(store.restore("latest", target)) == old
    assert content(target) == content(small)
    assert sorted(path.name for path in target.iterdir()) == ["besu", "maru"]
    shutil.rmtree(store.root / old)
    assert restored(store.restore("latest", target / "1", IF_NONE="fail")) == older
    assert restored(store.restore("latest", target / "2", CHAIN=ANOTHER_CHAIN)) == another
    # Where the chart does not know the genesis.
    assert restored(store.restore("latest", target / "3", CHAIN="")) == unknown


@every_shell
def test_without_a_backup_of_this_chain_a_node_starts_empty(store: Store, target: Path) -> None:
    def starts_empty(**more: str) -> None:
        done = store.restore("latest", target, **more)
        assert (done.code, "the node starts from block 0" in done.out) == (0, True), done
        assert "no complete backup of this chain" in error(
            store.restore("latest", target, IF_NONE="fail", **more)
        )
        assert_untouched(target)

    starts_empty()
    starts_empty(CHAIN="")
    source = target.parent / "source"
    fill(source, big=100)
    another = store.made(source, CHAIN=ANOTHER_CHAIN)
    store.aged(another, 1, marked=False)
    starts_empty()
    assert restored(store.restore("latest", target, CHAIN=ANOTHER_CHAIN)) == another


def test_a_backup_of_another_chain_that_is_named_is_restored_with_a_warning(
    store: Store, backup: str, target: Path
) -> None:
    done = store.restore(backup, target, CHAIN=ANOTHER_CHAIN)
    assert restored(done) == backup
    assert f"warning: {backup} is of another chain" in done.err
    put(store.root / backup, "CHAIN", "")
    done = store.restore(backup, target / "2", CHAIN=ANOTHER_CHAIN)
    assert "warning: " not in done.err


def test_the_version_that_a_node_ran_is_not_restored_from_older_backups(
    store: Store, backup: str, small: Path, target: Path
) -> None:
    put(store.root / backup, f"data/{VERSION}", '{"besuVersion":"26.8.0"}')
    assert_restorable(store, backup, small, target)
    assert not (target / VERSION).exists()


def test_the_second_restore_changes_nothing(
    store: Store, backup: str, small: Path, target: Path
) -> None:
    assert_restorable(store, backup, small, target)
    (target / "maru" / "000002.sst").write_bytes(b"newer than the backup")
    there = content(target)
    done = store.restore(backup, target)
    assert done.code == 0
    assert "nothing to restore: there is data already" in done.out
    assert content(target) == there


@pytest.mark.parametrize("name", ["besu/database/CURRENT", "maru/CURRENT", "besu/.hidden"])
def test_data_is_never_overwritten_whatever_s3_says(store: Store, target: Path, name: str) -> None:
    write(target / name, b"mine")
    done = store.restore("20200101T000000Z", target, RCLONE_CONFIG_S3_ENDPOINT="http://127.0.0.1:1")
    assert done.code == 0
    assert "there is data already" in done.out
    assert [path for path in target.rglob("*") if path.is_file()] == [target / name]


@every_shell
def test_a_volume_gets_only_the_parts_it_has(store: Store, small: Path, target: Path) -> None:
    backup = store.made(small)
    (target / "besu").mkdir()
    (target / "lost+found").mkdir()
    assert store.restore(backup, target, PARTS="besu").code == 0
    assert content(target, "besu") == content(small, "besu")
    assert sorted(path.name for path in target.iterdir()) == ["besu", "lost+found"]
    assert store.restore(backup, target / "m", PARTS="maru").code == 0
    assert content(target / "m", "maru") == content(small, "maru")
    assert "x is neither" in error(store.restore(backup, target / "x", PARTS="x"))


@every_shell
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_a_download_that_is_stopped_can_be_repeated(
    store: Store, source: Path, target: Path, by: signal.Signals
) -> None:
    backup = store.made(source)
    big = f"GET /{BUCKET}/{PREFIX}/{backup}/data/besu/database/000001.sst".encode()
    done = stopped(store, big, by, "restore.sh", BACKUP=backup, TARGET_DIR=target)
    if by == signal.SIGTERM:
        assert "interrupted by a signal; nothing was restored" in error(done)
        assert_untouched(target)
    assert not (target / "besu").exists()
    assert not (target / "maru").exists()
    assert_restorable(store, backup, source, target)


class Killed:
    """Restores that are killed before their nth step: a program that changes the volume."""

    STEPS = ("mv", "rm", "rmdir", "sync")

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.count = store, folder / "count"
        self.path = f"{folder}:{store.environment['PATH']}"
        folder.mkdir()
        for name in self.STEPS:
            real = shutil.which(name, path=store.environment["PATH"])
            (folder / name).write_text(
                f'#!/bin/sh\nstep=$(($(cat "{self.count}") + 1))\necho $step >"{self.count}"\n'
                f'[ $step != "$STEP" ] || kill -9 0\nexec "{real}" "$@"\n'
            )
            (folder / name).chmod(0o755)

    def restore(self, step: int, backup: str, target: Path) -> int:
        self.count.write_text("0")
        target.mkdir()
        return self.store.restore(backup, target, PATH=self.path, STEP=str(step)).code


def test_a_restore_that_is_killed_at_any_step_can_be_repeated(
    store: Store, backup: str, small: Path, tmp_path: Path
) -> None:
    killed = Killed(store, tmp_path / "killed")
    other = store.aged(backup, 1)
    halves, others, latest = 0, set(), set()
    for step in range(1, 100):
        target, copy = tmp_path / f"volume {step}", tmp_path / f"copy {step}"
        code = killed.restore(step, "latest", target)
        there = {part: content(target, part) for part in ("besu", "maru")}
        for part, files in there.items():
            assert files in ({}, content(small, part)), step
        if code == 0:
            break
        assert code == -signal.SIGKILL, step
        shutil.copytree(target, copy)
        # A newer one is complete by now: what was begun comes first.
        newer = store.aged(backup, -1)
        half = shutil.copytree(target, tmp_path / f"half {step}")
        done = store.restore("latest", half)
        assert content(half) == content(small), step
        latest.add(restored(done) if "\nrestored: " in done.out else "")
        if any(there.values()) and not all(there.values()):
            assert restored(done) == backup, step
        shutil.rmtree(store.root / newer)
        assert_restorable(store, backup, small, target)
        # Another backup is asked for now: parts of two are never mixed.
        done = store.restore(other, copy)
        if done.code:
            assert f"is half restored from {backup}" in error(done), step
            halves += 1
            assert_restorable(store, backup, small, copy)
        else:
            others.add("restored: besu maru" in done.out)
            assert content(copy) == content(small), step
    assert content(target) == content(small)
    assert step > 6
    assert halves
    assert others == {True, False}
    assert len(latest) == 3
