"""Impact says when sync windows hold up a change, and which commits are synced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scripts.impact.effects import windows
from scripts.impact.effects.context import context
from scripts.kubernetes.manifest import Manifest
from scripts.rules.snapshot import Objects
from tests.rules import examples

PROD = replace(examples.objects("prod"), before=None, application_before=None)
WEEKEND: dict[str, Any] = {"kind": "deny", "schedule": "0 16 * * 5", "duration": "64h"}
OPEN: dict[str, Any] = {"kind": "allow", "schedule": "0 9 * * 1-5", "duration": "8h"}


def with_(**spec: Any) -> Objects:
    """Return prod with fields of its AppProject."""
    project = PROD.project.object
    body = {**project, "spec": {**project["spec"], **spec}}
    return replace(PROD, project=Manifest(body, PROD.project.template))


def with_windows(*listed: dict[str, Any]) -> Objects:
    return with_(syncWindows=[{**each, "applications": [PROD.application.name]} for each in listed])


def gpg(mode: str, *keys: str) -> Objects:
    policy = {"repos": [{"url": "*"}], "gpg": {"mode": mode, "keys": [*keys]}}
    return with_(sourceIntegrity={"git": {"policies": [policy]}})


def told(old: Objects, new: Objects) -> list[str]:
    change = context(old, new)
    effects = [*windows.windows(change), *windows.signatures(change)]
    return [f"{each.risk.name}: {each.message}" for each in effects]


def test_new_windows_say_how_long_they_hold_up_a_sync() -> None:
    (added,) = told(PROD, with_windows(WEEKEND))
    assert added == (
        "CHANGES: AppProject/linea-prod holds up Argo CD for up to 64h at a time, 38% of all times;"
        " before, it was never held up"
    )
    unknown = {**WEEKEND, "timeZone": "Headquarters"}
    assert told(PROD, with_windows(unknown)) == [added], "Argo CD uses UTC"
    (removed,) = told(with_windows(OPEN), PROD)
    assert removed == (
        "CHANGES: sync windows no longer hold up Argo CD;"
        " before, it was up to 64h at a time, 76% of all times"
    )


def test_a_change_waits_for_the_windows() -> None:
    old = with_windows(WEEKEND)
    new = replace(old, manifests=PROD.manifests[1:])
    (line,) = told(old, new)
    assert line == (
        "CHANGES: the sync of this waits while a sync window blocks it, for up to 64h at a time,"
        " 38% of all times"
    )
    assert told(PROD, replace(PROD, manifests=PROD.manifests[1:])) == []
    assert told(old, old) == []


def test_signatures_wait_for_people_and_without_them_everyone_can_push() -> None:
    key, other = "B5690EEEBB952194", "4AEE18F83AFDEB23"
    signed = f"AppProject/linea-prod: Argo CD syncs only commits that are signed by {key}"
    assert told(PROD, gpg("head", key)) == [f"WAITS: {signed}"]
    assert told(gpg("head", key), gpg("head", key, other)) == [f"OPENS: {signed}, {other}"]
    assert told(gpg("head", key), gpg("strict", key)) == []
    unsigned = "OPENS: AppProject/linea-prod: commits no longer need a signature"
    assert told(gpg("head", key), gpg("none", key)) == [unsigned]
    assert told(with_(signatureKeys=[{"keyID": key}]), PROD) == [unsigned]
