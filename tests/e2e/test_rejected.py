"""Every pinned API server rejects the objects that the rules say it rejects.

Examples of those rules are applied as a dry run, in a namespace without objects of their names. For
rules about changes, the old objects are applied there first.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping

import pytest

from scripts.cluster.api_client import ApiError, Object
from scripts.cluster.cluster import Cluster
from scripts.kubernetes.manifest import Manifest
from scripts.rules.rule import Rule
from tests.rules.rejected import ALWAYS, CHANGES, brought, of, wrong

SPACE = "rejected"
WORDS = ("is invalid", "failed to create typed patch object")
"""What the API server says if validation, or the merge of lists by their keys, rejects an object.
It says something else if it has no such kind or namespace."""

NOT_HERE: Mapping[str, str] = {
    "immutable-service-field-changed/wrong/another-address": (
        "the cluster's Services are in 10.96.0.0/16"
    ),
    "immutable-service-field-changed/wrong/another-family": "the cluster has one IP family",
    "immutable-service-field-changed/wrong/second-family-removed": "the cluster has one IP family",
}
"""Example → why this cluster cannot have its old objects."""

_numbers = itertools.count()


def make(bare: Cluster, space: str) -> None:
    """Make a namespace."""
    bare.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})


@pytest.fixture
def space(bare: Cluster) -> str:
    """Return a namespace that stays empty."""
    make(bare, SPACE)
    return SPACE


@contextlib.contextmanager
def own_space(bare: Cluster) -> Iterator[str]:
    """Yield an empty namespace, and delete it afterwards."""
    space = f"{SPACE}-{next(_numbers)}"
    make(bare, space)
    try:
        yield space
    finally:
        bare.api.delete("Namespace", space)


def moved(manifest: Manifest, space: str) -> Object:
    """Return an object in another namespace."""
    copy: Object = json.loads(json.dumps(manifest.object))
    copy["metadata"]["namespace"] = space
    return copy


def answer(bare: Cluster, manifest: Manifest, space: str) -> str:
    """Return why the API server rejects an object; empty if it accepts it."""
    try:
        bare.api.apply(moved(manifest, space), dry_run=True)
    except ApiError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("rule", ALWAYS, ids=lambda rule: rule.id)
def test_wrong_objects_are_rejected(bare: Cluster, space: str, rule: Rule) -> None:
    for example in of(rule.id, "wrong"):
        _, rejected = wrong(rule, example, bare.plane.version)
        assert rejected, example.id
        for manifest in rejected:
            message = answer(bare, manifest, space)
            assert any(word in message for word in WORDS), (
                f"{example.id}: {manifest.label}: {message}"
            )


@pytest.mark.parametrize("rule", ALWAYS, ids=lambda rule: rule.id)
def test_right_objects_are_accepted(bare: Cluster, space: str, rule: Rule) -> None:
    """Otherwise a wrong example may be rejected for another reason than the rule's."""
    for example in of(rule.id, "right"):
        for manifest in brought(example):
            assert answer(bare, manifest, space) == "", f"{example.id}: {manifest.label}"


@pytest.mark.parametrize("rule", CHANGES, ids=lambda rule: rule.id)
def test_changes_that_must_not_be_are_rejected(bare: Cluster, rule: Rule) -> None:
    for example in of(rule.id, "wrong"):
        if example.id in NOT_HERE:
            continue
        laid, rejected = wrong(rule, example, bare.plane.version)
        assert rejected, example.id
        old = {manifest.label: manifest for manifest in laid.objects.before or ()}
        with own_space(bare) as space:
            for manifest in rejected:
                bare.api.apply(moved(old[manifest.label], space))
                message = answer(bare, manifest, space)
                assert any(word in message for word in WORDS), (
                    f"{example.id}: {manifest.label}: {message}"
                )


def test_all_examples_that_are_left_out_exist() -> None:
    existing = {example.id for rule in CHANGES for example in of(rule.id, "wrong")}
    assert existing >= NOT_HERE.keys()
