"""The components of an environment and what happens to them, as SVG for a page. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from scripts.impact.formats import mermaid
from scripts.impact.report import Component

_WIDTH, _HEIGHT = 188, 54
"""Size of a box; page.css must have the same."""
_BETWEEN, _HEADING = 12, 24
_EDGE = 14
_LETTERS = 20
"""Number of letters for which a box has room."""
_NEAREST, _FARTHER, _FARTHEST = 34, 26, 320
"""How far an arrow bends: to the next box, more for each box between, and at most."""

SHARED = (
    '<svg class="shared" aria-hidden="true"><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4"'
    ' markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></svg>'
)
"""Shared by all drawings of a page; the page contains it once."""


def svg(components: Sequence[Component]) -> str:
    """Return a drawing: boxes in the order of waves, and an arrow for each call.

    All sizes are in CSS pixels.
    """
    drawn, tops, y = list[str](), dict[str, int](), 0
    wave = None
    for component in components:
        if component.wave != wave:
            wave = component.wave
            y += _HEADING
            drawn.append(f'<text class="wave" x="{_EDGE}" y="{y - 7}">wave {wave}</text>')
        tops[component.name] = y
        drawn.append(_box(component, y))
        y += _HEIGHT + _BETWEEN
    arrows = list(_arrows(components, tops))
    widest = max((bend for _, bend in arrows), default=0)
    # A curve reaches three quarters of the distance to its control points.
    width = 2 * _EDGE + _WIDTH + widest * 3 // 4
    label = escape(" ".join(_sentences(components)))
    return (
        f'<svg role="img" aria-label="{label}" width="{width}" height="{y}"'
        f' viewBox="0 0 {width} {y}">{"".join(path for path, _ in arrows)}{"".join(drawn)}</svg>'
    )


def _arrows(components: Sequence[Component], tops: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield each call as a curve from the lower half of a box to the upper half of another.

    The second value is the distance of its control points.
    """
    rows = {name: row for row, name in enumerate(tops)}
    x = _EDGE + _WIDTH
    for component in components:
        for target in component.calls:
            if target in tops:
                distance = abs(rows[target] - rows[component.name])
                bend = min(_NEAREST + _FARTHER * (distance - 1), _FARTHEST)
                y, end = tops[component.name] + _HEIGHT * 2 // 3, tops[target] + _HEIGHT // 3
                line = f"M{x} {y}C{x + bend} {y} {x + bend} {end} {x} {end}"
                yield f'<path d="{line}"/>', bend


def _box(component: Component, y: int) -> str:
    title = f"{component.title} × {component.pods}"
    shown = title if len(title) <= _LETTERS else f"{title[: _LETTERS - 1]}…"
    mark = mermaid.mark(component)
    style = f' class="{mermaid.CLASS[component.mark]}"' if component.mark else ""
    x, middle = _EDGE + 14, y + (23 if mark else 32)
    words = (
        f'<text class="mark" x="{x}" y="{y + 42}">{escape(mark, quote=False)}</text>'
        if mark
        else ""
    )
    return (
        f"<g{style}><title>{escape(f'{component.name}: {title}', quote=False)}</title>"
        f'<rect x="{_EDGE}" y="{y}"/>'
        f'<text class="title" x="{x}" y="{middle}">{escape(shown, quote=False)}</text>{words}</g>'
    )


def _sentences(components: Sequence[Component]) -> Iterator[str]:
    """Yield a sentence about each component, for screen readers."""
    titles = {each.name: each.title for each in components}
    for each in components:
        calls = ", ".join(titles[name] for name in each.calls if name in titles)
        parts = [f"wave {each.wave}: {each.title} × {each.pods}", mermaid.mark(each)]
        parts.append(f"calls {calls}" if calls else "")
        yield f"{', '.join(part for part in parts if part)}."
