"""The components of an environment and what happens to them, as a Mermaid diagram. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.impact.effects.effect import LABELS, Risk
from scripts.impact.report import Component, EnvironmentImpact

_STYLES = {
    "bad": ("#ffd7d5", "#cf222e"),
    "care": ("#fff8c5", "#9a6700"),
    "new": ("#dafbe1", "#1a7f37"),
    "gone": ("#eaeef2", "#6e7781"),
}
"""Style → fill and stroke, which differ in a light and in a dark theme."""
CLASS = {
    **dict.fromkeys(("blocked", "data", "stops"), "bad"),
    **dict.fromkeys(("opens", "waits", "restarts", "costs", "changes"), "care"),
    "new": "new",
    "gone": "gone",
}
"""Mark of a component → its style: bad, care, new or gone."""


def mermaid(impact: EnvironmentImpact) -> Iterator[str]:
    """Yield the lines of a flowchart of the calls, with changes marked in words and colours."""
    yield "flowchart LR"
    ids = {component.name: f"c{index}" for index, component in enumerate(impact.components)}
    for component in impact.components:
        style = f":::{CLASS[component.mark]}" if component.mark else ""
        yield f'  {ids[component.name]}["{_label(component)}"]{style}'
    for component in impact.components:
        for target in component.calls:
            if target in ids:
                yield f"  {ids[component.name]} --> {ids[target]}"
    used = {CLASS[component.mark] for component in impact.components if component.mark}
    for name, (fill, stroke) in _STYLES.items():
        if name in used:
            yield f"  classDef {name} fill:{fill},stroke:{stroke},color:#1f2328"


def mark(component: Component) -> str:
    """Return a component's mark for people, with sign and words; empty if it has none."""
    if component.mark.upper() in Risk.__members__:
        return " ".join(LABELS[Risk[component.mark.upper()]])
    return {"gone": "removed"}.get(component.mark, component.mark)


def _label(component: Component) -> str:
    words = mark(component)
    pods = f"{component.title} × {component.pods}"
    # An invalid label must not end the quotes around it.
    pods = "".join(sign if sign.isalnum() or sign in " -×→" else " " for sign in pods)
    return f"{pods}<br/>{words}" if words else pods
