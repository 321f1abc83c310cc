"""Fixtures of the chart's tests: volumes and S3 for backups, a chain for the TX Sender."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.network.keys import Key
from tests.chart.backup_store import BIG, Store, empty_store, fill
from tests.chart.tx_sender import RICH, Sender, started
from tests.execution_client import Client, Maru
from tests.optional_tools import tool

SIZES = {"source": BIG, "small": 5000}
"""The volumes that tests copy → bytes of the biggest file."""


# Backups


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


@pytest.fixture
def store(shell: str, tmp_path: Path) -> Iterator[Store]:
    with empty_store(tmp_path, shell) as made:
        yield made


@pytest.fixture(scope="session")
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


# The TX Sender


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Maru]]:
    with started(tmp_path_factory.mktemp("chain") / "node") as found:
        yield found


@pytest.fixture
def sender(tmp_path: Path, node: tuple[Client, Maru]) -> Iterator[Sender]:
    """Return a sender of its own money to an address of its own."""
    yield Sender(tmp_path, node[0], RICH.pop(), Key.generate().address)
    node[1].go_on()
