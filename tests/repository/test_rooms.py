"""A test is where one looks for it: tests/ has the folders of scripts/, helpers their users'."""

from __future__ import annotations

import re

from tests.conftest import ROOT

TESTS, SCRIPTS = ROOT / "tests", ROOT / "scripts"

OTHERS = {
    "bench": "the program that measures, which is only a session",
    "chart": "the chart, its scripts, alerts and dashboards",
    "e2e": "all of it on a real control plane; a session of its own",
    "invalid": "mistakes that people make, through the whole program",
    "overlays": "what every environment keeps, whoever wrote it",
    "repository": "workflows, imports, and these tests",
    "valid": "environments that people have, from new files alone",
}
"""Folders of tests that are of no package of scripts/ → what they test."""

MODULES = sorted(TESTS.rglob("*.py"))


def test_each_folder_of_tests_is_that_of_a_package() -> None:
    packages = {path.parent.relative_to(SCRIPTS) for path in SCRIPTS.rglob("__init__.py")}
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    strays = {folder.as_posix() for folder in folders - packages if folder.parts[:1]}
    assert strays == OTHERS.keys()
    assert not list(TESTS.glob("test_*.py")), "move them to the folder of what they test"


def test_a_folder_with_modules_is_a_package() -> None:
    without = {path.parent for path in MODULES if not path.with_name("__init__.py").exists()}
    assert without == set(), "add __init__.py, so that two modules may have one name"


def test_one_module_runs_git() -> None:
    runs = [
        path.relative_to(TESTS).as_posix()
        for path in MODULES
        if re.search(r"\[\s*[\"']git[\"']\s*,", path.read_text("utf-8"))
    ]
    assert runs == ["git.py"]
