"""Environments that people have, from new files alone: tests/valid/<environment>.yaml.

Each file has `files` (path → text, none of which is there), `commands` (of the program, in their
order), and `valid`: what the last of them prints from "valid:" on. `WRITE_VALID=1` writes it anew.
"""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, Repository

HERE = re.compile(r"^\$ nox -s (new) -- (.*)$", re.MULTILINE)

VALID = Path(__file__).parent
WRITE = "WRITE_VALID"


@pytest.mark.parametrize("name", sorted(path.stem for path in VALID.glob("*.yaml")))
def test_an_environment_from_new_files_alone_is_valid(name: str, repository: Repository) -> None:
    file = VALID / f"{name}.yaml"
    example = yaml.safe_load(file.read_text("utf-8"))
    for path, text in example["files"].items():
        assert not (repository / path).exists()
        repository.write(path, text)
    out = ""
    for command in example["commands"]:
        done = repository.run(*command.split())
        assert done.code == 0, done.out + done.err
        out = done.out
    found, errors, valid = out.rpartition("valid: ")
    if os.environ.get(WRITE):
        head, key, _ = file.read_text("utf-8").rpartition("valid: |\n")
        file.write_text(head + key + textwrap.indent(errors + valid, "  "), "utf-8")
        pytest.skip(f"tests/valid/{name}.yaml is written anew")
    assert errors + valid == example["valid"], f"if this is right, {WRITE}=1 writes it anew"
    assert_nothing_but_digests(found)


def assert_nothing_but_digests(found: str) -> None:
    """Check that findings are about nothing but what only a registry knows."""
    rules = re.findall(r"^\S+  (?:error|warning)  (\S+)", found, re.MULTILINE)
    assert set(rules) <= {"image-without-digest"}, found


def test_the_environment_of_the_documentation_is_valid(repository: Repository) -> None:
    text = (ROOT / "docs" / "environments.md").read_text("utf-8")
    ((session, words),) = HERE.findall(text.partition("## Add an environment")[2])
    for each in (f"{session} {words}", "validate qa"):
        done = repository.run(*each.split())
        assert done.code == 0, done.out + done.err
    assert_nothing_but_digests(done.out)
