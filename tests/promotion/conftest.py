"""A repository with a history: what was merged, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import git
from tests.conftest import Repository, copy

TEMPLATE = "chart/templates/besu/service.yaml"


def at(day: int, hour: int = 0) -> float:
    """Return a time of March 2026, in seconds since 1970."""
    return datetime(2026, 3, day, hour, tzinfo=UTC).timestamp()


def commit(root: Path, day: int) -> None:
    """Commit all files on a day of March 2026."""
    git.commit_on(root, f"2026-03-{day:02}T00:00:00Z")


def release(repository: Repository, environment: str, name: str, **more: str) -> None:
    """Write the release of an environment, and other keys."""
    path = f"overlays/{environment}/environment.yaml"
    keys = {"release": name, **more}
    lines = (repository / path).read_text("utf-8").splitlines(keepends=True)
    own = [line for line in lines if line.partition(":")[0] not in keys]
    own += [f"{key}: {value}\n" for key, value in keys.items()]
    repository.write(path, "".join(own))


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository in which staging has v0.3.0 since day 5, and prod v0.2.0 since day 3."""
    made = copy(tmp_path_factory.mktemp("history") / "repository")
    git.git(made.root, "init", "-q", "-b", "main")
    made.write(".gitignore", ".render/\n")
    commit(made.root, 1)
    made.replace(TEMPLATE, "metadata:\n", "metadata:\n  annotations: {example.com/a: first}\n")
    commit(made.root, 2)
    git.git(made.root, "tag", "v0.2.0")
    release(made, "staging", "v0.2.0")
    release(made, "prod", "v0.2.0", soak="24h")
    commit(made.root, 3)
    made.replace(TEMPLATE, "example.com/a: first", "example.com/a: second")
    commit(made.root, 4)
    git.git(made.root, "tag", "v0.3.0")
    release(made, "staging", "v0.3.0")
    assert made.run("render").code == 0
    commit(made.root, 5)
    return made.root


@pytest.fixture
def merged(history: Path, tmp_path: Path) -> Repository:
    """Return a clone of the repository that the test may change."""
    git.git(tmp_path, "clone", "-q", "--shared", str(history), str(tmp_path / "repository"))
    return Repository(tmp_path / "repository")
