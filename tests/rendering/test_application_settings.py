"""The settings below `application` in environment.yaml reach the Application and its AppProject."""

from __future__ import annotations

from typing import Any

from scripts.checks.kubeconform import check
from scripts.core import yamlio
from scripts.environments import environment
from scripts.rendering import pipeline
from tests.conftest import Repository

SETTINGS = """
application:
  labels: {team: chain}
  annotations: {example.com/owner: chain}
  notifications:
    on-sync-failed: {slack: [chain-alerts, on-call], our-webhook: []}
  retry: {limit: 5, backoff: {maxDuration: 10m}}
  syncWindows:
    - {kind: deny, schedule: "0 16 * * 5", duration: 64h, timeZone: Europe/Berlin, manualSync: true}
  sourceIntegrity: {gpg: {mode: strict, keys: [B5690EEEBB952194]}}
  revisionHistoryLimit: 3
  info: [{name: Runbooks, value: "https://git.example.com/runbooks"}]
"""


def rendered(repository: Repository, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the AppProject and the Application of dev with other settings."""
    file = repository / "overlays/dev/environment.yaml"
    repository.write("overlays/dev/environment.yaml", file.read_text("utf-8") + text)
    found = environment.load(repository.root, "dev")
    project, application = pipeline.settings(found, pipeline.objects(repository.root, found))
    return project.object, application.object


def test_each_setting_has_its_place(repository: Repository) -> None:
    url = environment.load(repository.root, "dev").repository["url"]
    project, application = rendered(repository, SETTINGS)
    metadata, spec = application["metadata"], application["spec"]
    assert metadata["labels"]["team"] == "chain"
    assert metadata["labels"]["app.kubernetes.io/instance"] == "dev"
    assert metadata["annotations"] == {
        "argocd.argoproj.io/sync-options": "Prune=false,Delete=confirm",
        "example.com/owner": "chain",
        "notifications.argoproj.io/subscribe.on-sync-failed.our-webhook": "",
        "notifications.argoproj.io/subscribe.on-sync-failed.slack": "chain-alerts;on-call",
    }
    assert spec["syncPolicy"]["retry"] == {
        "limit": 5,
        "refresh": True,
        "backoff": {"duration": "5s", "factor": 2, "maxDuration": "10m"},
    }
    assert (spec["revisionHistoryLimit"], spec["info"][0]["name"]) == (3, "Runbooks")
    assert project["spec"]["syncWindows"] == [
        {
            "kind": "deny",
            "schedule": "0 16 * * 5",
            "duration": "64h",
            "timeZone": "Europe/Berlin",
            "manualSync": True,
            "applications": ["linea-dev"],
        }
    ]
    assert project["spec"]["sourceIntegrity"]["git"]["policies"] == [
        {"repos": [{"url": url}], "gpg": {"mode": "strict", "keys": ["B5690EEEBB952194"]}}
    ]
    files = {kind: yamlio.dump(each) for kind, each in (("a", project), ("b", application))}
    assert not check(files, "1.34"), "Argo CD's own schemas reject it"


def test_signature_keys_are_for_old_versions_of_argo_cd(repository: Repository) -> None:
    project, _ = rendered(repository, "application: {signatureKeys: [B5690EEEBB952194]}\n")
    assert project["spec"]["signatureKeys"] == [{"keyID": "B5690EEEBB952194"}]
    assert "sourceIntegrity" not in project["spec"]


def test_an_address_with_signs_of_patterns_is_meant_as_it_is(repository: Repository) -> None:
    text = 'repository: {url: "https://[::1]/linea.git", revision: main}\n'
    integrity = "application: {sourceIntegrity: {gpg: {mode: head, keys: [B5690EEEBB952194]}}}\n"
    project, _ = rendered(repository, text + integrity)
    (policy,) = project["spec"]["sourceIntegrity"]["git"]["policies"]
    assert policy["repos"] == [{"url": r"https://\[::1\]/linea.git"}]
