"""The overview command: its arguments, its formats, its exit codes."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest

from scripts.commands.overview import FORMATS
from scripts.core.repository import ROOT
from scripts.environments import layout
from tests.conftest import Repository

SCHEMA = ROOT / "scripts" / "overview" / "overview.schema.json"


def test_the_json_is_what_its_schema_says(repository: Repository) -> None:
    done = repository.run("overview", "--format", "json", "--live", "--context", "no-such-context")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    jsonschema_rs.validator_for(
        json.loads(SCHEMA.read_text("utf-8")), validate_formats=True
    ).validate(found)
    assert [one["name"] for one in found["environments"]] == layout.environments(repository.root)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_gets_what_would_be_printed(repository: Repository, format: str) -> None:
    file = repository / "overview"
    done = repository.run("overview", "dev", "--format", format, "--output", str(file))
    assert (done.code, done.out) == (0, "")
    printed = repository.run("overview", "dev", "--format", format)
    assert printed.out == file.read_text("utf-8")
    assert "linea-dev" in printed.out
    assert "linea-prod" not in printed.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pord"], "unknown environment pord: did you mean prod?"),
        (["--context", "a"], "--context is only for --live: add --live, or leave --context out"),
        (
            ["dev", "--live", "--context", "prod=a"],
            "--context prod=a: prod is not listed here; listed are dev",
        ),
    ],
)
def test_wrong_use_is_told(repository: Repository, arguments: list[str], said: str) -> None:
    done = repository.run("overview", *arguments)
    assert (done.code, done.out, done.err) == (2, "", f"overview: {said}\n")
