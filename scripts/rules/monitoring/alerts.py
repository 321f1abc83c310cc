"""Alerts: they notify the right people, at the right time."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from scripts.core import advice, paths, repository
from scripts.core.findings import Severity
from scripts.kubernetes import promql
from scripts.rules.monitoring.expressions import Query, queries
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_RUNBOOKS = repository.ROOT / "docs" / "runbooks"
_PAGES = "/docs/runbooks/"
_DOCS = "https://prometheus.io/docs/prometheus/latest/"


@rule(f"{_DOCS}configuration/alerting_rules/", outcome=Outcome.RISK)
def missing_alert_severity(objects: Objects) -> Iterator[Problem]:
    """Each alert has the label severity: critical or warning.

    Alertmanager routes alerts by that label. Without it, the alert does not reach the
    right people.
    """
    for query, name in _alerts(objects):
        severity = paths.get(query.rule, ["labels", "severity"])
        if severity not in ("critical", "warning"):
            state = f"has the severity {severity}" if severity else "has no severity"
            message = f"the alert {name} {state}: Alertmanager can't route it to the right people"
            path = (*query.path[:-1], "labels", "severity")
            fix = (
                "write severity: critical if someone must act at once, otherwise severity: warning"
            )
            yield Problem(query.manifest, path, message, fix)


@rule(f"{_DOCS}configuration/alerting_rules/", Severity.WARNING)
def missing_alert_duration(objects: Objects) -> Iterator[Problem]:
    """Each alert fires only after its problem has lasted for some time (`for`).

    Otherwise a single late scrape or pod restart is enough to notify someone.
    """
    for query, name in _alerts(objects):
        if not promql.seconds(query.rule.get("for")):
            message = f"the alert {name} fires at once: a single late scrape is enough"
            fix = advice.write("for", "5m") + ", the time for which the problem must last"
            yield Problem(query.manifest, (*query.path[:-1], "for"), message, fix)


@rule(f"{_DOCS}configuration/alerting_rules/", outcome=Outcome.RISK)
def alert_duration_too_long(objects: Objects) -> Iterator[Problem]:
    """An alert waits at most 2 hours for its problem to last (`for`), a critical one 30 minutes.

    Otherwise people hear of the problem hours later. To alert on a slow trend, use a longer range
    in the expression.
    """
    for query, name in _alerts(objects):
        severity = paths.get(query.rule, ["labels", "severity"])
        most, lasting = _LONGEST.get(str(severity), _LONGEST["warning"]), query.rule.get("for")
        if promql.seconds(lasting) > promql.seconds(most):
            message = (
                f"the alert {name} ({severity}) fires only after its problem has lasted for "
                f"{lasting}: until then, no one is notified"
            )
            minutes = re.sub(r"^([0-9]+)[hd]$", r"\1m", str(lasting))
            shorter = minutes if promql.seconds(minutes) <= promql.seconds(most) else most
            fix = advice.write("for", shorter).unless(f", or another duration up to {most}")
            yield Problem(query.manifest, (*query.path[:-1], "for"), message, fix)


_LONGEST = {"critical": "30m", "warning": "2h"}
"""Severity → the longest `for`. The longest of this repository are 15m and 1h."""


@rule(f"{_DOCS}configuration/alerting_rules/", outcome=Outcome.HIDDEN)
def alert_duration_exceeds_range(objects: Objects) -> Iterator[Problem]:
    """An alert on changes within a range fires before the change has left the range.

    Otherwise it never fires for a single change, such as one restart: the expression has a result
    only for as long as the range is.
    """
    for query, name in _alerts(objects):
        expression, lasting = query.expression, promql.seconds(query.rule.get("for"))
        for window in expression.windows if expression else ():
            if window.function in ("changes", "resets") and 0 < window.seconds <= lasting:
                length = promql.duration(window.seconds)
                message = (
                    f"the alert {name} waits for {query.rule['for']}, but its expression counts "
                    f"{window.function} within {length}: after a single change, it never fires"
                )
                shorter = promql.duration(max(60, window.seconds // 10))
                lasting_for = query.rule["for"]
                longer = f"; to keep for: {lasting_for}, write a range of more than {lasting_for}"
                fix = advice.write("for", shorter).unless(longer)
                yield Problem(query.manifest, (*query.path[:-1], "for"), message, fix)
                break


@rule("docs/monitoring.md", outcome=Outcome.RISK)
def missing_alert_runbook(objects: Objects) -> Iterator[Problem]:
    """Each alert has the URL of its runbook, a page in docs/runbooks.

    Otherwise the person on call has only the alert's name.
    """
    for query, name in _alerts(objects):
        url = paths.get(query.rule, ["annotations", "runbook_url"])
        path = (*query.path[:-1], "annotations", "runbook_url")
        page = str(url).partition(_PAGES)[2] if url else ""
        if not url:
            message = f"the alert {name} has no runbook_url: the person on call has only its name"
            create = "" if f"{name}.md" in _pages() else f"create docs/runbooks/{name}.md, and "
            right = f"{_folder(objects)}{name}.md"
            fix: str = f"{create}write runbook_url: {right}"
            if not create and "…" not in right:
                fix = advice.saying(fix, right)
        elif page and page not in _pages():
            near = difflib.get_close_matches(page, _pages(), 1)
            message = (
                f"runbook_url of the alert {name} is docs/runbooks/{page}, which does not exist"
            )
            fix = f"create docs/runbooks/{page}"
            if near:
                words = f"write {near[0]} instead of {page}"
                fix = advice.in_text(words, url, page, near[0])
        elif page and str(url) != f"{_folder(objects)}{page}":
            message = f"runbook_url of the alert {name} is in another repository than the runbooks"
            message += f" of other alerts: {url}"
            fix = f"write runbook_url: {_folder(objects)}{page}"
        else:
            continue
        yield Problem(query.manifest, path, message, fix)


@rule(f"{_DOCS}configuration/template_reference/", outcome=Outcome.RISK)
def invalid_alert_template(objects: Objects) -> Iterator[Problem]:
    """The templates in an alert's texts are closed, and use variables that Prometheus has.

    Otherwise Prometheus rejects the file with the rule, or the person on call reads an error.
    """
    for query, name in _alerts(objects):
        for field in ("annotations", "labels"):
            texts = paths.get(query.rule, [field])
            for key, text in texts.items() if isinstance(texts, dict) else ():
                if wrong := _broken(str(text)):
                    message = f"{field}.{key} of the alert {name} {wrong}: Prometheus rejects the "
                    message += "rule, or shows an error instead of the text"
                    near = difflib.get_close_matches(wrong.partition("$")[2], _VARIABLES, 1)
                    fix = "write each template as {{ $value }} or {{ $labels.NAME }}"
                    if near:
                        fix = f"write ${near[0]}"
                    yield Problem(query.manifest, (*query.path[:-1], field, key), message, fix)


_VARIABLE = re.compile(r"\$(\w+)")
_VARIABLES = ("labels", "value", "externalLabels", "externalURL")


def _broken(text: str) -> str:
    """Return what is wrong with the templates of a text."""
    outside = re.sub(r"\{\{.*?\}\}", "", text, flags=re.DOTALL)
    inside = re.findall(r"\{\{(.*?)\}\}", text, re.DOTALL)
    if "{{" in outside or "}}" in outside or any("{{" in each for each in inside):
        return "has a template that is not closed with }} or not opened with {{"
    own = {name for each in inside for name in re.findall(r"\$(\w+)\s*:?=", each)}
    for name in (name for each in inside for name in _VARIABLE.findall(each)):
        if name not in own and name not in _VARIABLES:
            return f"uses a variable that Prometheus does not have, ${name}"
    return ""


@rule(f"{_DOCS}configuration/alerting_rules/", outcome=Outcome.HIDDEN)
def duplicate_alert(objects: Objects) -> Iterator[Problem]:
    """No two alerts have the same name and labels.

    Alertmanager treats them as the same alert: it shows the text of one of them, and a silence
    applies to both.
    """
    seen = set[tuple[str, Any]]()
    for query, name in _alerts(objects):
        key = (name, str(paths.get(query.rule, ["labels"])))
        if key in seen:
            message = f"two alerts {name} have the same labels: Alertmanager shows only one of them"
            path = (*query.path[:-1], "alert")
            fix = "write another name in the field alert; if both alerts are equal, remove this one"
            yield Problem(query.manifest, path, message, fix)
        seen.add(key)


@rule("docs/monitoring.md")
def alert_quorum_mismatch(objects: Objects) -> Iterator[Problem]:
    """Alerts that count validators compare with the quorum of the chain, or with all validators.

    With the number of another chain, they do not fire before this chain stops.
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
        match = _COMPARED.search(query.text)
        if match and int(match[2]) not in known:
            message = (
                f"the alert {name} compares the number of ready validators with {match[2]}, but a "
                f"block needs {chain.quorum} of {chain.validators} validators: it does not fire at "
                "the right time"
            )
            fix = (
                f"instead of {match[2]}, write {chain.quorum} to report a lost quorum, or"
                f" {chain.validators} to report the first validator that fails"
            )
            yield Problem(query.manifest, query.path, message, fix)


_COMPARED = re.compile(r"(<|<=|==|>|>=|!=)\s*(\d+)\s*$")


@lru_cache
def _pages() -> list[str]:
    return sorted(path.name for path in _RUNBOOKS.glob("*.md"))


def _folder(objects: Objects) -> str:
    """Return the URL of the folder with the runbooks, as in another alert of the environment."""
    return objects.once(_usual_folder)


def _usual_folder(objects: Objects) -> str:
    urls = (
        str(paths.get(query.rule, ["annotations", "runbook_url"])) for query, _ in _alerts(objects)
    )
    found = Counter(url.partition(_PAGES)[0] for url in urls if _PAGES in url)
    return (found.most_common(1)[0][0] if found else "https://…") + _PAGES


def _alerts(objects: Objects) -> Iterator[tuple[Query, str]]:
    for query in queries(objects):
        if isinstance(query.rule.get("alert"), str):
            yield query, query.rule["alert"]
