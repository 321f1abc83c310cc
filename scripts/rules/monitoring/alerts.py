"""Alerts: they call the right people, at the right time."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from scripts.core import paths, repository
from scripts.core.findings import Severity
from scripts.rules.monitoring.expressions import Query, queries
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_RUNBOOKS = repository.ROOT / "docs" / "runbooks"
_PAGES = "/docs/runbooks/"
_DOCS = "https://prometheus.io/docs/prometheus/latest/"


@rule(f"{_DOCS}configuration/alerting_rules/", outcome=Outcome.RISK)
def missing_alert_severity(objects: Objects) -> Iterator[Problem]:
    """An alert says how bad it is: severity critical or warning.

    Alertmanager sends alerts by that label: one without goes to nobody in particular.
    """
    for query, name in _alerts(objects):
        severity = paths.get(query.rule, ["labels", "severity"])
        if severity not in ("critical", "warning"):
            is_ = f"has the severity {severity}" if severity else "has no severity"
            message = f"the alert {name} {is_}: who is to be called by it is not known"
            path = (*query.path[:-1], "labels", "severity")
            yield Problem(query.manifest, path, message, "write critical or warning")


@rule(f"{_DOCS}configuration/alerting_rules/", Severity.WARNING)
def missing_alert_duration(objects: Objects) -> Iterator[Problem]:
    """An alert waits (for) before it fires.

    Else one late scrape, or one restart of a pod, calls people.
    """
    for query, name in _alerts(objects):
        if str(query.rule.get("for", "0s")).rstrip("smhdwy") in ("", "0"):
            message = f"the alert {name} fires at once: one late scrape is enough"
            yield Problem(query.manifest, (*query.path[:-1], "for"), message, "write 1m or more")


@rule("docs/monitoring.md", outcome=Outcome.RISK)
def missing_alert_runbook(objects: Objects) -> Iterator[Problem]:
    """An alert leads to its page of docs/runbooks.

    Who is called at night else has nothing but its name.
    """
    for query, name in _alerts(objects):
        url = paths.get(query.rule, ["annotations", "runbook_url"])
        path = (*query.path[:-1], "annotations", "runbook_url")
        page = str(url).partition(_PAGES)[2] if url else ""
        if not url:
            message, fix = f"the alert {name} has no runbook_url", "write the address of its page"
        elif page and page not in _pages():
            near = difflib.get_close_matches(page, _pages(), 1)
            message = f"the alert {name} leads to docs/runbooks/{page}, which is not there"
            fix = f"write {near[0]}" if near else "write that page, or lead to one that is there"
        else:
            continue
        yield Problem(query.manifest, path, message, fix)


@rule(f"{_DOCS}configuration/alerting_rules/", outcome=Outcome.HIDDEN)
def duplicate_alert(objects: Objects) -> Iterator[Problem]:
    """No two alerts have one name and one severity.

    Alertmanager takes them for one: it tells what one of them says, and a silence is for both.
    """
    seen = set[tuple[str, Any]]()
    for query, name in _alerts(objects):
        key = (name, str(paths.get(query.rule, ["labels"])))
        if key in seen:
            message = f"there are two alerts {name} with the same labels: they look like one"
            path = (*query.path[:-1], "alert")
            yield Problem(query.manifest, path, message, "give one another name, or remove it")
        seen.add(key)


@rule("docs/monitoring.md")
def alert_quorum_mismatch(objects: Objects) -> Iterator[Problem]:
    """Alerts that count validators compare with the chain's: a block's quorum, or all of them.

    With the number of another chain they call nobody before this one stands still.
    """
    chain = objects.chain
    maru = objects.component("maru")
    if chain is None or maru is None:
        return
    known = {chain.quorum, chain.validators}
    counted = f'statefulset="{maru.manifest.name}"'
    for query, name in _alerts(objects):
        if "replicas_ready" not in query.text or counted not in query.text:
            continue
        found = _COMPARED.search(query.text)
        if found and int(found[2]) not in known:
            message = (
                f"the alert {name} compares the validators that are ready with {found[2]}, and "
                f"of {chain.validators} a block needs {chain.quorum}"
            )
            fix = f"write {chain.quorum}, or {chain.validators} to tell of the first that is away"
            yield Problem(query.manifest, query.path, message, fix)


_COMPARED = re.compile(r"(<|<=|==|>|>=|!=)\s*(\d+)\s*$")


@lru_cache
def _pages() -> list[str]:
    return sorted(path.name for path in _RUNBOOKS.glob("*.md"))


def _alerts(objects: Objects) -> Iterator[tuple[Query, str]]:
    for query in queries(objects):
        if isinstance(query.rule.get("alert"), str):
            yield query, query.rule["alert"]
