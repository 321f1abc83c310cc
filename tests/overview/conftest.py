"""Fixtures of the overview's tests: the example as it is committed, read once."""

from __future__ import annotations

from datetime import date

import pytest

from scripts.environments import layout
from scripts.overview import collect
from scripts.overview.report import Overview
from tests.conftest import Repository, copy

ON = date(2026, 11, 30)


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return a copy of the example that no test changes."""
    return copy(tmp_path_factory.mktemp("example") / "repository")


@pytest.fixture(scope="session")
def shown(example: Repository) -> Overview:
    """Return the overview of the example on a fixed day."""
    return collect.overview(example.root, layout.environments(example.root), ON)
