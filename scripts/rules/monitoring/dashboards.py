"""Dashboards: Grafana loads them, each under an id of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from scripts.core import advice
from scripts.core.edits import Action
from scripts.core.fixes import Change, Fix
from scripts.kubernetes.manifest import Manifest
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, once

_PROVISIONING = "https://grafana.com/docs/grafana/latest/administration/provisioning/#dashboards"
_SIDECAR = "grafana_dashboard"
"""The label by which the sidecar of Grafana's chart selects ConfigMaps by default."""
_MOST_UID = 40
_UID = re.compile(r"[a-zA-Z0-9_-]+")
_OURS = ("app.kubernetes.io/", "helm.sh/", "argocd.argoproj.io/")


@rule(_PROVISIONING, outcome=Outcome.HIDDEN)
def invalid_dashboard(objects: Objects) -> Iterator[Problem]:
    """Dashboards are JSON with a title, and with an id that Grafana accepts.

    Otherwise Grafana does not load the dashboard, and only its log says so.
    """
    for manifest, key, text in _dashboards(objects):
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            message = f"the dashboard {key} is not valid JSON (line {error.lineno}: {error.msg}): "
            message += "Grafana does not load it"
            wrong = text.splitlines()[error.lineno - 1 : error.lineno]
            above = ", or just above it" if error.lineno > 1 else ""
            fix: str = f"correct the JSON at line {error.lineno}{above}"
            before = text[: error.pos].rstrip()
            if before.endswith(","):
                line = before.count("\n") + 1
                fix = f"remove the comma at the end of line {line}"
                right = before[:-1] + text[len(before) :]
                if _is_json(right):
                    fix = advice.saying(fix, right)
            yield Problem(manifest, ("data", key), message, fix, "".join(wrong).strip())
            continue
        uid = data.get("uid") if isinstance(data, dict) else None
        if not isinstance(data, dict):
            message = f"the dashboard {key} is not a JSON object: Grafana does not load it"
            fix = "write one dashboard in { and }, with nothing around it"
            yield Problem(manifest, ("data", key), message, fix)
        elif not data.get("title"):
            message = f"the dashboard {key} has no title: Grafana does not load it"
            fix = f'write a "title" in {key}, beside "panels"'
            yield Problem(manifest, ("data", key), message, fix)
        elif uid and (len(str(uid)) > _MOST_UID or not _UID.fullmatch(str(uid))):
            message = (
                f'the uid "{uid}" of the dashboard {key} is not valid: Grafana does not load the '
                "dashboard"
            )
            right = re.sub(r"[^a-zA-Z0-9_-]+", "-", str(uid))[:_MOST_UID].strip("-") or "own"
            fix = f'write "uid": "{right}", or other letters, digits, dashes and underscores, at '
            fix += f"most {_MOST_UID}"
            yield Problem(manifest, ("data", key), message, fix, _uid_line(text))


@rule(_PROVISIONING, outcome=Outcome.HIDDEN)
def duplicate_dashboard_uid(objects: Objects) -> Iterator[Problem]:
    """Each dashboard has its own uid.

    Grafana identifies dashboards by it: of two with the same uid, it shows one, and reports an
    error in its log for the other.
    """
    first: dict[str, str] = {}
    for manifest, key, text in _dashboards(objects):
        uid = _uid(text)
        if not uid:
            continue
        if uid in first:
            message = (
                f"the dashboards {first[uid]} and {key} have the same uid, {uid}: Grafana shows "
                "only one of them"
            )
            own = key.removesuffix(".json").removeprefix(f"{objects.namespace}-")[-_MOST_UID:]
            new = own if own != uid else f"{own[: _MOST_UID - 2]}-2"
            words, old = f'write "uid": "{new}" in {key}', _uid_line(text)
            right = old.replace(json.dumps(uid), json.dumps(new))
            fix = advice.in_text(words, text, old, right) if old else Fix(words)
            yield Problem(manifest, ("data", key), message, fix, _uid_line(text))
        first.setdefault(uid, key)


@rule(_PROVISIONING, outcome=Outcome.HIDDEN)
def dashboard_without_label(objects: Objects) -> Iterator[Problem]:
    """The ConfigMaps of dashboards have a label by which Grafana's sidecar selects them.

    Otherwise Grafana does not load them, and no error is reported.
    """
    for manifest in {manifest.label: manifest for manifest, _, _ in _dashboards(objects)}.values():
        if all(
            label.startswith(_OURS) or value is None for label, value in manifest.labels.items()
        ):
            message = (
                f"{manifest.label} has no label by which Grafana's sidecar could select it: the "
                "dashboard is not loaded"
            )
            words = (
                f'write {_SIDECAR}: "1" in its labels (in the values: metrics.dashboards.labels)'
            )
            fix = advice.saying(words, "1", (_SIDECAR,))
            if manifest.template.startswith("chart/"):
                key = ("metrics", "dashboards", "labels", _SIDECAR)
                fix = Fix(words, (), [Change(Action.WRITE, key, "1")])
            yield Problem(manifest, ("metadata", "labels"), message, fix)


@once
def _dashboards(objects: Objects) -> Iterator[tuple[Manifest, str, str]]:
    """Yield the ConfigMaps of dashboards, with the key and the text of each."""
    for manifest in objects.of_kind("ConfigMap"):
        is_labelled = _SIDECAR in manifest.labels or manifest.component == "dashboards"
        texts = manifest.object.get("data")
        for key, text in texts.items() if isinstance(texts, dict) else ():
            is_one = is_labelled or '"panels"' in str(text)
            if isinstance(text, str) and str(key).endswith(".json") and is_one:
                yield manifest, str(key), text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _uid(text: str) -> str:
    """Return the uid of a dashboard; empty if it has none."""
    try:
        data: Any = json.loads(text)
    except ValueError:
        return ""
    return str(data.get("uid") or "") if isinstance(data, dict) else ""


def _uid_line(text: str) -> str:
    """Return the line with the uid of a dashboard."""
    written = json.dumps(_uid(text))
    return next((line.strip() for line in text.splitlines() if f'"uid": {written}' in line), "")
