"""The pages that people look for say what is so."""

from __future__ import annotations

import ast
import re
import tomllib
from itertools import pairwise
from typing import Any

import yaml

from tests.conftest import EXAMPLE, ROOT

SCRIPTS = ROOT / "scripts"


def text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def pyproject() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))


def layers() -> list[list[str]]:
    """Return the packages of scripts/ by layer, from top to bottom, as lint-imports checks them."""
    (contract,) = (
        one
        for one in pyproject()["tool"]["importlinter"]["contracts"]
        if one["containers"] == ["scripts"]
    )
    return [re.findall(r"\w+", layer) for layer in contract["layers"]]


def cells(page: str, begin: str) -> list[list[str]]:
    """Return the rows of the table whose first line begins so, without its head."""
    lines = text(page).splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith(begin))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


# The architecture


def test_the_table_of_packages_has_those_that_there_are_in_the_order_of_their_layers() -> None:
    rows = cells("docs/architecture.md", "| Package |")
    named = [re.fullmatch(r"\[`(\w+)`\]\(\S+\)", row[0]) for row in rows]
    assert [found[1] for found in named if found] == [one for layer in layers() for one in layer]
    there = {path.parent.name for path in SCRIPTS.glob("*/__init__.py")} | {"__main__"}
    assert {found[1] for found in named if found} == there


def test_the_table_of_packages_says_what_each_may_import() -> None:
    expected = []
    for layer, below in pairwise([*layers(), []]):
        lowest = not below or below == layers()[-1]
        names = ", ".join(f"`{name}`" for name in below)
        may = (names or "nothing here") if lowest else f"{names} and all below"
        expected += [may] * len(layer)
    assert [row[2] for row in cells("docs/architecture.md", "| Package |")] == expected


# The version


def test_chart_pyproject_and_changelog_have_one_version() -> None:
    version = yaml.safe_load(text("chart/Chart.yaml"))["version"]
    headings = re.findall(r"^## (.*)$", text("CHANGELOG.md"), re.MULTILINE)
    parsed = [
        re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d|Unreleased)", heading)
        for heading in headings
    ]
    assert all(parsed), headings
    found = [(match[1], match[2]) for match in parsed if match]
    assert found[0][0] == version
    assert pyproject()["project"]["version"] == version
    numbers = [[int(part) for part in number.split(".")] for number, _ in found]
    assert numbers == sorted(numbers, reverse=True)
    assert all(date != "Unreleased" for _, date in found[1:])


# What the pages name


def test_owners_are_named_for_what_there_is() -> None:
    lines = [line.split() for line in (EXAMPLE / ".github/CODEOWNERS").read_text().splitlines()]
    owned = [line for line in lines if line and line[0] != "#"]
    for path, *owners in owned:
        place = EXAMPLE if path.startswith(("/base/", "/overlays/")) else ROOT
        assert (place / path.strip("/")).exists(), path
        assert owners, path


def test_findings_in_troubleshooting_are_those_that_can_be_found() -> None:
    firsts = re.findall(r"^\| (`.*?) \|", text("docs/troubleshooting.md"), re.MULTILINE)
    named = {one for cell in firsts for one in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", cell)}
    assert len(named) > 20
    code = "".join(path.read_text("utf-8") for path in sorted(SCRIPTS.rglob("*.py")))
    known = {
        name for name in named if f'"{name}"' in code or f"def {name.replace('-', '_')}(" in code
    }
    assert named - known == set()


def test_contributors_are_told_of_every_session() -> None:
    sessions = {
        node.name
        for node in ast.parse(text("noxfile.py")).body
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(one) == "nox.session" for one in node.decorator_list)
    }
    rows = cells("CONTRIBUTING.md", "| Session |")
    assert sessions - {name for row in rows for name in re.findall(r"`(\w+)`", row[0])} == set()
