"""What comes of a change is told with how bad it is, and no shape of an object breaks that."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.impact import comparison, report
from scripts.impact.compare.revisions import Pair
from scripts.impact.formats import text
from scripts.impact.report import Environment
from scripts.kubernetes.manifest import Manifest
from scripts.rules.snapshot import Objects
from tests import examples
from tests.objects import Fields, walk
from tests.test_change import ODD

Edit = Callable[[Objects], Objects]


def objects(name: str) -> Objects:
    """Return an environment of this repository as a revision has it."""
    return replace(examples.objects(name), before=None, application_before=None)


def on(label: str, *path: str | int, to: Any, is_null: bool = False) -> Edit:
    """Return what writes a field of an object; None removes it, an object without a path, too.

    is_null: None is written, as null.
    """
    kind, name = label.split("/")

    def edit(manifest: Manifest) -> Manifest | None:
        if (manifest.kind, manifest.name) != (kind, name):
            return manifest
        if not path:
            return None
        data = copy.deepcopy(manifest.object)
        part: Any = data
        for key in path[:-1]:
            part = part.setdefault(key, {}) if isinstance(part, dict) else part[key]
        if to is None and not is_null:
            del part[path[-1]]
        else:
            part[path[-1]] = to
        return replace(manifest, object=data)

    def edited(side: Objects) -> Objects:
        made = tuple(one for one in map(edit, side.manifests) if one)
        application, project = edit(side.application), edit(side.project)
        assert application is not None and project is not None
        return replace(side, manifests=made, application=application, project=project)

    return edited


def changed(name: str, *edits: Edit, before: Edit = lambda side: side) -> Environment:
    """Return what is told of an environment that is edited."""
    old = before(objects(name))
    new = old
    for edit in edits:
        new = edit(new)
    return comparison.environment(Pair(name, old, new, ({}, {})))


SEQUENCER, MARU = "StatefulSet/linea-stack-sequencer", "StatefulSet/linea-stack-maru"
BESU, ETHSTATS = "StatefulSet/linea-stack-besu", "Deployment/linea-stack-ethstats"
TEMPLATE = ("spec", "template")
NOTE = (*TEMPLATE, "metadata", "annotations", "note")

CASES: dict[str, tuple[str, tuple[Edit, ...], list[str]]] = {
    "restart": (
        "prod",
        (on(BESU, *NOTE, to="x"),),
        [
            (
                "RESTARTS: StatefulSet/linea-stack-besu: pods 1, 0 restart in this order, one "
                "by one (wave 3); JSON-RPC goes on with 1 of 2 for 70 s at least"
            ),
        ],
    ),
    "restart-of-one": (
        "dev",
        (on(BESU, *NOTE, to="x"),),
        [
            (
                "STOPS: StatefulSet/linea-stack-besu: pod 0 restarts (wave 3); JSON-RPC stops "
                "for 5 s at least"
            ),
        ],
    ),
    "restart-of-validators": (
        "prod",
        (on(MARU, *NOTE, to="x"),),
        [
            (
                "RESTARTS: StatefulSet/linea-stack-maru: pods 3, 2, 1, 0 restart in this order,"
                " one by one (wave 2); blocks go on with 3 of 4 validators, 3 are needed for "
                "140 s at least"
            ),
        ],
    ),
    "restart-of-one-validator": (
        "dev",
        (on(SEQUENCER, *NOTE, to="x"),),
        [
            (
                "STOPS: StatefulSet/linea-stack-sequencer: pod 0 restarts (wave 1); no blocks "
                "for 35 s at least: 0 of 1 needed validators are left"
            ),
        ],
    ),
    "on-delete": (
        "prod",
        (on(BESU, *NOTE, to="x"), on(BESU, "spec", "updateStrategy", to={"type": "OnDelete"})),
        [
            (
                "CHANGES: pods of StatefulSet/linea-stack-besu keep running as they are: each "
                "pod is replaced when somebody deletes it (OnDelete)"
            ),
        ],
    ),
    "partition": (
        "prod",
        (
            on(MARU, *NOTE, to="x"),
            on(MARU, "spec", "updateStrategy", "rollingUpdate", "partition", to=3),
        ),
        [
            (
                "RESTARTS: StatefulSet/linea-stack-maru: pod 3 restarts (wave 2); blocks go on "
                "with 3 of 4 validators, 3 are needed for 35 s at least"
            ),
            (
                "CHANGES: pods of StatefulSet/linea-stack-maru keep running as they are: pods "
                "below 3 stay as they are (partition)"
            ),
        ],
    ),
    "deployment": (
        "prod",
        (on(ETHSTATS, *NOTE, to="x"),),
        [
            (
                "RESTARTS: Deployment/linea-stack-ethstats: the pod is replaced (wave 4); the "
                "dashboard goes on: a new pod is ready before an old one goes"
            ),
        ],
    ),
    "deployment-recreate": (
        "prod",
        (on(ETHSTATS, *NOTE, to="x"), on(ETHSTATS, "spec", "strategy", to={"type": "Recreate"})),
        [
            (
                "STOPS: Deployment/linea-stack-ethstats: the pod is replaced (wave 4); the "
                "dashboard stops until it is back"
            ),
            (
                "CHANGES: CPU 10.25 → 10.15 cores of 13 in the quota (−0.1), memory 39.81 → "
                "39.56 GiB of 48 in the quota (−0.25)"
            ),
        ],
    ),
    "paused": (
        "prod",
        (on(ETHSTATS, *NOTE, to="x"), on(ETHSTATS, "spec", "paused", to=True)),
        [
            (
                "WAITS: pods of Deployment/linea-stack-ethstats keep running as they are: the "
                "Deployment is paused, and later waves wait until it goes on"
            ),
        ],
    ),
    "refused": (
        "prod",
        (on(BESU, "spec", "serviceName", to="x"),),
        [
            (
                "BLOCKED: /spec/serviceName of StatefulSet/linea-stack-besu changes from "
                "linea-stack-besu-headless to x: Kubernetes refuses that, and no sync begins"
            ),
        ],
    ),
    "fewer-validators": (
        "prod",
        (on(MARU, "spec", "replicas", to=2), on(SEQUENCER, "spec", "replicas", to=2)),
        [
            (
                "DATA: StatefulSet/linea-stack-maru goes from 4 pods to 2, and each has the key"
                " of a validator that the chain goes on to wait for"
            ),
            (
                "DATA: StatefulSet/linea-stack-sequencer goes from 4 pods to 2, and each has "
                "the key of a validator that the chain goes on to wait for"
            ),
            (
                "STOPS: 2 of 4 validators run, and a block needs 3; before: 4 of 4 validators "
                "run, and a block needs 3"
            ),
            "CHANGES: StatefulSet/linea-stack-sequencer: 2 pods fewer, 4 → 2",
            "CHANGES: StatefulSet/linea-stack-maru: 2 pods fewer, 4 → 2",
            (
                "CHANGES: what it survives: blocks may never come: a block needs 3 of 4 "
                "validators, and no more than 2 may find a place; no longer: blocks go on "
                "without any 1 of 4 validators, any node, any zone (4 zones)"
            ),
            "CHANGES: StatefulSet/linea-stack-maru: 2 volumes of 100 GiB stay behind",
            "CHANGES: StatefulSet/linea-stack-sequencer: 2 volumes of 500 GiB stay behind",
            (
                "CHANGES: CPU 10.25 → 7.25 cores of 13 in the quota (−3), memory 39.81 → 27.81 "
                "GiB of 48 in the quota (−12), volumes 5400 → 4200 GiB of 6144 in the quota "
                "(−1200)"
            ),
        ],
    ),
    "data-goes": (
        "prod",
        (on(BESU, to=None),),
        [
            (
                "DATA: StatefulSet/linea-stack-besu is gone, which holds data: the sync, and "
                "all later ones, wait for a person to confirm; then it is deleted, and nobody "
                "uses its volumes"
            ),
            (
                "STOPS: StatefulSet/linea-stack-besu: its 2 pods go once a person has confirmed"
                " it; JSON-RPC ends"
            ),
            (
                "WAITS: StatefulSet/linea-stack-besu leaves git and stays until a person "
                "confirms; the sync and all later ones wait so long"
            ),
            "CHANGES: no longer: JSON-RPC answers without any node or any zone",
            "CHANGES: StatefulSet/linea-stack-besu: 3 volumes of 500 GiB stay behind",
            (
                "CHANGES: CPU 10.25 → 6.5 cores of 13 in the quota (−3.75), memory 39.81 → "
                "24.81 GiB of 48 in the quota (−15), volumes 5400 → 3900 GiB of 6144 in the "
                "quota (−1500)"
            ),
        ],
    ),
    "unread": (
        "dev",
        (on("ConfigMap/linea-stack-besu-config", "data", "x", to="y"),),
        [
            (
                "CHANGES: ConfigMap/linea-stack-besu-config changes and "
                "StatefulSet/linea-stack-besu does not restart: mounted files change within "
                "some minutes, what was read stays"
            ),
        ],
    ),
    "policy-gone": (
        "prod",
        (on("NetworkPolicy/linea-stack-besu", to=None),),
        [
            ("STOPS: linea-stack-besu may no longer connect to linea-stack-ethstats on 3000/TCP"),
            "STOPS: linea-stack-besu may no longer connect to linea-stack-maru on 9000/TCP",
            ("STOPS: linea-stack-besu may no longer connect to linea-stack-sequencer on 30303/TCP"),
            ("STOPS: linea-stack-tx-sender may no longer connect to linea-stack-besu on 8545/TCP"),
            "CHANGES: NetworkPolicy/linea-stack-besu is gone: it isolates no pod any more",
            "CHANGES: NetworkPolicy/linea-stack-besu is deleted at the end of the sync",
            (
                "CHANGES: 10.30.0.0/22 may no longer connect to linea-stack-besu on 8545/TCP, "
                "8546/TCP"
            ),
            (
                "CHANGES: linea-stack-besu and linea-stack-sequencer may no longer connect to "
                "linea-stack-besu on 30303/TCP, 30303/UDP"
            ),
            (
                "CHANGES: linea-stack-besu may no longer connect to linea-stack-sequencer on "
                "30303/UDP"
            ),
            (
                "CHANGES: namespace monitoring may no longer connect to linea-stack-besu on "
                "9545/TCP, 9546/TCP"
            ),
        ],
    ),
    "public": (
        "prod",
        (on("Service/linea-stack-besu", "spec", "type", to="LoadBalancer"),),
        [
            (
                "STOPS: load balancers of Services 0 → 1 of 0 in the quota (+1); what goes "
                "beyond the quota is not made"
            ),
            (
                "OPENS: linea-stack-besu rpc 8545/TCP and linea-stack-besu ws 8546/TCP are "
                "served to the internet"
            ),
        ],
    ),
    "internal": (
        "dev",
        (
            on(
                "Service/linea-stack-besu",
                *("metadata", "annotations"),
                to={"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"},
            ),
        ),
        [
            (
                "CHANGES: linea-stack-besu rpc 8545/TCP and linea-stack-besu ws 8546/TCP are "
                "served inside the network, from 192.0.2.0/24; before: to the internet, from "
                "192.0.2.0/24"
            ),
        ],
    ),
    "account": (
        "prod",
        (
            on(
                "ServiceAccount/linea-stack-backup",
                *("metadata", "annotations", "eks.amazonaws.com/role-arn"),
                to="arn:aws:iam::111122223333:role/other",
            ),
        ),
        [
            (
                "OPENS: ServiceAccount/linea-stack-backup: "
                "metadata.annotations[eks.amazonaws.com/role-arn] "
                "arn:aws:iam::111122223333:role/linea-prod-backup → "
                "arn:aws:iam::111122223333:role/other"
            ),
        ],
    ),
    "root": (
        "prod",
        (on(BESU, *TEMPLATE, "spec", "securityContext", "runAsNonRoot", to=False),),
        [
            (
                "OPENS: StatefulSet/linea-stack-besu: "
                "spec.template.spec.securityContext.runAsNonRoot true → false"
            ),
            (
                "RESTARTS: StatefulSet/linea-stack-besu: pods 1, 0 restart in this order, one "
                "by one (wave 3); JSON-RPC goes on with 1 of 2 for 70 s at least"
            ),
        ],
    ),
    "alert-gone": (
        "prod",
        (on("PrometheusRule/linea-stack-tx-sender", to=None),),
        [
            "CHANGES: LineaTxSenderStuck is gone: nobody is told of that any more",
            ("CHANGES: PrometheusRule/linea-stack-tx-sender is deleted at the end of the sync"),
        ],
    ),
    "destination": (
        "prod",
        (on("Application/linea-prod", "spec", "destination", "name", to="other"),),
        [
            "DATA: Application/linea-prod: spec.destination.name: other is new",
        ],
    ),
    "quota-is-full": (
        "prod",
        (
            on("ResourceQuota/linea-stack", "spec", "hard", "pods", to="13"),
            on(ETHSTATS, "spec", "replicas", to=3),
        ),
        [
            (
                "STOPS: Deployment/linea-stack-ethstats: the quota has no room for 1 of 2 new "
                "pods; the sync waits there"
            ),
            (
                "COSTS: CPU 10.25 → 10.45 cores of 13 in the quota (+0.2), memory 39.81 → 40.31"
                " GiB of 48 in the quota (+0.5)"
            ),
            "CHANGES: Deployment/linea-stack-ethstats: 2 pods more, 1 → 3",
            (
                "CHANGES: what it survives: TX Sender has one pod: no transfers until another "
                "has started; no longer: EthStats and TX Sender have one pod each: no "
                "dashboard, no transfers until another has started"
            ),
        ],
    ),
    "no-prune": (
        "prod",
        (
            on("Application/linea-prod", "spec", "syncPolicy", "automated", "prune", to=False),
            on("ServiceMonitor/linea-stack-besu", to=None),
        ),
        [
            "CHANGES: ServiceMonitor/linea-stack-besu stays in the cluster",
            "CHANGES: Application/linea-prod: spec.syncPolicy.automated.prune: true → false",
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_comes_of_a_change_is_told(name: str) -> None:
    environment, edits, expected = CASES[name]
    found = changed(environment, *edits)
    assert told(found) == expected


def told(found: Environment) -> list[str]:
    """Return each consequence with its risk, the worst first."""
    return [f"{one.risk.name}: {one.message}" for one in found.consequences]


def test_a_change_that_does_nothing_is_told_in_one_line() -> None:
    assert text.heading(report.Report("main", "", 3, ())) == (
        "no environment changes from main to the working tree"
    )


def test_a_quota_of_some_pods_is_no_bound_of_all() -> None:
    quota = "ResourceQuota/linea-stack"
    edits = on(quota, "spec", "hard", "pods", to="13"), on(ETHSTATS, "spec", "replicas", to=3)
    scoped = on(quota, "spec", "scopes", to=["BestEffort"])
    assert any("no room" in line for line in told(changed("prod", *edits)))
    assert not any("quota" in line for line in told(changed("prod", *edits, before=scoped)))


def test_the_worst_comes_first() -> None:
    for name, (environment, edits, _) in CASES.items():
        risks = [one.risk for one in changed(environment, *edits).consequences]
        assert risks == sorted(risks), name


PROD = objects("prod")


PLACES = [
    (manifest.label, path)
    for manifest in (*PROD.manifests, PROD.application, PROD.project)
    for path, _ in walk(manifest.object)
    if path and path != ("kind",)
]
"""Every part of every object of prod."""


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(PLACES), st.sampled_from(ODD), st.booleans())
def test_no_shape_of_an_object_breaks_the_report(
    place: tuple[str, Fields], value: Any, was_so: bool
) -> None:
    label, path = place
    odd = on(label, *path, to=value, is_null=True)(PROD)
    old, new = (odd, PROD) if was_so else (PROD, odd)
    found = report.report("main", "", 1, [comparison.environment(Pair("prod", old, new, ({}, {})))])
    assert text.text(found)
    assert text.markdown(found)
