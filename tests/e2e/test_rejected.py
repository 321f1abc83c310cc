"""What a rule says the API server rejects, every API server that is pinned rejects.

Each example of such a rule is applied, without being kept, to a namespace in which nothing of its
names is there; the rules about changes need what was there before.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from scripts.cluster import cluster as clusters
from scripts.cluster.api_client import ApiError, Object
from scripts.cluster.cluster import Cluster
from scripts.kubernetes.manifest import Manifest
from scripts.rules import catalogue
from scripts.rules.rule import Outcome, Rule, is_rejected
from tests import examples
from tests.conftest import ROOT

SPACE = "rejected"
REJECTED = [rule for rule in catalogue.RULES.values() if rule.outcome is Outcome.REJECTED]
ALWAYS = [rule for rule in REJECTED if not rule.is_about_changes]
CHANGES = [rule for rule in REJECTED if rule.is_about_changes]

WORDS = ("is invalid", "failed to create typed patch object")
"""What kubectl says where validation, or the merge of lists by their keys, rejects an object, and
neither where the API server is away, nor where it knows no such kind or namespace."""

NOT_HERE: Mapping[str, str] = {
    "service-address-changed/wrong-address": "this cluster gives out addresses of 10.96.0.0/16",
    "service-address-changed/wrong-family": "this cluster has one family of addresses",
    "service-address-changed/wrong-second-family": "this cluster has one family of addresses",
}
"""Examples whose objects, as they were before, this cluster can't hold."""

_numbers = itertools.count()


@pytest.fixture(scope="module", params=clusters.versions())
def bare(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Return a cluster of each pinned version, without Argo CD and without an environment."""
    with Cluster(ROOT, request.param, with_argo_cd=False) as made:
        make(made, SPACE)
        yield made


def make(bare: Cluster, space: str) -> None:
    """Make a namespace; pods in it need the account that a controller gives to each."""
    bare.plane.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}])


@contextlib.contextmanager
def own_space(bare: Cluster) -> Iterator[str]:
    """Yield a namespace that is empty, and is left to be deleted."""
    space = f"{SPACE}-{next(_numbers)}"
    make(bare, space)
    try:
        yield space
    finally:
        bare.plane.kubectl("delete", "namespace", space, "--wait=false")


def files(rule: Rule, part: str) -> list[Path]:
    """Return the examples of a rule that are wrong, or right."""
    found = sorted((ROOT / "tests" / "rules" / rule.id).glob(f"{part}*.yaml"))
    assert found
    return found


def wrong(rule: Rule, file: Path, version: str) -> tuple[examples.Example, list[Manifest]]:
    """Return an example, and what in it a version of the API server has to reject."""
    found = examples.laid(file)
    problems = (problem for _, problem in rule.check([found.objects]))
    rejected = [one.manifest for one in problems if is_rejected(rule, one, version)]
    return found, [one for one in found.objects.manifests if one in rejected]


def brought(file: Path) -> list[Manifest]:
    """Return what an example brings, or has otherwise than the repository."""
    found = examples.laid(file)
    there = [one.object for one in examples.objects(found.environment.name).manifests]
    return [one for one in found.objects.manifests if one.object not in there]


def moved(manifest: Manifest, space: str) -> Object:
    """Return an object in another namespace."""
    found: Object = json.loads(json.dumps(manifest.object))
    found["metadata"]["namespace"] = space
    return found


def answer(bare: Cluster, manifest: Manifest, space: str) -> str:
    """Return why the API server would reject an object; empty where it would take it."""
    try:
        bare.plane.apply([moved(manifest, space)], dry_run=True)
    except ApiError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("rule", ALWAYS, ids=lambda rule: rule.id)
def test_what_is_wrong_is_rejected(bare: Cluster, rule: Rule) -> None:
    for file in files(rule, "wrong"):
        _, rejected = wrong(rule, file, bare.plane.version)
        assert rejected, file.stem
        for manifest in rejected:
            told = answer(bare, manifest, SPACE)
            assert any(word in told for word in WORDS), f"{file.stem}: {manifest.label}: {told}"


@pytest.mark.parametrize("rule", ALWAYS, ids=lambda rule: rule.id)
def test_what_is_right_is_taken(bare: Cluster, rule: Rule) -> None:
    """Else a wrong example may be rejected for another reason than the rule's."""
    for file in files(rule, "right"):
        for manifest in brought(file):
            assert answer(bare, manifest, SPACE) == "", f"{file.stem}: {manifest.label}"


@pytest.mark.parametrize("rule", CHANGES, ids=lambda rule: rule.id)
def test_what_must_not_change_is_rejected(bare: Cluster, rule: Rule) -> None:
    for file in files(rule, "wrong"):
        if f"{rule.id}/{file.stem}" in NOT_HERE:
            continue
        found, rejected = wrong(rule, file, bare.plane.version)
        assert rejected, file.stem
        before = {one.label: one for one in found.objects.before or ()}
        with own_space(bare) as space:
            for manifest in rejected:
                bare.plane.apply([moved(before[manifest.label], space)])
                told = answer(bare, manifest, space)
                assert any(word in told for word in WORDS), f"{file.stem}: {manifest.label}: {told}"


def test_only_examples_that_there_are_are_left_out() -> None:
    there = {f"{rule.id}/{file.stem}" for rule in CHANGES for file in files(rule, "wrong")}
    assert there >= NOT_HERE.keys()
