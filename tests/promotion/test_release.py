"""The version of the repository, and the package of its chart."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from datetime import date
from pathlib import Path

import pytest

from scripts.core.findings import UsageError
from scripts.promotion import chart_package, versions
from tests import git
from tests.conftest import ROOT, Repository

CHANGES = "# Changelog\n\n## [0.1.0] - Unreleased\n\n- The chart.\n"
PROJECT = '[project]\nname = "x"\nversion = "0.1.0" # as in the chart\n'
CHART = "apiVersion: v2\nname: linea-stack\nversion: 0.1.0\nappVersion: '0.1.0'\n"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a repository with the files that have a version."""
    files = {versions.CHANGELOG: CHANGES, versions.PROJECT: PROJECT, versions.CHART: CHART}
    git.write(tmp_path, files)
    return tmp_path


def test_a_release_sets_the_version_and_the_date(small: Path) -> None:
    today = date(2026, 12, 1)
    texts = versions.changed(small, "0.2.0", today)
    assert texts[versions.CHANGELOG] == CHANGES.replace(
        "0.1.0] - Unreleased", "0.2.0] - 2026-12-01"
    )
    assert texts[versions.PROJECT] == PROJECT.replace("0.1.0", "0.2.0")
    assert texts[versions.CHART].startswith("apiVersion: v2\nname: linea-stack\nversion: 0.2.0\n")
    git.write(small, texts)
    assert versions.changed(small, "0.2.0", date(2027, 1, 1)) == {}
    with pytest.raises(UsageError, match="says nothing of"):
        versions.changed(small, "0.3.0", today)
    with pytest.raises(UsageError, match="is older than"):
        versions.changed(small, "0.1.9", today)
    with pytest.raises(UsageError, match="is not a version"):
        versions.changed(small, "v0.3", today)


def test_the_package_has_the_same_bytes_whatever_the_times_of_files(tmp_path: Path) -> None:
    copied = tmp_path / "linea-stack"
    first = chart_package.package(ROOT / "chart", tmp_path / "one")
    for path in sorted((ROOT / "chart").rglob("*"), reverse=True):
        target = copied / path.relative_to(ROOT / "chart")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            target.write_bytes(path.read_bytes())
            os.utime(target, (1, 1))
    second = chart_package.package(copied, tmp_path / "two")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == hashlib.sha256(first.path.read_bytes()).hexdigest()
    with tarfile.open(first.path) as opened:
        names = opened.getnames()
        chart = opened.extractfile("linea-stack/values.yaml")
        assert chart is not None
        assert chart.read() == (ROOT / "chart/values.yaml").read_bytes()
    assert "linea-stack/values.schema.json" in names
    assert not any(name.startswith("linea-stack/ci/") for name in names)


def test_the_command_packs_what_a_commit_has(repository: Repository, tmp_path: Path) -> None:
    git.write(repository.root, {versions.CHANGELOG: CHANGES, versions.PROJECT: PROJECT})
    git.git(repository.root, "init", "-q", "-b", "main")
    git.commit(repository.root)
    done = repository.run("release", "0.1.0", "--output", str(tmp_path))
    assert done.code == 0, done.err
    assert "CHANGELOG.md: version 0.1.0" in done.out
    assert "next: nox -s render, commit, and merge it" in done.out
    git.commit(repository.root)
    again = repository.run("release", "v0.1.0", "--output", str(tmp_path))
    assert "next: git tag --annotate v0.1.0" in again.out
    statement = json.loads((tmp_path / "linea-stack-0.1.0.intoto.json").read_text("utf-8"))
    sha256 = hashlib.sha256((tmp_path / "linea-stack-0.1.0.tgz").read_bytes()).hexdigest()
    assert f"sha256 {sha256}" in done.out
    assert statement["subject"][0]["digest"] == {"sha256": sha256}
    commit = git.git(repository.root, "rev-parse", "HEAD").strip()
    build = statement["predicate"]["buildDefinition"]
    assert build["resolvedDependencies"][0]["digest"] == {"gitCommit": commit}
    assert repository.run("release", "0.1.0", "--tagged", "--output", str(tmp_path)).code == 2
    git.git(repository.root, "tag", "v0.1.0")
    assert repository.run("release", "0.1.0", "--tagged", "--output", str(tmp_path)).code == 0
    repository.replace(versions.CHANGELOG, "## [0.1.0] - 2", "## [0.1.0] - Unreleased 2")
    repository.write(versions.CHANGELOG, CHANGES)
    wrong = repository.run("release", "0.1.0", "--output", str(tmp_path))
    assert wrong.code == 2
    assert "the tag v0.1.0 is there, but CHANGELOG.md would change" in wrong.err
