"""A report as one HTML file, for large changes: it needs no network, and scripts only to search.

What it shows is not trusted, as anybody's pull request may hold it: all is escaped, and the page's
own policy lets nothing run, load or be sent but what stands in the files beside this one.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from scripts.environments import layout
from scripts.impact.effects.effect import CALLED, Consequence, Risk
from scripts.impact.formats import mermaid, svg, text
from scripts.impact.report import Environment, Field, Object, Report, Step, together

_OPEN = 3
"""So many environments are shown at once; of more, only what they are called and their risks."""
_WHOLE = {"new": "new", "gone": "no longer in git", "spelling": "only spelt otherwise"}
"""What an environment is that has no consequences → in words."""


def page(report: Report) -> str:
    """Return the report as a self-contained page."""
    style, script = (_beside(f"page.{kind}") for kind in ("css", "js"))
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)};"
        " base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": _text(f"Impact: {text.heading(report)}"),
        "style": style,
        "script": script,
        "body": "\n".join(_body(report)),
    }
    return text.clean(Template(_beside("page.html")).substitute(parts))


def _text(words: str) -> str:
    """Return words as the text of an element; within a tag, quotes are escaped, too."""
    return escape(words, quote=False)


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _hash(source: str) -> str:
    """Return what a Content-Security-Policy calls a text: https://www.w3.org/TR/CSP3/."""
    return f"'sha256-{b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _body(report: Report) -> Iterator[str]:
    many = bool(report.environments)
    if many:
        yield '<a class="skip" href="#environments">Skip to the environments</a>'
    yield f'<header><p class="kicker">Impact</p><h1>{_text(text.heading(report))}</h1></header>'
    yield "<main>"
    if many:
        yield from _filters(report)
        yield '<section aria-labelledby="environments">'
        yield '<h2 id="environments" tabindex="-1">Environments, the worst first</h2>'
        for one in report.environments:
            yield from _environment(one, is_open=len(report.environments) <= _OPEN)
        yield f"</section>{svg.SHARED}"
    yield "</main>"


def _filters(report: Report) -> Iterator[str]:
    """Yield how many environments each risk is in, to choose from, and what searches them."""
    counts = Counter[str]()
    for one in report.environments:
        for kind in _kinds(one):
            counts[kind] += len(one.names)
    yield '<section class="filters" aria-labelledby="summary"><h2 id="summary">Summary</h2>'
    yield '<fieldset class="risks"><legend>Environments by what happens; choose one to see only'
    yield "those</legend>"
    yield _choice("", "all", report.changed)
    for kind in (*(risk.name.lower() for risk in Risk), *_WHOLE):
        if kind in counts:
            yield _choice(kind, _called(kind), counts[kind])
    yield '</fieldset><div class="search" hidden><label for="filter">Search environments, objects'
    yield "and words (<kbd>/</kbd>)</label>"
    yield '<input id="filter" type="search" autocomplete="off" spellcheck="false">'
    yield '<p class="quiet" role="status"></p></div></section>'


def _kinds(one: Environment) -> list[str]:
    """Return the risks that there are in an environment, or what else it is."""
    found = [risk.name.lower() for risk, _ in text.by_risk(one.consequences)]
    return [*found, *([one.what] if one.what in _WHOLE else [])]


def _called(kind: str) -> str:
    return _WHOLE[kind] if kind in _WHOLE else " ".join(CALLED[Risk[kind.upper()]])


def _style(kind: str) -> str:
    """Return how a risk looks: any other change is no reason for a colour."""
    return "" if kind == "changes" else mermaid.CLASS.get(kind, "")


def _choice(kind: str, words: str, count: int) -> str:
    own = f'id="only-{kind}"' if kind else "checked"
    return (
        f'<label><input type="radio" name="only" {own}><span>{_text(words)}</span>'
        f" <b>{count}</b></label>"
    )


