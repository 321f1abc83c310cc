"""`nox -s network` keeps all files complete when it is stopped, fails, or runs twice at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest

from tests import sweeps
from tests.conftest import ROOT, Interrupted, Repository
from tests.network.chains import assert_consistent, chain_id, network, private


def test_after_a_killed_run_the_next_one_continues_with_the_existing_keys(
    plain: Repository,
) -> None:
    kills = 0
    with Interrupted(plain, signal.SIGKILL) as runs:
        for step in sweeps.steps(5):
            code = runs.at(step, "network", "dev")["code"]
            # The script has a label with the chain id, which is drawn again with the network.yaml.
            derived = (".new", "create-secrets.sh")
            kept = {path: text for path, text in private(plain).items() if path not in derived}
            if (plain / "overlays/dev/network.yaml").exists():
                assert_consistent(plain, 1)
            if code != -signal.SIGKILL:
                break
            kills += 1
            ended = runs.at(-1, "network", "dev")
            assert ended["code"] == 0, (step, ended)
            assert_consistent(plain, 1)
            assert "recipient.key" in private(plain), step
            assert kept.items() <= private(plain).items(), step
            assert not [*(plain / ".secrets").rglob(".new")], step
            shutil.rmtree(plain / ".secrets")
            (plain / "overlays/dev/network.yaml").unlink()
    assert code == 0
    assert kills > (20 if sweeps.is_whole() else 4)


def test_an_interrupted_run_says_that_all_files_are_complete(plain: Repository) -> None:
    with Interrupted(plain, signal.SIGINT) as runs:
        ended = runs.at(12, "network", "dev")
    assert ended["code"] == 130
    assert (
        ended["said"]
        == "network: interrupted; all files are complete; run it again for the missing ones\n"
    )
    network(plain, "dev")
    assert_consistent(plain, 1)


def test_concurrent_runs_create_one_chain_per_environment_with_different_ids(
    plain: Repository,
) -> None:
    every = [
        subprocess.Popen(
            plain.command("network", name, "--validators", "4"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("prod", "staging", "prod")
    ]
    outputs = [process.communicate() for process in every]
    assert [process.returncode for process in every] == [0, 0, 0], outputs
    assert sorted("nothing to create" in out for out, _ in outputs) == [False, False, True]
    assert chain_id(plain, "prod") != chain_id(plain, "staging")
    for name in ("prod", "staging"):
        assert_consistent(plain, 4, name)


def test_after_a_full_disk_the_next_run_continues(plain: Repository) -> None:
    try:
        subprocess.run(["unshare", "-Urm", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system allows no small disk")
    (plain / ".secrets").mkdir(mode=0o700)
    script = (
        'mount -t tmpfs -o size=40k,mode=0700 none "$0" || exit 99; "$@"; echo "exit $?"; '
        'find "$0" -name .new; mount -o remount,size=4m "$0"; "$@"; echo "exit $?"'
    )
    command = plain.command("network", "dev", "--validators", "7")
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, str(plain / ".secrets"), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No space left on device; all files are complete" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "exit 2"
    assert lines[1] == f"dev: created a chain of 7 validators, chain id {chain_id(plain)}"
    assert lines[-1] == "exit 0"


def test_a_closed_pipe_is_not_reported_as_a_disk_error(plain: Repository) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as gone:
        done = subprocess.run(
            plain.command("network", "dev"),
            cwd=ROOT,
            stdout=gone,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")
    assert_consistent(plain, 1)
