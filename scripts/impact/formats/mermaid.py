"""The components of an environment with what happens to them, as Mermaid. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.impact.effects.effect import CALLED, Risk
from scripts.impact.report import Component, Environment

_STYLES = {
    "bad": ("#ffd7d5", "#cf222e"),
    "care": ("#fff8c5", "#9a6700"),
    "new": ("#dafbe1", "#1a7f37"),
    "gone": ("#eaeef2", "#6e7781"),
}
"""Class → fill and stroke, which are told apart in light and in dark."""
CLASS = {
    **dict.fromkeys(("blocked", "data", "stops"), "bad"),
    **dict.fromkeys(("opens", "waits", "restarts", "costs", "changes"), "care"),
    "new": "new",
    "gone": "gone",
}
"""Mark of a component → its style: bad, care, new or gone."""


def mermaid(one: Environment) -> Iterator[str]:
    """Yield the lines of a flowchart: who calls whom, what changes marked in words and colour."""
    yield "flowchart LR"
    numbers = {each.name: f"c{index}" for index, each in enumerate(one.components)}
    for each in one.components:
        style = f":::{CLASS[each.mark]}" if each.mark else ""
        yield f'  {numbers[each.name]}["{_label(each)}"]{style}'
    for each in one.components:
        for target in each.calls:
            if target in numbers:
                yield f"  {numbers[each.name]} --> {numbers[target]}"
    used = {CLASS[each.mark] for each in one.components if each.mark}
    for name, (fill, stroke) in _STYLES.items():
        if name in used:
            yield f"  classDef {name} fill:{fill},stroke:{stroke},color:#1f2328"


def marked(one: Component) -> str:
    """Return a component's mark as people see it: a sign and words; empty for none."""
    if one.mark.upper() in Risk.__members__:
        return " ".join(CALLED[Risk[one.mark.upper()]])
    return one.mark


def _label(one: Component) -> str:
    mark = marked(one)
    pods = f"{one.title} × {one.pods}"
    # A label that is no valid one must not leave its quotes.
    pods = "".join(sign if sign.isalnum() or sign in " -×→" else " " for sign in pods)
    return f"{pods}<br/>{mark}" if mark else pods
