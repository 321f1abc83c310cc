"""The rules about connections: what is missing in a policy is told, and what is there is right."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from scripts.rules import catalogue
from scripts.rules.snapshot import Objects
from tests.objects import SETS, Fields, of_values, walk
from tests.rules import examples

FAMILIES = tuple(
    f"networking/{name}"
    for name in ("blocked_calls", "blocked_entries", "excess_traffic", "isolation")
)
RULES = [rule for rule in catalogue.RULES.values() if rule.family in FAMILIES]

SURVIVORS = {
    # Kubernetes fills in the same; for EthStats, the default deny is what denies egress.
    **dict.fromkeys(
        [
            ("linea-stack-backup", "spec/policyTypes"),
            ("linea-stack-restore-drill", "spec/policyTypes"),
            ("linea-stack-besu", "spec/policyTypes"),
            ("linea-stack-ethstats", "spec/policyTypes"),
            ("linea-stack-maru", "spec/policyTypes"),
            ("linea-stack-sequencer", "spec/policyTypes"),
            ("linea-stack-tx-sender", "spec/policyTypes"),
            ("linea-stack-dns", "spec/policyTypes"),
        ],
        "what is filled in is the same",
    ),
    **dict.fromkeys(
        [
            ("linea-stack-backup", "spec/policyTypes/0"),
            ("linea-stack-restore-drill", "spec/policyTypes/0"),
            ("linea-stack-tx-sender", "spec/policyTypes/0"),
            ("linea-stack-ethstats", "spec/policyTypes/1"),
        ],
        "the default deny denies the same",
    ),
    ("linea-stack-dns", "spec/egress/0/to"): "names are asked of all: usual, and it works",
    ("linea-stack-dns", "spec/egress/0/to/0"): "the same",
    ("linea-stack-dns", "spec/egress/0/to/0/podSelector"): "of all of kube-system: it works",
}
"""Policy, and what is removed from it without a finding → why that is right."""


def told(objects: Objects) -> list[str]:
    return [f"{r.id}: {p.message}" for r in RULES for _, p in r.check([objects])]


def without(policy: dict[str, Any]) -> Iterator[tuple[Fields, dict[str, Any]]]:
    """Yield a policy without each of its rules, peers and ports, and the parts of these."""
    for path, _ in walk(policy["spec"]):
        if "matchLabels" in path or "matchExpressions" in path or path in ((), ("podSelector",)):
            continue
        if path[-1:] in (("cidr",), ("port",), ("protocol",), ("ipBlock",)):
            continue  # which schemas ask for, or are filled in
        left = copy.deepcopy(policy)
        above: Any = left["spec"]
        for part in path[:-1]:
            above = above[part]
        del above[path[-1]]
        yield ("spec", *path), left


def test_nothing_can_be_taken_out_of_a_policy_unseen() -> None:
    objects = examples.objects("prod")
    unseen, tried = set(), 0
    for manifest in objects.of_kind("NetworkPolicy"):
        others = tuple(one for one in objects.manifests if one is not manifest)
        assert told(replace(objects, manifests=others)), manifest.name
        for path, left in without(manifest.object):
            changed = replace(objects, manifests=(*others, replace(manifest, object=left)))
            tried += 1
            if not told(changed):
                unseen.add((manifest.name, "/".join(map(str, path))))
    assert tried > 100
    assert unseen == SURVIVORS.keys()


@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem if path else "defaults")
def test_nothing_is_found_in_the_chart_s_examples(values: Any) -> None:
    made = tuple(of_values(values))
    assert told(replace(examples.objects("dev"), manifests=made)) == []


ODD: list[Any] = [None, [], {}, "x", 7, [None], ["x"], [{}], {"x": 1}]


@pytest.mark.parametrize("kind", ["NetworkPolicy", "Service", "Ingress", "ServiceMonitor"])
def test_objects_of_any_shape_do_no_harm(kind: str) -> None:
    objects = examples.objects("prod")
    manifest = objects.of_kind(kind)[0]
    others = tuple(one for one in objects.manifests if one is not manifest)
    for path, _ in walk(manifest.object["spec"]):
        for odd in ODD:
            left = copy.deepcopy(manifest.object)
            above: Any = left
            for part in ("spec", *path)[:-1]:
                above = above[part]
            above[("spec", *path)[-1]] = copy.deepcopy(odd)
            told(replace(objects, manifests=(*others, replace(manifest, object=left))))
