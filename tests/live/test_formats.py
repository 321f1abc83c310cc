"""A comparison is shown as text, Markdown and JSON."""

from __future__ import annotations

from dataclasses import replace

from scripts.impact.report import FieldChange
from scripts.live import formats
from scripts.live.report import Drift, ObjectDrift, SyncState, document

NONE = Drift(
    environment="prod",
    context="prod-admin",
    server="https://prod.example.com",
    kubernetes_version="1.34",
    state=SyncState("Synced", "Healthy", "0123456789abcdef", "Succeeded", "synced"),
    misfits=(),
    objects=(),
    compared=66,
    notes=(),
)
SOME = replace(
    NONE,
    misfits=("another chain runs there",),
    notes=("Secrets were not compared",),
    objects=(
        ObjectDrift("ConfigMap/old", "extra", "", "the next sync deletes it"),
        ObjectDrift(
            "Service/besu",
            "changed",
            "overlays/prod/manifests/service-besu.yaml",
            "",
            (FieldChange("spec.type", "ClusterIP", "NodePort"), FieldChange("x", "1", None)),
        ),
    ),
)


def test_no_drift_is_two_lines() -> None:
    assert formats.text(NONE) == (
        "prod: no drift in 66 objects (prod-admin, https://prod.example.com, Kubernetes 1.34)\n"
        "  Argo CD: Synced, Healthy at 0123456789ab; last sync Succeeded: synced\n"
    )
    assert not document(NONE)["drift"]


def test_differences_are_in_the_order_of_their_kinds_below_what_does_not_fit() -> None:
    assert formats.text(SOME).splitlines()[2:] == [
        "",
        "  CONTEXT AND ENVIRONMENT DO NOT FIT",
        "    another chain runs there",
        "",
        "  NOTE",
        "    Secrets were not compared",
        "",
        "  CHANGED ON THE CLUSTER (GIT → CLUSTER)",
        "    Service/besu",
        "      overlays/prod/manifests/service-besu.yaml",
        "      spec.type: ClusterIP → NodePort",
        "      x: - 1",
        "",
        "  NO LONGER IN GIT",
        "    ConfigMap/old: the next sync deletes it",
    ]
    shown = formats.markdown(SOME)
    assert "- **Service/besu**" in shown
    assert "  - spec.type: ClusterIP\n  + spec.type: NodePort\n  - x: 1\n" in shown
    assert document(SOME)["drift"]
    assert document(replace(NONE, misfits=("other",)))["drift"], "another cluster counts"
