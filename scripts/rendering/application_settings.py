"""Settings of an Application and its AppProject that environment.yaml has below `application`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scripts.environments.environment import Environment

_SUBSCRIPTION = "notifications.argoproj.io/subscribe"
"""The annotation of the notifications controller:
https://argo-cd.readthedocs.io/en/stable/operator-manual/notifications/subscriptions/"""

_RETRY: dict[str, Any] = {
    # A Degraded object fails the sync, for example an unreachable secret store or a failed
    # backup. With a limit, Argo CD would give up on the commit, and self-heal nothing.
    "limit": -1,
    "refresh": True,
    "backoff": {"duration": "5s", "factor": 2, "maxDuration": "3m"},
}
_GLOB = str.maketrans({sign: f"\\{sign}" for sign in "\\*?[]{}"})
"""Characters that have a meaning in a pattern of Argo CD."""


def added_labels(environment: Environment) -> Mapping[str, str]:
    """Return the labels that people add to the Application."""
    found: Mapping[str, str] = environment.application.get("labels", {})
    return found


def added_annotations(environment: Environment) -> dict[str, str]:
    """Return the annotations that people add to the Application, and its subscriptions."""
    found: dict[str, str] = dict(environment.application.get("annotations", {}))
    for trigger, services in environment.application.get("notifications", {}).items():
        for service, recipients in services.items():
            found[f"{_SUBSCRIPTION}.{trigger}.{service}"] = ";".join(recipients)
    return found


def retry(environment: Environment) -> dict[str, Any]:
    """Return what happens after a failed sync."""
    own = environment.application.get("retry", {})
    return {**_RETRY, **own, "backoff": {**_RETRY["backoff"], **own.get("backoff", {})}}


def of_application(environment: Environment) -> dict[str, Any]:
    """Return the fields of the Application's spec that people set."""
    kept = ("info", "revisionHistoryLimit")
    return {key: environment.application[key] for key in kept if key in environment.application}


def of_project(environment: Environment, application: str) -> dict[str, Any]:
    """Return the fields of the AppProject's spec that people set: windows and signatures.

    application: the name of the Application, which the windows are about.
    """
    settings, spec = environment.application, dict[str, Any]()
    if windows := settings.get("syncWindows"):
        spec["syncWindows"] = [{**window, "applications": [application]} for window in windows]
    if gpg := settings.get("sourceIntegrity", {}).get("gpg"):
        url = environment.repository["url"].translate(_GLOB)
        spec["sourceIntegrity"] = {"git": {"policies": [{"repos": [{"url": url}], "gpg": gpg}]}}
    if keys := settings.get("signatureKeys"):
        spec["signatureKeys"] = [{"keyID": key} for key in keys]
    return spec
