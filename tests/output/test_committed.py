"""However a render ends, the output is entirely the old or entirely the new one."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.__main__ import main
from scripts.core.findings import UserError
from scripts.environments import layout
from scripts.output import committed
from tests import sweeps
from tests.conftest import (
    CHANGE,
    OUTPUT,
    ROOT,
    Changed,
    Interrupted,
    Repository,
    copy,
    manifests,
    without_progress,
)
from tests.environment_copies import copy_environment


def is_any_of(output: dict[str, str], *others: dict[str, str]) -> bool:
    return any(output == other for other in others)


def test_kill_9_at_any_step_leaves_the_old_output_or_the_new(
    changed: Changed, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(changed.repository.root)
    killed = 0
    completed = 0
    with Interrupted(changed.repository, signal.SIGKILL) as renders:
        for step in sweeps.steps(6):
            ended = renders.at(step)
            if ended["code"] != -signal.SIGKILL:
                break
            killed += 1
            there = manifests(changed.output())
            assert is_any_of(there, manifests(changed.old), manifests(changed.new)), step
            # Any next command completes the render; this one writes nothing itself.
            code = main(["--repository", root, "render", "--check", "dev"])
            assert is_any_of(changed.output(), changed.old, changed.new), step
            assert code == (changed.output() == changed.old), step
            completed += not code
            assert main(["--repository", root, "render", "dev"]) == 0
            assert changed.output() == changed.new, step
            assert changed.is_clean(), step
            changed.restore()
    assert ended["code"] == 0
    assert changed.output() == changed.new
    assert killed > (40 if sweeps.is_whole() else 6), "the steps of a render are no longer noticed"
    assert 0 < completed < killed


def test_ctrl_c_at_any_step_leaves_the_old_output_or_the_new(changed: Changed) -> None:
    interrupted = 0
    with Interrupted(changed.repository, signal.SIGINT) as renders:
        for step in sweeps.steps(4):
            ended = renders.at(step)
            if step >= ended["steps"]:
                break
            assert "Traceback" not in ended["said"], ended["said"]
            assert ended["code"] in (0, 130), ended
            interrupted += ended["code"] == 130
            # No other command is needed, as the render itself ends in a consistent state.
            assert is_any_of(changed.output(), changed.old, changed.new), step
            assert "are unchanged" not in ended["said"] or changed.output() == changed.old, step
            assert changed.is_clean(), step
            changed.restore()
    assert interrupted > (40 if sweeps.is_whole() else 10)


def test_a_second_render_waits_for_the_first(changed: Changed) -> None:
    repository = changed.repository
    with Interrupted(repository, signal.SIGSTOP) as renders:
        renders.begin(5)
        stopped = renders.told()["stopped"]
        try:
            repository.write("overlays/dev/values.yaml", CHANGE + "txSender: {amount: 11}\n")
            second = subprocess.Popen(
                repository.command("render", "dev"),
                cwd=ROOT,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert second.stderr
            assert second.stderr.readline() == ("waiting for another render in this repository …\n")
            assert changed.output() == changed.old
        finally:
            os.kill(stopped, signal.SIGCONT)
        first = renders.told()
        out, err = second.communicate()
    assert (first["code"], second.returncode) == (0, 0), (first, err)
    assert "dev: " in first["said"]
    assert "dev: 1 changed" in out
    sender = repository / "overlays/dev/manifests/deployment-linea-stack-tx-sender.yaml"
    assert "'11'" in sender.read_text()
    assert repository.run("render", "--check", "dev").code == 0


def test_concurrent_renders_write_the_new_output(changed: Changed) -> None:
    repository = changed.repository
    renders = [
        subprocess.Popen(
            repository.command("render", "dev"),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(5)
    ]
    assert [render.wait() for render in renders] == [0] * len(renders)
    assert changed.output() == changed.new


def test_after_a_killed_render_no_process_holds_the_lock(tmp_path: Path) -> None:
    repository = copy(tmp_path / "many")
    for number in range(32):
        source = repository / "overlays/dev"
        copy_environment(source, repository / f"overlays/e{number}", number)
    render = subprocess.Popen(
        repository.command("render"), cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    children = wait_for_children(render)
    render.kill()
    render.wait()
    for child in children:
        select.select([child], [], [])
        os.close(child)
    with (repository / ".render/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert repository.run("render").code == 0
    assert repository.run("render", "--check").code == 0


def wait_for_children(process: subprocess.Popen[bytes]) -> list[int]:
    """Wait until the process has children, and return their pidfds, readable when they end."""
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one processor: a render needs no children")
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not listed.exists():
        pytest.skip("this system doesn't list a process's children")
    while process.poll() is None:
        pids = listed.read_text().split()
        if len(pids) > 1:
            return [os.pidfd_open(int(pid)) for pid in pids]
    pytest.fail("the render ended before it had children")


# Disks that are full or read-only: real ones, in a mount namespace of their own.

SCRIPT = """
set -eu
mount -t tmpfs -o "size=$1,mode=755" tmpfs "$2"
cp -a "$3/." "$2"
mount -o remount,"$4" "$2"
shift 4
"$@"
"""


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system for a copy of a repository, which exists only while a command runs."""

    enter: tuple[str, ...]
    mounted: Path
    python: str = sys.executable

    def run(
        self, repository: Repository, size: str, option: str, *commands: str
    ) -> subprocess.CompletedProcess[str]:
        """Run shell commands on the copy, whose path is in $COPY; progress is not returned."""
        script = [*self.enter, "sh", "-c", SCRIPT, "sh", size, self.mounted, repository.root]
        done = subprocess.run(
            [*map(str, script), option, "sh", "-c", "\n".join(commands)],
            cwd=ROOT,
            env={**os.environ, "COPY": str(self.mounted), "PYTHON": self.python},
            text=True,
            capture_output=True,
            check=False,
        )
        done.stderr = without_progress(done.stderr)
        return done


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """Return a disk that can be full or read-only; skip if this system does not allow it."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    for enter in (("unshare", "--mount"), ("unshare", "--user", "--map-root-user", "--mount")):
        trial = [*enter, "mount", "-t", "tmpfs", "tmpfs", str(mounted)]
        if shutil.which("unshare") and subprocess.run(trial, capture_output=True).returncode == 0:
            return Disk(enter, mounted)
    pytest.skip("neither root nor a user namespace may mount here")


RENDER = '"$PYTHON" -m scripts --repository "$COPY" render dev'


def used(repository: Repository) -> int:
    """Return the size of a tmpfs that the repository fills completely."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(
        -(-path.stat().st_size // page) * page
        for path in repository.root.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


@pytest.mark.parametrize("free_kib", [0, 4, 16, 40, 80, 120])
def test_a_full_disk_leaves_the_old_output(changed: Changed, disk: Disk, free_kib: int) -> None:
    size = str(used(changed.repository) + free_kib * 1024)
    kept = changed.kept.parent / "after"
    done = disk.run(
        changed.repository, size, "rw", f"{RENDER} || code=$?", f'cp -a "$COPY" {kept}',
        "exit ${code:-0}",
    )  # fmt: skip
    after = Repository(kept).files(*OUTPUT)
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        assert after == changed.new
        assert free_kib > 0
    else:
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("render: ")
        assert "the disk is full; the manifests are unchanged\n" in done.stderr
        assert after == changed.old


def test_a_render_succeeds_once_the_disk_has_space_again(changed: Changed, disk: Disk) -> None:
    size = str(used(changed.repository) + 16 * 1024)
    kept = changed.kept.parent / "after"
    done = disk.run(
        changed.repository, size, "rw", f"{RENDER} && exit 9",
        'mount -o remount,size=64m "$COPY"', RENDER, f'cp -a "$COPY" {kept}',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Repository(kept).files(*OUTPUT) == changed.new


def test_a_read_only_disk_is_an_error_and_the_output_is_unchanged(
    changed: Changed, disk: Disk
) -> None:
    done = disk.run(changed.repository, "64m", "ro", RENDER)
    assert done.returncode == 2
    assert done.stderr.startswith("render: ")
    assert "read-only; the manifests are unchanged\n" in done.stderr


def test_a_repository_on_a_read_only_disk_can_be_validated(
    repository: Repository, disk: Disk
) -> None:
    validate = '"$PYTHON" -m scripts --repository "$COPY"'
    done = disk.run(
        repository, "64m", "ro", f"{validate} validate dev", f"{validate} render --check dev"
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize(
    "folder", [".", "overlays/dev", "overlays/dev/manifests", "argocd/projects", ".render"]
)
def test_a_read_only_folder_is_an_error_and_the_output_is_unchanged(
    changed: Changed, bound_by_permissions: list[str], folder: str
) -> None:
    (changed.repository / ".render").mkdir()
    closed = changed.repository / folder
    closed.chmod(0o555)
    try:
        done = subprocess.run(
            [*bound_by_permissions, *changed.repository.command("render", "dev")],
            cwd=ROOT,
            text=True,
            capture_output=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        if done.returncode == 0:
            # The folder is swapped, so it need not be writable itself.
            assert changed.output() == changed.new
        else:
            assert done.returncode == 2, done.stdout + done.stderr
            assert "no permission to write; the manifests are unchanged\n" in done.stderr
            assert str(changed.repository.root) not in done.stderr
            assert changed.output() == changed.old
    finally:
        closed.chmod(0o755)


# Files of others in manifests/.


def test_a_file_that_render_did_not_write_is_an_error(repository: Repository) -> None:
    repository.write("overlays/dev/manifests/mine.yaml", "kind: ConfigMap\n")
    with pytest.raises(UserError) as raised:
        committed.read(repository.root, "dev")
    assert [finding.rule for finding in raised.value.findings] == ["unmanaged-file"]


def test_a_digest_depends_on_names_and_contents() -> None:
    assert committed.digest({"a": b"b", "c": b""}) != committed.digest({"a": b"", "c": b"b"})
    assert committed.digest({"a": b"x\x00b\x001\x00y"}) != committed.digest({"a": b"x", "b": b"y"})
    assert committed.digest({"a": b"1", "b": b"2"}) == committed.digest({"b": b"2", "a": b"1"})


def test_a_hidden_folder_is_not_an_environment(repository: Repository) -> None:
    (repository / "overlays/.idea").mkdir()
    assert layout.environments(repository.root) == ["dev", "prod", "staging"]
