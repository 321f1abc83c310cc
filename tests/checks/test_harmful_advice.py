"""Advice that once did harm or led in a circle: its finding is gone, and no other has come."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from scripts.checks import fixing, layers, run_rules
from scripts.core import yaml_edits
from scripts.core.edits import Action, Edit
from scripts.core.findings import Finding
from scripts.environments import environment
from tests.conftest import Repository

VALUES, SETTINGS = "overlays/prod/values.yaml", "overlays/prod/environment.yaml"
DEV = "overlays/dev/values.yaml"


def write(repository: Repository, file: str, key: str, value: Any) -> None:
    """Write a value into a file of inputs."""
    path = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
    text = (repository / file).read_text("utf-8")
    repository.write(file, yaml_edits.applied(text, [Edit(file, Action.WRITE, path, value)]))


def findings(repository: Repository, name: str = "prod") -> list[Finding]:
    """Return what is reported of the inputs and, if they are valid, by rules about the objects."""
    environment.forget()
    rendered = layers.rendered(repository.root, [name])
    found = layers.inputs(repository.root, rendered[0])
    found = found or run_rules.check(repository.root, rendered, with_edits=True)
    return fixing.offered(repository.root, found)


def fixed(repository: Repository, name: str = "prod", *, unsafe: bool = True) -> list[Finding]:
    """Apply all edits, and return what is left."""
    _, left = fixing.fix(repository.root, lambda: findings(repository, name), unsafe=unsafe)
    return left


def test_a_backup_beside_values_is_removed_not_renamed(repository: Repository) -> None:
    for name in ("values.yaml.orig", "values.yaml~", "values.yaml.bak"):
        repository.write(f"overlays/dev/{name}", "besu: {replicas: 2}\n")
        (found,) = findings(repository, "dev")
        assert found.fix.startswith(f"remove {name}: ")
        (repository / f"overlays/dev/{name}").unlink()
        assert findings(repository, "dev") == []


def test_soft_affinity_with_four_zones_becomes_hard_and_stays_so(repository: Repository) -> None:
    for component in ("sequencer", "maru"):
        write(repository, VALUES, f"{component}.antiAffinity", "soft")
    assert [found.rule for found in findings(repository)] == ["chain-stops-with-a-zone"]
    assert fixed(repository) == []
    values = yaml.safe_load((repository / VALUES).read_text("utf-8"))
    assert values["sequencer"]["antiAffinity"] == values["maru"]["antiAffinity"] == "hard"


def test_soft_affinity_of_sequencers_alone_becomes_that_of_maru(repository: Repository) -> None:
    write(repository, VALUES, "sequencer.antiAffinity", "soft")
    (found,) = findings(repository)
    assert "write for sequencer the antiAffinity and topologySpreadConstraints of maru" in found.fix
    write(repository, VALUES, "sequencer.antiAffinity", "hard")
    assert findings(repository) == []


@pytest.mark.parametrize("way", ["zones", "profile"])
def test_hard_affinity_with_three_zones_has_two_ways_that_both_end(
    repository: Repository, way: str
) -> None:
    zones = yaml.safe_load((repository / SETTINGS).read_text("utf-8"))["zones"]
    write(repository, SETTINGS, "zones", zones[:3])
    (found,) = findings(repository)
    assert "if the cluster has 4 zones, write all of them in zones" in found.fix
    assert "add to profiles" in found.fix
    assert "the profile three-zones" in found.fix
    assert found.edits == ()
    if way == "zones":
        write(repository, SETTINGS, "zones", zones)
        assert findings(repository) == []
        return
    profiles = yaml.safe_load((repository / SETTINGS).read_text("utf-8"))["profiles"]
    write(repository, SETTINGS, "profiles", [*profiles, "three-zones"])
    # Six validators need an identity each, which only nox -s network makes.
    left = findings(repository)
    assert all("zone" not in each.rule and "affinity" not in each.message for each in left)
    assert all("network" in each.message + each.fix for each in left)


def test_a_url_of_a_sequencer_is_no_reason_to_open_backups(repository: Repository) -> None:
    url = {"name": "REPORT_URL", "value": "https://52.95.110.5:8443/x"}
    write(repository, VALUES, "sequencer.extraEnv", [url])
    (found,) = findings(repository)
    assert found.rule == "network-policy-blocks-egress"
    assert "backupTo" not in found.fix
    assert "0.0.0.0/0" not in found.fix
    assert found.edits == ()
    rule = yaml.safe_load(found.fix.removeprefix("add to egress: "))
    patch = {"op": "add", "path": "/spec/egress/-", "value": rule}
    target = {"kind": "NetworkPolicy", "name": found.object.partition("/")[2]}
    text = yaml.safe_dump({"target": target, "patch": [patch]})
    repository.write("overlays/prod/patches/report.yaml", text)
    assert findings(repository) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("txSender.amount", 10**27),
        ("txSender.amount", 2**53 + 1),
        ("txSender.amount", -(10**27)),
    ],
)
def test_a_large_plain_number_is_put_in_quotes(
    repository: Repository, key: str, value: int
) -> None:
    write(repository, DEV, key, value)
    (found,) = findings(repository, "dev")
    assert found.rule == "inexact-number"
    assert found.fix == f"write '{value}'"
    left = fixed(repository, "dev", unsafe=False)
    assert f'amount: "{value}"' in (repository / DEV).read_text("utf-8")
    # That no account has so much is another mistake, and of the same value.
    assert not any("number" in each.rule or "scalar" in each.rule for each in left)


def test_a_number_among_arguments_is_one_mistake(repository: Repository) -> None:
    write(repository, DEV, "besu.extraArgs", ["--logging=INFO", 59144000])
    (found,) = findings(repository, "dev")
    assert found.rule == "wrong-type"
    assert "decimal" not in found.fix
    write(repository, DEV, "besu.extraArgs.1", "--p2p-enabled=true")
    assert findings(repository, "dev") == []


@pytest.mark.parametrize("value", [64, "64", 500])
def test_cores_without_a_unit_are_one_finding_with_both_meanings(
    repository: Repository, value: object
) -> None:
    write(repository, VALUES, "besu.resources.requests.cpu", value)
    (found,) = findings(repository)
    assert found.rule == "quantity-without-unit"
    assert not found.is_safe
    assert "if" in found.fix
    assert fixed(repository, unsafe=False) == [found]
    assert fixed(repository) == []


def test_cores_that_are_meant_are_not_called_millicores(repository: Repository) -> None:
    write(repository, VALUES, "besu.resources.requests.cpu", 64)
    write(repository, VALUES, "besu.resources.limits.cpu", 64)
    write(repository, SETTINGS, "node.cpu", "96")
    left = findings(repository)
    assert "quantity-without-unit" not in {each.rule for each in left}
    assert all("64m" not in each.fix for each in left)
