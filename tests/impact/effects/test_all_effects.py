"""The effects of a change have the right risk and message, whatever form the objects have."""

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
from scripts.impact.report import EnvironmentImpact
from scripts.kubernetes.manifest import Manifest
from scripts.rules.snapshot import Objects
from tests.objects import Fields, walk
from tests.rules import examples
from tests.rules.test_changes import ODD

Edit = Callable[[Objects], Objects]


def objects(name: str) -> Objects:
    """Return an environment of this repository, as in one revision."""
    return replace(examples.objects(name), before=None, application_before=None)


def on(label: str, *path: str | int, to: Any, is_null: bool = False) -> Edit:
    """Return an edit that sets a field of an object; None removes the field, or the whole object.

    is_null: None sets null.
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

    def edited(environment: Objects) -> Objects:
        manifests = tuple(filter(None, map(edit, environment.manifests)))
        application, project = edit(environment.application), edit(environment.project)
        assert application is not None and project is not None
        return replace(environment, manifests=manifests, application=application, project=project)

    return edited


def changed(name: str, *edits: Edit, before: Edit = lambda it: it) -> EnvironmentImpact:
    """Return the impact of edits on an environment; before: an edit of its old state."""
    old = before(objects(name))
    new = old
    for edit in edits:
        new = edit(new)
    return comparison.environment_impact(Pair(name, old, new, ({}, {})))


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
                "at a time (wave 3); JSON-RPC continues with 1 of 2 pods for at least 70 s"
            ),
        ],
    ),
    "restart-of-one": (
        "dev",
        (on(BESU, *NOTE, to="x"),),
        [
            (
                "STOPS: StatefulSet/linea-stack-besu: pod 0 restarts (wave 3); JSON-RPC stops "
                "for at least 5 s"
            ),
        ],
    ),
    "restart-of-validators": (
        "prod",
        (on(MARU, *NOTE, to="x"),),
        [
            (
                "RESTARTS: StatefulSet/linea-stack-maru: pods 3, 2, 1, 0 restart in this order,"
                " one at a time (wave 2); blocks continue with 3 of 4 validators (3 needed) for"
                " at least 140 s"
            ),
        ],
    ),
    "restart-of-one-validator": (
        "dev",
        (on(SEQUENCER, *NOTE, to="x"),),
        [
            (
                "STOPS: StatefulSet/linea-stack-sequencer: pod 0 restarts (wave 1); no blocks "
                "for at least 35 s: only 0 of the 1 needed validators run"
            ),
        ],
    ),
    "on-delete": (
        "prod",
        (on(BESU, *NOTE, to="x"), on(BESU, "spec", "updateStrategy", to={"type": "OnDelete"})),
        [
            (
                "CHANGES: StatefulSet/linea-stack-besu: its pods keep the old template until "
                "someone deletes them (updateStrategy OnDelete)"
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
                "RESTARTS: StatefulSet/linea-stack-maru: pod 3 restarts (wave 2); blocks "
                "continue with 3 of 4 validators (3 needed) for at least 35 s"
            ),
            (
                "CHANGES: StatefulSet/linea-stack-maru: pods with an ordinal below 3 keep the "
                "old template (partition 3)"
            ),
        ],
    ),
    "deployment": (
        "prod",
        (on(ETHSTATS, *NOTE, to="x"),),
        [
            (
                "RESTARTS: Deployment/linea-stack-ethstats: 1 pod is replaced (wave 4); the "
                "dashboard continues: each new pod is ready before an old one stops"
            ),
        ],
    ),
    "deployment-recreate": (
        "prod",
        (on(ETHSTATS, *NOTE, to="x"), on(ETHSTATS, "spec", "strategy", to={"type": "Recreate"})),
        [
            (
                "STOPS: Deployment/linea-stack-ethstats: 1 pod is replaced (wave 4); the "
                "dashboard stops until the new pod is ready"
            ),
            (
                "CHANGES: maximum use (autoscalers at their limit, Deployments in a rollout): "
                "CPU 10.5 → 10.4 cores (−0.1; quota 13), memory 40.06 → 39.81 GiB (−0.25; "
                "quota 48)"
            ),
        ],
    ),
    "paused": (
        "prod",
        (on(ETHSTATS, *NOTE, to="x"), on(ETHSTATS, "spec", "paused", to=True)),
        [
            (
                "WAITS: Deployment/linea-stack-ethstats: its pods keep the old template: the "
                "Deployment is paused, and the sync waits until someone resumes it"
            ),
        ],
    ),
    "refused": (
        "prod",
        (on(BESU, "spec", "serviceName", to="x"),),
        [
            (
                "BLOCKED: serviceName of StatefulSet/linea-stack-besu changes from "
                "linea-stack-besu-headless to x: the API server rejects the change, so no sync "
                "begins"
            ),
        ],
    ),
    "fewer-validators": (
        "prod",
        (on(MARU, "spec", "replicas", to=2), on(SEQUENCER, "spec", "replicas", to=2)),
        [
            (
                "DATA: StatefulSet/linea-stack-maru scales from 4 pods to 2, but each pod has the "
                "key of a validator that the chain still waits for"
            ),
            (
                "DATA: StatefulSet/linea-stack-sequencer scales from 4 pods to 2, but each pod has "
                "the key of a validator that the chain still waits for"
            ),
            (
                "STOPS: 2 of 4 validators run, 3 are needed (before: 4 of 4 validators run, 3 "
                "are needed)"
            ),
            "CHANGES: StatefulSet/linea-stack-sequencer: removes 2 pods, 4 → 2",
            "CHANGES: StatefulSet/linea-stack-maru: removes 2 pods, 4 → 2",
            (
                "CHANGES: resilience: now “blocks may never come: a block needs 3 of 4 "
                "validators, and as few as 2 may run”, before “blocks continue if any 1 of 4 "
                "validators, any node or any of the 4 zones is lost”"
            ),
            "CHANGES: StatefulSet/linea-stack-maru: 2 volumes of 100 GiB stay without a pod",
            "CHANGES: StatefulSet/linea-stack-sequencer: 2 volumes of 500 GiB stay without a pod",
            (
                "CHANGES: maximum use (autoscalers at their limit, Deployments in a rollout): "
                "CPU 10.5 → 7.5 cores (−3; quota 13), memory 40.06 → 28.06 GiB (−12; quota "
                "48), volumes 6400 → 5200 GiB (−1200; quota 7168)"
            ),
        ],
    ),
    "data-goes": (
        "prod",
        (on(BESU, to=None),),
        [
            (
                "DATA: StatefulSet/linea-stack-besu, which has data, is removed: all syncs wait "
                "until someone confirms its deletion, which leaves its volumes unused"
            ),
            (
                "STOPS: StatefulSet/linea-stack-besu: its 2 pods are removed once a person "
                "confirms it; JSON-RPC ends"
            ),
            (
                "WAITS: StatefulSet/linea-stack-besu is removed from git, but stays in the "
                "cluster until a person confirms the deletion; this sync and all later ones "
                "wait for that"
            ),
            "CHANGES: resilience: no longer “JSON-RPC continues if any node or any zone is lost”",
            "CHANGES: StatefulSet/linea-stack-besu: 3 volumes of 500 GiB stay without a pod",
            (
                "CHANGES: maximum use (autoscalers at their limit, Deployments in a rollout): "
                "CPU 10.5 → 6.75 cores (−3.75; quota 13), memory 40.06 → 25.06 GiB (−15; quota "
                "48), volumes 6400 → 4900 GiB (−1500; quota 7168)"
            ),
        ],
    ),
    "unread": (
        "dev",
        (on("ConfigMap/linea-stack-besu-config", "data", "x", to="y"),),
        [
            (
                "CHANGES: ConfigMap/linea-stack-besu-config changes, but "
                "StatefulSet/linea-stack-besu does not restart: mounted files change within "
                "minutes, but programs keep what they have read"
            ),
        ],
    ),
    "policy-gone": (
        "prod",
        (on("NetworkPolicy/linea-stack-besu", to=None),),
        [
            "STOPS: linea-stack-besu may no longer connect to linea-stack-ethstats on 3000/TCP",
            "STOPS: linea-stack-besu may no longer connect to linea-stack-maru on 9000/TCP",
            "STOPS: linea-stack-besu may no longer connect to linea-stack-sequencer on 30303/TCP",
            "STOPS: linea-stack-tx-sender may no longer connect to linea-stack-besu on 8545/TCP",
            (
                "CHANGES: NetworkPolicy/linea-stack-besu is removed: it no longer restricts the "
                "traffic of its pods"
            ),
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
                "STOPS: maximum use (autoscalers at their limit, Deployments in a rollout): "
                "load balancers of Services 0 → 1 (+1; quota 0); the API server rejects what "
                "exceeds the quota"
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
                "STOPS: service.beta.kubernetes.io/aws-load-balancer-scheme of "
                "Service/linea-stack-besu changes from internet-facing to internal: its load "
                "balancer is deleted, and clients of Service/linea-stack-besu can't connect until "
                "DNS has the address of another one"
            ),
            (
                "CHANGES: linea-stack-besu rpc 8545/TCP and linea-stack-besu ws 8546/TCP are "
                "served inside the network, only for 192.0.2.0/24 (before: to the internet, "
                "only for 192.0.2.0/24)"
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
                "metadata.annotations[eks.amazonaws.com/role-arn] changes from "
                "arn:aws:iam::111122223333:role/linea-prod-backup to "
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
                "spec.template.spec.securityContext.runAsNonRoot changes from true to false"
            ),
            (
                "RESTARTS: StatefulSet/linea-stack-besu: pods 1, 0 restart in this order, one "
                "at a time (wave 3); JSON-RPC continues with 1 of 2 pods for at least 70 s"
            ),
        ],
    ),
    "alert-removed": (
        "prod",
        (on("PrometheusRule/linea-stack-tx-sender", to=None),),
        [
            (
                "CHANGES: the following alerts are removed, so no one is notified of their "
                "problems: LineaTxSenderStuck"
            ),
            "CHANGES: PrometheusRule/linea-stack-tx-sender is deleted at the end of the sync",
        ],
    ),
    "destination": (
        "prod",
        (on("Application/linea-prod", "spec", "destination", "name", to="other"),),
        [
            "DATA: Application/linea-prod: spec.destination.name is set to other",
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
                "pods; the sync waits in this wave"
            ),
            (
                "COSTS: maximum use (autoscalers at their limit, Deployments in a rollout): CPU"
                " 10.5 → 10.7 cores (+0.2; quota 13), memory 40.06 → 40.56 GiB (+0.5; quota "
                "48)"
            ),
            "CHANGES: Deployment/linea-stack-ethstats: adds 2 pods, 1 → 3",
            (
                "CHANGES: resilience: now “TX Sender has one pod: no transfers until another "
                "has started”, before “EthStats and TX Sender have one pod each: no dashboard, "
                "no transfers until another has started”"
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
            (
                "CHANGES: ServiceMonitor/linea-stack-besu is removed from git, but stays in the"
                " cluster"
            ),
            (
                "CHANGES: Application/linea-prod: spec.syncPolicy.automated.prune changes from "
                "true to false"
            ),
        ],
    ),
}
"""Name → environment, edits, and the expected effects."""


@pytest.mark.parametrize("name", CASES)
def test_a_change_has_exactly_these_effects(name: str) -> None:
    environment, edits, expected = CASES[name]
    assert messages(changed(environment, *edits)) == expected


def messages(impact: EnvironmentImpact) -> list[str]:
    """Return each effect with its risk, the worst first."""
    return [f"{effect.risk.name}: {effect.message}" for effect in impact.effects]


def test_a_report_without_changes_is_one_line() -> None:
    assert text.heading(report.Report("main", "", 3, ())) == (
        "no environment changes from main to the working tree"
    )


def test_a_quota_with_scopes_does_not_limit_all_pods() -> None:
    quota = "ResourceQuota/linea-stack"
    edits = on(quota, "spec", "hard", "pods", to="13"), on(ETHSTATS, "spec", "replicas", to=3)
    scoped = on(quota, "spec", "scopes", to=["BestEffort"])
    assert any("no room" in line for line in messages(changed("prod", *edits)))
    assert not any("quota" in line for line in messages(changed("prod", *edits, before=scoped)))


def test_the_worst_effects_come_first() -> None:
    for name, (environment, edits, _) in CASES.items():
        risks = [effect.risk for effect in changed(environment, *edits).effects]
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
def test_no_form_of_an_object_breaks_the_report(
    place: tuple[str, Fields], value: Any, is_old: bool
) -> None:
    label, path = place
    odd = on(label, *path, to=value, is_null=True)(PROD)
    old, new = (odd, PROD) if is_old else (PROD, odd)
    impact = comparison.environment_impact(Pair("prod", old, new, ({}, {})))
    whole = report.report("main", "", 1, [impact])
    assert text.text(whole)
    assert text.markdown(whole)
