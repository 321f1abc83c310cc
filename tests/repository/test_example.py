"""Tests stand on tests/example/, so that whoever adopts the repository may change overlays/."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import example_repository
from tests.conftest import EXAMPLE, ROOT
from tests.git import git

ALLOWED = (
    "overlays/",
    "example_repository.py",
    "repository/test_example.py",
    "documentation/test_site.py",  # the site links to the address in base/, whichever that is
)
"""Modules below tests/ that may read overlays/ and base/."""

YOURS = re.compile(
    r"""\bROOT\s*(/|\.r?glob\()\s*f?["'](overlays|base|argocd/(applications|projects|root))\b"""
    r"""|\bROOT\s*/\s*["']argocd["']\s*/\s*["'](applications|projects|root)"""
    r"""|\b(Cluster|Repository|environment\.load|layout\.environments|pipeline\.\w+)\(\s*ROOT\b"""
)
"""How a test would read what people change when they adopt the repository."""


def test_no_other_test_reads_the_environments_of_this_repository() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if not path.relative_to(ROOT / "tests").as_posix().startswith(ALLOWED)
        for match in YOURS.finditer(path.read_text("utf-8"))
    ]
    assert found == [], "write EXAMPLE instead of ROOT, or use the fixture repository"


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ('ROOT / "overlays" / name', True),
        ('(ROOT / f"overlays/{name}/values.yaml")', True),
        ('ROOT.glob("overlays/*/values.yaml")', True),
        ('ROOT / "base/environment.yaml"', True),
        ('ROOT / "argocd" / "applications"', True),
        ("environment.load(ROOT, name)", True),
        ("pipeline.render(\n    ROOT, name)", True),
        ("layout.environments(ROOT)", True),
        ("Cluster(ROOT)", True),
        ("environment.load(EXAMPLE, name)", False),
        ('ROOT / "chart" / "values.yaml"', False),
        ('ROOT / "argocd" / "README.md"', False),
        ('ROOT / "baseline.txt"', False),
    ],
)
def test_how_a_test_would_read_them(text: str, is_found: bool) -> None:
    assert bool(YOURS.search(text)) is is_found


def test_the_example_is_made_from_nothing_in_overlays_and_base() -> None:
    names = {path.relative_to(ROOT).parts[0] for path in example_repository.sources(ROOT)}
    assert not names & {"base", "overlays"}
    assert "chart" in names


def test_no_test_has_written_to_the_example() -> None:
    assert git(EXAMPLE, "status", "--porcelain", "--ignored") == ""


def test_the_example_has_no_rendered_file_in_git() -> None:
    folder = ROOT / example_repository.FROZEN
    assert not [path for path in folder.rglob("*") if example_repository.is_written(path)]


@pytest.fixture
def without_environments(tmp_path: Path) -> Path:
    """Return a copy of this repository whose environments are gone, and whose base/ is another."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        file = ROOT / name
        if name.startswith(("overlays/", "docs/", "tools/kube")) or not file.is_file():
            continue
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, tmp_path / name, follow_symlinks=False)
    (tmp_path / "overlays").mkdir()
    for file in (tmp_path / "base").rglob("*.yaml"):
        file.write_text("nobody: knows this\n", "utf-8")
    for folder in ("applications", "projects"):
        shutil.rmtree(tmp_path / "argocd" / folder, ignore_errors=True)
    return tmp_path


def test_tests_pass_where_no_environment_is_left(without_environments: Path) -> None:
    chosen = ["tests/overlays", "tests/chart/test_environments.py", "tests/rules/test_rule.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", *chosen],
        cwd=without_environments,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 skipped" in done.stdout
