"""Placeholders are found at their lines: one warning for examples, an error anywhere else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from scripts.environments import placeholders
from tests.conftest import ROOT, Repository
from tests.git import commit, git

DEV = "overlays/dev/environment.yaml"


@pytest.fixture
def defined(repository: Repository) -> Repository:
    """Return a copy of the example in which its names are placeholders."""
    shutil.copy(ROOT / placeholders.FILE, repository / placeholders.FILE)
    return repository


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://git.example.com/linea.git", "git.example.com"),
        ("git@git.example.org:linea.git", "git.example.org"),
        ("rpc.LINEA.example.com", "rpc.LINEA.example.com"),
        ("owners.invalid", "owners.invalid"),
        ("https://example.com/linea", "example.com"),
        ("chain.example", "chain.example"),
        ("https://example.com.acme.io", None),
        ("rpc.myexample.com", None),
        ("an example, not a name", None),
        ("arn:aws:iam::111122223333:role/linea", "111122223333"),
        ("1111222233334", None),
        ("amzn-s3-demo-linea-logs", "amzn-s3-demo-linea-logs"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("203.0.113.7", "203.0.113.7"),
        ("192.0.2.0/23", None),
        ("2001:db8:1::/48", "2001:db8:1::/48"),
        ("10.30.0.0/22", None),
    ],
)
def test_what_is_a_placeholder(text: str, name: str | None) -> None:
    known = placeholders.definition(ROOT)
    assert known
    found = known.found(text)
    assert (found and found.name) == name


def test_without_a_definition_nothing_is_a_placeholder(repository: Repository) -> None:
    assert placeholders.definition(repository.root) is None


def test_examples_get_one_warning_with_the_command(defined: Repository) -> None:
    for name in ("dev", "prod", "staging"):
        defined.replace(f"overlays/{name}/environment.yaml", "name:", "example: true\nname:")
    assert defined.run("render").code == 0
    done = defined.run("validate")
    assert done.code == 0
    assert done.out.count("placeholder\n") == 1
    assert "dev, prod and staging are examples" in done.out
    assert "→ run nox -s adopt" in done.out


def test_an_environment_beside_examples_has_its_own_errors(defined: Repository) -> None:
    defined.replace("overlays/prod/environment.yaml", "name:", "example: true\nname:")
    done = defined.run("validate", "dev", "prod")
    assert done.code == 1
    assert "overlays/dev/values.yaml:5:32  error  placeholder  dev" in done.out
    assert "base/environment.yaml:12:3  error  placeholder" in done.out
    assert "overlays/dev/network.yaml:99:5  error  placeholder  dev" in done.out
    assert "overlays/prod/values.yaml" not in done.out
    assert "prod is an example" in done.out


def test_an_example_without_placeholders_is_none(defined: Repository) -> None:
    defined.write(placeholders.FILE, "hosts: [nothing.here]\n")
    defined.replace(DEV, "name:", "example: true\nname:")
    done = defined.run("validate", "dev")
    assert "dev has no placeholder, but is an example" in done.out
    assert "→ remove example" in done.out


def examples_in_git(repository: Repository) -> Path:
    """Commit dev as an example, then make another chain of it; return the repository."""
    repository.replace(DEV, "name:", "example: true\nname:")
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    network = repository / "overlays/dev/network.yaml"
    text = yaml.safe_load(network.read_text("utf-8"))
    old = str(yaml.safe_load(text["genesis"]["besu"])["config"]["chainId"])
    network.write_text(network.read_text("utf-8").replace(old, "1234567890"), "utf-8")
    repository.replace(DEV, "example: true\n", "")
    assert repository.run("render", "dev").code == 0
    return repository.root


def test_no_change_of_an_example_is_judged(repository: Repository) -> None:
    examples_in_git(repository)
    done = repository.run("validate", "dev", "--against", "HEAD")
    assert (done.code, "genesis-changed" in done.out) == (0, False)
    assert "not compared with HEAD, where it is an example: dev" in done.err
    repository.replace(DEV, "name:", "#\nname:")  # no example any more in git
    commit(repository.root)
    repository.replace("overlays/dev/network.yaml", "1234567890", "1234567891")
    assert repository.run("render", "dev").code == 0
    done = repository.run("validate", "dev", "--against", "HEAD")
    assert "genesis-changed" in done.out
    assert "not compared" not in done.err


def test_impact_calls_an_example_new(repository: Repository) -> None:
    examples_in_git(repository)
    done = repository.run("impact", "--against", "HEAD")
    assert "dev: new" in done.out
    assert "it is an example in HEAD, which never ran, so it counts as new" in done.out
    shutil.rmtree(repository / "overlays/dev")
    assert repository.run("render").code == 0
    assert repository.run("impact", "--against", "HEAD").out.startswith("no environment changes")
