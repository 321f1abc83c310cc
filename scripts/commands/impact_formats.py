"""The ways to tell a report. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from scripts.impact.formats import text
from scripts.impact.report import Report, document


def _json(report: Report) -> str:
    return json.dumps(document(report), indent=2, ensure_ascii=False) + "\n"


def _html(report: Report) -> str:
    from scripts.impact.formats import html

    return html.page(report)


FORMATS: Mapping[str, Callable[[Report], str]] = {
    "text": text.text,
    "markdown": text.markdown,
    "json": _json,
    "html": _html,
}
