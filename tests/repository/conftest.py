"""What tests of workflows have in common."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Repository
from tests.git import commit, git
from tests.repository.github import GitHub, Handler, Server


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHub]:
    """Yield a stand-in with an open pull request of this repository, and its report."""
    # The path of a socket has room for 100 characters, which that of a test may exceed.
    with tempfile.TemporaryDirectory() as folder:
        found = GitHub(tmp_path, Path(folder) / "socket")
        found.head()
        found.report()
        with Server(str(found.socket), Handler) as server:
            server.github = found
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
            yield found
            server.shutdown()


@pytest.fixture
def merged(repository: Repository) -> Repository:
    """Return a repository in which a pull request is checked out as its merge."""
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    git(repository.root, "checkout", "-q", "-b", "change")
    repository.write("overlays/dev/values.yaml", "txSender: {interval: 7}\n")
    assert repository.run("render").code == 0
    commit(repository.root)
    git(repository.root, "checkout", "-q", "--detach", "main")
    git(repository.root, "merge", "-q", "--no-ff", "-m", "x", "change")
    return repository
