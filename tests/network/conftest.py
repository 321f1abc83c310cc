"""A repository without chains, for the tests of the command that creates them."""

from __future__ import annotations

import pytest

from tests.conftest import Repository


@pytest.fixture
def plain(repository: Repository) -> Repository:
    """Return a repository in which no environment has a chain."""
    for path in (repository / "overlays").glob("*/network.yaml"):
        path.unlink()
    repository.write("overlays/dev/values.yaml", "maru: {replicas: 1}\nsequencer: {replicas: 1}\n")
    return repository
