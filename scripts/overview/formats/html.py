"""The overview as one HTML file in the look of impact's page: no network, a script only to search.

Everything that comes from files is escaped; the frame allows only its own style and script.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from scripts.impact.formats import shell
from scripts.impact.formats.text import clean
from scripts.overview.formats import words
from scripts.overview.report import Attention, Environment, Overview

_OPEN = 3
"""Up to this number of environments, all are open."""

_STYLES = {"urgent": "bad", "soon": "care", "": "new"}
"""Level → the style of its colour."""


def page(overview: Overview) -> str:
    """Return the overview as a self-contained page."""
    style, script = shell.look()
    style += Path(__file__).with_name("overview.css").read_text("utf-8")
    title = f"Overview: {words.heading(overview)}"
    return clean(shell.page(title, "\n".join(_body(overview)), style, script))


def _text(said: str) -> str:
    return escape(said, quote=False)


def _body(overview: Overview) -> Iterator[str]:
    yield '<a class="skip" href="#environments">Skip to the environments</a>'
    yield f'<header><p class="kicker">Overview</p><h1>{_text(words.heading(overview))}</h1>'
    yield f'<p class="quiet">{_text(words.sources(overview))}</p></header>'
    yield "<main>"
    yield from _filters(overview)
    yield '<section aria-labelledby="environments">'
    yield '<h2 id="environments" tabindex="-1">Environments</h2>'
    for environment in overview.environments:
        yield from _environment(environment, is_open=len(overview.environments) <= _OPEN)
    yield "</section>"
    yield '<section aria-labelledby="images"><h2 id="images">Which image runs where</h2>'
    yield from _table(
        "images",
        ("component", "image", "digest", "environments"),
        [
            (component, image.name, words.digest(image), ", ".join(names))
            for component, image, names in words.by_image(overview)
        ],
    )
    yield "</section></main>"


def _filters(overview: Overview) -> Iterator[str]:
    """Yield the number of environments by what needs attention, as a filter, and the search."""
    counts = Counter(environment.level for environment in overview.environments)
    yield '<section class="filters" aria-labelledby="summary"><h2 id="summary">Summary</h2>'
    yield '<fieldset class="risks"><legend>Number of environments; choose one to filter them'
    yield "</legend>"
    yield _choice("", "all", len(overview.environments))
    for level, said in words.LEVELS.items():
        if level in counts:
            yield _choice(level or "fine", said, counts[level])
    yield '</fieldset><div class="search" hidden><label for="filter">Search environments, images'
    yield "and words (<kbd>/</kbd>)</label>"
    yield '<input id="filter" type="search" autocomplete="off" spellcheck="false">'
    yield '<p class="quiet" role="status"></p></div></section>'


def _choice(kind: str, said: str, count: int) -> str:
    own = f'id="only-{kind}"' if kind else "checked"
    return (
        f'<label><input type="radio" name="only" {own}><span>{_text(said)}</span>'
        f" <b>{count}</b></label>"
    )


def _environment(environment: Environment, *, is_open: bool) -> Iterator[str]:
    level = environment.level
    style = _STYLES[level]
    classes = f"environment {style} is-{level or 'fine'}"
    yield f'<details class="{classes}" data-count="1"{" open" * is_open}><summary>'
    yield f"<h3>{_text(environment.name)}</h3>"
    yield f'<span class="chip {style}">{words.LEVELS[level]}</span>'
    for chip in _chips(environment):
        yield f'<span class="chip">{_text(chip)}</span>'
    yield '</summary><div class="inside">'
    link = quote(f"environment/{environment.name}")
    yield f'<p class="names quiet"><a id="{link}" href="#{link}">{_text(environment.name)}</a></p>'
    if environment.attention:
        yield f'<div class="{style}"><h4>Needs attention</h4><ul class="effects">'
        yield from map(_attention, environment.attention)
        yield "</ul></div>"
    yield '<dl class="facts">'
    for title, lines in words.facts(environment):
        if title != "capacity":
            said = "".join(f"<span>{_text(line)}</span>" for line in lines)
            yield f"<dt>{_text(title)}</dt><dd>{said}</dd>"
    yield "</dl>"
    if environment.capacity:
        yield from _capacity(environment)
    yield "</div></details>"


def _chips(environment: Environment) -> Iterator[str]:
    yield words.release(environment)
    yield f"Kubernetes {environment.kubernetes.version}"
    if environment.is_example:
        yield "example"
    if environment.live:
        yield from filter(None, (environment.live.sync, environment.live.health))


def _attention(one: Attention) -> str:
    when = "now" if one.level == "urgent" else "soon"
    return f"<li><p><b>{when}:</b> {_text(one.words)}</p></li>"


def _capacity(environment: Environment) -> Iterator[str]:
    """Yield a table of what is used of quotas and of the smallest node, the fullest first."""
    fullest = sorted(environment.capacity, key=lambda each: -each.percent)
    rows = [
        (one.resource, one.used, one.limit, f"{one.percent} %", one.of)
        for one in fullest
        if one.limit != "0" or one.used != "0"
    ]
    yield f"<details><summary>{len(rows)} resources against quota and node</summary>"
    name = f"capacity of {environment.name}"
    yield from _table(name, ("resource", "used at most", "limit", "share", "of"), rows)
    yield "</details>"


def _table(name: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    label = escape(f"table: {name}")
    yield f'<div class="table" role="group" aria-label="{label}" tabindex="0"><table><thead><tr>'
    yield "".join(f'<th scope="col">{_text(cell)}</th>' for cell in head)
    yield "</tr></thead><tbody>"
    for first, *others in rows:
        cells = "".join(f"<td>{_text(cell)}</td>" for cell in others)
        yield f'<tr><th scope="row">{_text(first)}</th>{cells}</tr>'
    yield "</tbody></table></div>"
