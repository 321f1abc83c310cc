"""The overview for people: as text for a terminal, and as Markdown. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from scripts.impact.formats.text import WIDTH, clean, escaped
from scripts.overview.formats import words
from scripts.overview.report import Environment, Overview

MOST = 10
"""Up to this number of environments, the text shows all of each; of more, only the tables."""

_TITLE = 16
"""Characters before what is said of an environment."""


def text(overview: Overview) -> str:
    """Return the overview for a terminal."""
    lines = [words.heading(overview), words.sources(overview), "", *_glance(overview)]
    if len(overview.environments) > MOST:
        lines += ["", "to see all about some of them, name them: nox -s overview -- NAME …"]
    else:
        for environment in overview.environments:
            lines += ["", environment.name, *_section(environment)]
    return clean("\n".join(lines)) + "\n"


def _glance(overview: Overview) -> Iterator[str]:
    """Yield one line for each environment, in columns."""
    rows = [_columns(environment) for environment in overview.environments]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _columns(environment: Environment) -> tuple[str, ...]:
    live = environment.live
    state = ", ".join(filter(None, (live.sync, live.health))) or "not read" if live else ""
    return (
        environment.name,
        words.release(environment),
        f"Kubernetes {environment.kubernetes.version}",
        state,
        words.LEVELS[environment.level],
    )


def _section(environment: Environment) -> Iterator[str]:
    for one in environment.attention:
        yield from _wrapped("! now" if one.level == "urgent" else "! soon", one.words)
    for title, lines in words.facts(environment):
        for index, line in enumerate(lines):
            yield from _wrapped(title if not index else "", line)


def _wrapped(title: str, line: str) -> list[str]:
    return textwrap.wrap(
        line,
        WIDTH,
        initial_indent=f"  {title}".ljust(_TITLE),
        subsequent_indent=" " * _TITLE,
        break_on_hyphens=False,
        break_long_words=False,
    )


def markdown(overview: Overview) -> str:
    """Return the overview as Markdown for GitHub: tables of all, details folded away."""
    title = f"### Overview: {escaped(words.heading(overview))}"
    lines = [title, "", f"{escaped(words.sources(overview))}.", ""]
    lines += _table(
        ("environment", "release", "Kubernetes", "needs attention"),
        [_row(environment) for environment in overview.environments],
    )
    lines += ["", *_table(("component", "image", "digest", "environments"), _rows(overview))]
    for environment in overview.environments:
        lines += ["", f"<details><summary>{escaped(environment.name)}</summary>", ""]
        lines += [
            f"- **{title}**: {'<br>'.join(map(escaped, said))}"
            for title, said in words.facts(environment)
        ]
        lines += ["", "</details>"]
    return clean("\n".join(lines)) + "\n"


def _row(environment: Environment) -> tuple[str, ...]:
    live = _columns(environment)[3]
    attention = [*([live] if live else []), *(one.words for one in environment.attention)]
    kubernetes = environment.kubernetes
    return (
        escaped(environment.name),
        escaped(words.release(environment)),
        f"{escaped(kubernetes.version)}, {escaped(kubernetes.words)}",
        "<br>".join(map(escaped, attention)) or "nothing",
    )


def _rows(overview: Overview) -> list[tuple[str, ...]]:
    return [
        tuple(map(escaped, (component, image.name, words.digest(image), ", ".join(names))))
        for component, image, names in words.by_image(overview)
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
