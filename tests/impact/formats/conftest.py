"""Fixtures of the HTML page's tests: a report of rendered changes, and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from scripts.impact import predict
from scripts.impact.formats.html import page
from scripts.impact.report import Report
from tests.browser import browser
from tests.conftest import CHANGE, Repository, copy
from tests.git import commit, git
from tests.impact.formats.pages import written


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="session")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return a repository with rendered changes in dev and prod, which no test changes."""
    repository = copy(tmp_path_factory.mktemp("changed") / "repository")
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    repository.write("overlays/dev/values.yaml", CHANGE)
    repository.replace("overlays/prod/values.yaml", "size: 100Gi", "size: 120Gi")
    repository.replace("overlays/prod/values.yaml", "10.30.0.0/22", "0.0.0.0/0")
    assert repository.run("render").code == 0
    return repository


@pytest.fixture(scope="session")
def report(changed: Repository) -> Report:
    whole = predict.impact(changed.root, "HEAD")
    assert [impact.names for impact in whole.environments] == [("prod",), ("dev",)]
    return whole


@pytest.fixture
def file(tmp_path: Path, report: Report) -> Path:
    return written(tmp_path, page(report))
