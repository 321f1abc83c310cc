"""The components of an environment with what happens to them, as SVG of a page. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from scripts.impact.formats import mermaid
from scripts.impact.report import Component

_WIDTH, _HEIGHT = 188, 54
"""Of a box, as page.css draws it."""
_BETWEEN, _HEADING = 12, 24
_EDGE = 14
_LETTERS = 20
"""As many as a box has room for."""
_NEAREST, _FARTHER, _FARTHEST = 34, 26, 320
"""How far an arrow bends out to the next box, with each box between, and at most."""

SHARED = (
    '<svg class="shared" aria-hidden="true"><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4"'
    ' markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></svg>'
)
"""What all drawings of a page use, once in it."""


def svg(components: Sequence[Component]) -> str:
    """Return a drawing: boxes below each other by their waves, arrows to whom a component calls.

    All sizes are in CSS pixels.
    """
    drawn, tops, y = list[str](), dict[str, int](), 0
    wave = None
    for one in components:
        if one.wave != wave:
            wave = one.wave
            y += _HEADING
            drawn.append(f'<text class="wave" x="{_EDGE}" y="{y - 7}">wave {wave}</text>')
        tops[one.name] = y
        drawn.append(_box(one, y))
        y += _HEIGHT + _BETWEEN
    arrows = list(_arrows(components, tops))
    widest = max((bend for _, bend in arrows), default=0)
    # A curve comes three quarters of the way to the points that bend it.
    width = 2 * _EDGE + _WIDTH + widest * 3 // 4
    told = escape(" ".join(_told(components)))
    return (
        f'<svg role="img" aria-label="{told}" width="{width}" height="{y}"'
        f' viewBox="0 0 {width} {y}">{"".join(path for path, _ in arrows)}{"".join(drawn)}</svg>'
    )


def _arrows(components: Sequence[Component], tops: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield each call as a line from the lower half of a box to the upper half of another.

    With how far the points are that bend it.
    """
    rows = {name: row for row, name in enumerate(tops)}
    x = _EDGE + _WIDTH
    for one in components:
        for target in one.calls:
            if target in tops:
                apart = abs(rows[target] - rows[one.name])
                bend = min(_NEAREST + _FARTHER * (apart - 1), _FARTHEST)
                y, end = tops[one.name] + _HEIGHT * 2 // 3, tops[target] + _HEIGHT // 3
                line = f"M{x} {y}C{x + bend} {y} {x + bend} {end} {x} {end}"
                yield f'<path d="{line}"/>', bend


def _box(one: Component, y: int) -> str:
    title = f"{one.title} × {one.pods}"
    shown = title if len(title) <= _LETTERS else f"{title[: _LETTERS - 1]}…"
    mark = mermaid.marked(one)
    style = f' class="{mermaid.CLASS[one.mark]}"' if one.mark else ""
    x, middle = _EDGE + 14, y + (23 if mark else 32)
    words = (
        f'<text class="mark" x="{x}" y="{y + 42}">{escape(mark, quote=False)}</text>'
        if mark
        else ""
    )
    return (
        f"<g{style}><title>{escape(f'{one.name}: {title}', quote=False)}</title>"
        f'<rect x="{_EDGE}" y="{y}"/>'
        f'<text class="title" x="{x}" y="{middle}">{escape(shown, quote=False)}</text>{words}</g>'
    )


def _told(components: Sequence[Component]) -> Iterator[str]:
    """Yield a sentence of each component, for who listens to the page."""
    titles = {one.name: one.title for one in components}
    for one in components:
        calls = ", ".join(titles[name] for name in one.calls if name in titles)
        parts = [f"wave {one.wave}: {one.title} × {one.pods}", mermaid.marked(one)]
        parts.append(f"calls {calls}" if calls else "")
        yield f"{', '.join(part for part in parts if part)}."