def _environment(one: Environment, *, is_open: bool) -> Iterator[str]:
    kinds = _kinds(one)
    style = _style(kinds[0]) if kinds else ""
    classes = " ".join(["environment", style, *(f"is-{kind}" for kind in kinds)])
    yield f'<details class="{classes}" data-count="{len(one.names)}"{" open" * is_open}><summary>'
    yield f"<h3>{_text(layout.called(one.names))}</h3>"
    for kind in kinds:
        yield f'<span class="chip {_style(kind)}">{_text(_called(kind))}</span>'
    yield '</summary><div class="inside">'
    yield _names(one)
    if one.summary:
        yield f'<ul class="told">{"".join(f"<li>{_text(line)}</li>" for line in one.summary)}</ul>'
    for risk, told in text.by_risk(one.consequences):
        kind = risk.name.lower()
        yield f'<section class="{_style(kind)}"><h4>{_text(_called(kind))}</h4><ul class="told">'
        yield from map(_consequence, told)
        yield "</ul></section>"
    if one.components or one.steps:
        yield from _plan(one)
    if one.objects:
        count = f"{len(one.objects)} object{'' if len(one.objects) == 1 else 's'}"
        yield f"<details><summary>{count}, field by field</summary>"
        yield from map(_objects, together(one.objects))
        yield "</details>"
    yield "</div></details>"


def _names(one: Environment) -> str:
    """Return links to an environment, and of several alike to whose names are shown."""
    names = (quote(f"environment/{name}") for name in one.names)
    links = [
        f'<a id="{link}" href="#{link}">{_text(name)}</a>'
        for link, name in zip(names, one.names, strict=True)
    ]
    first = f"{links[0]}, namespace {_text(one.namespace)}"
    alike = f"; the same happens to {', '.join(links[1:])}" if links[1:] else ""
    return f'<p class="names quiet">{first}{alike}</p>'


def _consequence(one: Consequence) -> str:
    reason = f'<p class="quiet">because {_text(one.reason)}</p>' if one.reason else ""
    do = f'<p class="do"><b>do:</b> {_text(one.procedure)}</p>' if one.procedure else ""
    return f"<li><p>{_text(one.message)}</p>{reason}{do}</li>"


def _plan(one: Environment) -> Iterator[str]:
    """Yield who is there and calls whom, and what happens in which order."""
    yield '<div class="plan">'
    if one.components:
        label = escape(f"the components of {one.names[0]}")
        yield "<section><h4>Components, and who calls whom</h4>"
        yield f'<div class="picture" role="group" aria-label="{label}" tabindex="0">'
        yield f"{svg.svg(one.components)}</div></section>"
    if one.steps:
        steps = "".join(map(_step, one.steps))
        yield f'<section><h4>The order of the sync</h4><ol class="steps">{steps}</ol></section>'
    yield "</div>"


def _step(one: Step) -> str:
    wave = "after all" if one.wave is None else f"wave {one.wave}"
    restarts = f"<p>restarts {_text(text.restarts(one))}</p>" if one.pods else ""
    what = "deletes" if one.wave is None else "changes"
    changes = f'<p class="quiet">{what} {_listed(one.objects)}</p>' if one.objects else ""
    return f"<li><b>{wave}</b>{restarts}{changes}</li>"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(_text, names))


def _objects(same: list[Object]) -> str:
    """Return objects of which the same is told."""
    names = ", ".join(_text(one.name) for one in same)
    files = "<br>".join(_text(one.file) for one in same)
    fields = "".join(map(_field, same[0].fields))
    return (
        f'<div class="object"><h5>{names}: {_text(text.becomes(same[0]))}</h5>'
        f"<small>{files}</small>{f'<dl>{fields}</dl>' if fields else ''}</div>"
    )


def _field(one: Field) -> str:
    lines = list(one.lines)
    if not lines:
        lines += [] if one.old is None else [f"-{one.old}"]
        lines += [] if one.new is None else [f"+{one.new}"]
    return f"<dt>{_text(one.path)}</dt><dd>{''.join(map(_line, lines))}</dd>"


def _line(line: str) -> str:
    """Return a line of a difference: its sign says to all what its colour says to some."""
    tag = {"-": "del", "+": "ins"}.get(line[:1], "span")
    return f"<{tag}>{_text(line[:1])} {_text(line[1:])}</{tag}>"
