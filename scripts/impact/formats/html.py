"""A report as one HTML file, for large changes: without a network, and with scripts only to search.

Its content is not trusted, because it comes from pull requests: everything is escaped, and the
page's Content-Security-Policy allows only the script and style of the files beside this one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from urllib.parse import quote

from scripts.environments import layout
from scripts.impact.effects.effect import LABELS, Effect, Risk
from scripts.impact.formats import mermaid, shell, svg, text
from scripts.impact.report import (
    EnvironmentImpact,
    FieldChange,
    ObjectChange,
    Report,
    Step,
    grouped,
)

_OPEN = 3
"""Up to this number of environments, all are open; of more, only names and risks are shown."""


def page(report: Report) -> str:
    """Return the report as a self-contained page."""
    title = f"Impact: {text.heading(report)}"
    return text.clean(shell.page(title, "\n".join(_body(report)), *shell.look()))


def _text(words: str) -> str:
    """Return words escaped as the text of an element; in attributes, escape() also needs quotes."""
    return escape(words, quote=False)


def _body(report: Report) -> Iterator[str]:
    many = bool(report.environments)
    if many:
        yield '<a class="skip" href="#environments">Skip to the environments</a>'
    yield f'<header><p class="kicker">Impact</p><h1>{_text(text.heading(report))}</h1></header>'
    yield "<main>"
    if many:
        yield from _filters(report)
        yield '<section aria-labelledby="environments">'
        yield '<h2 id="environments" tabindex="-1">Environments, highest risk first</h2>'
        for impact in report.environments:
            yield from _environment(impact, is_open=len(report.environments) <= _OPEN)
        yield f"</section>{svg.SHARED}"
    yield "</main>"


def _filters(report: Report) -> Iterator[str]:
    """Yield the number of environments with each risk, as a filter, and the search field."""
    counts = Counter[str]()
    for impact in report.environments:
        for kind in _kinds(impact):
            counts[kind] += len(impact.names)
    yield '<section class="filters" aria-labelledby="summary"><h2 id="summary">Summary</h2>'
    yield '<fieldset class="risks"><legend>Number of environments by risk; choose one to filter'
    yield "them</legend>"
    yield _choice("", "all", report.changed)
    for kind in (*(risk.name.lower() for risk in Risk), *text.ENVIRONMENTS):
        if kind in counts:
            yield _choice(kind, _called(kind), counts[kind])
    yield '</fieldset><div class="search" hidden><label for="filter">Search environments, objects'
    yield "and words (<kbd>/</kbd>)</label>"
    yield '<input id="filter" type="search" autocomplete="off" spellcheck="false">'
    yield '<p class="quiet" role="status"></p></div></section>'


def _kinds(impact: EnvironmentImpact) -> list[str]:
    """Return the risks in an environment, or that it is new, gone, or differs only in form."""
    risks = [risk.name.lower() for risk, _ in text.by_risk(impact.effects)]
    return [*risks, *([impact.what] if impact.what in text.ENVIRONMENTS else [])]


def _called(kind: str) -> str:
    return text.ENVIRONMENTS.get(kind) or " ".join(LABELS[Risk[kind.upper()]])


def _style(kind: str) -> str:
    """Return the style of a risk; other changes have none."""
    return "" if kind == "changes" else mermaid.CLASS.get(kind, "")


def _choice(kind: str, words: str, count: int) -> str:
    own = f'id="only-{kind}"' if kind else "checked"
    return (
        f'<label><input type="radio" name="only" {own}><span>{_text(words)}</span>'
        f" <b>{count}</b></label>"
    )


def _environment(impact: EnvironmentImpact, *, is_open: bool) -> Iterator[str]:
    kinds = _kinds(impact)
    style = _style(kinds[0]) if kinds else ""
    classes = " ".join(["environment", style, *(f"is-{kind}" for kind in kinds)])
    size = len(impact.names)
    yield f'<details class="{classes}" data-count="{size}"{" open" * is_open}><summary>'
    yield f"<h3>{_text(layout.called(impact.names))}</h3>"
    for kind in kinds:
        yield f'<span class="chip {_style(kind)}">{_text(_called(kind))}</span>'
    yield '</summary><div class="inside">'
    yield _names(impact)
    if impact.summary:
        items = "".join(f"<li>{_text(line)}</li>" for line in impact.summary)
        yield f'<ul class="effects">{items}</ul>'
    for risk, effects in text.by_risk(impact.effects):
        kind = risk.name.lower()
        yield f'<section class="{_style(kind)}"><h4>{_text(_called(kind))}</h4><ul class="effects">'
        yield from map(_effect, effects)
        yield "</ul></section>"
    if impact.components or impact.steps:
        yield from _plan(impact)
    if impact.objects:
        count = f"{len(impact.objects)} object{'' if len(impact.objects) == 1 else 's'}"
        yield f"<details><summary>{count}, field by field</summary>"
        yield from map(_objects, grouped(impact.objects))
        yield "</details>"
    yield "</div></details>"


def _names(impact: EnvironmentImpact) -> str:
    """Return links to the environments that share this section."""
    names = (quote(f"environment/{name}") for name in impact.names)
    links = [
        f'<a id="{link}" href="#{link}">{_text(name)}</a>'
        for link, name in zip(names, impact.names, strict=True)
    ]
    first = f"{links[0]}, namespace {_text(impact.namespace)}"
    others = f"; the same happens to {', '.join(links[1:])}" if links[1:] else ""
    return f'<p class="names quiet">{first}{others}</p>'


def _effect(effect: Effect) -> str:
    reason = f'<p class="quiet">because {_text(effect.reason)}</p>' if effect.reason else ""
    do = f'<p class="do"><b>do:</b> {_text(effect.procedure)}</p>' if effect.procedure else ""
    return f"<li><p>{_text(effect.message)}</p>{reason}{do}</li>"


def _plan(impact: EnvironmentImpact) -> Iterator[str]:
    """Yield the components with their calls, and the order of the sync."""
    yield '<div class="plan">'
    if impact.components:
        label = escape(f"the components of {impact.names[0]}")
        yield "<section><h4>Components and their calls</h4>"
        yield f'<div class="picture" role="group" aria-label="{label}" tabindex="0">'
        yield f"{svg.svg(impact.components)}</div></section>"
    if impact.steps:
        steps = "".join(map(_step, impact.steps))
        yield f'<section><h4>Order of the sync</h4><ol class="steps">{steps}</ol></section>'
    yield "</div>"


def _step(step: Step) -> str:
    wave = "after all" if step.wave is None else f"wave {step.wave}"
    restarts = f"<p>restarts {_text(text.restarts(step))}</p>" if step.pods else ""
    what = "deletes" if step.wave is None else "changes"
    changes = f'<p class="quiet">{what} {_listed(step.objects)}</p>' if step.objects else ""
    return f"<li><b>{wave}</b>{restarts}{changes}</li>"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(_text, names))


def _objects(group: list[ObjectChange]) -> str:
    """Return objects with the same changes."""
    names = ", ".join(_text(each.name) for each in group)
    files = "<br>".join(_text(each.file) for each in group)
    fields = "".join(map(_field, group[0].fields))
    return (
        f'<div class="object"><h5>{names}: {_text(text.becomes(group[0]))}</h5>'
        f"<small>{files}</small>{f'<dl>{fields}</dl>' if fields else ''}</div>"
    )


def _field(field: FieldChange) -> str:
    lines = list(field.lines)
    if not lines:
        lines += [] if field.old is None else [f"-{field.old}"]
        lines += [] if field.new is None else [f"+{field.new}"]
    return f"<dt>{_text(field.path)}</dt><dd>{''.join(map(_line, lines))}</dd>"


def _line(line: str) -> str:
    """Return a line of a diff; the sign has the same meaning as the colour."""
    tag = {"-": "del", "+": "ins"}.get(line[:1], "span")
    return f"<{tag}>{_text(line[:1])} {_text(line[1:])}</{tag}>"
