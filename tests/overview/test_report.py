"""What needs attention in an environment, and how urgently."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.overview.report import (
    Capacity,
    Environment,
    Image,
    Live,
    Overview,
    Placeholder,
    Waiver,
    with_attention,
)

IMAGE = Image("besu", "besu:1", "")
PINNED = Image("besu", "besu:1", f"sha256:{'0' * 64}")
LIVE = Live("Synced", "Healthy", "a" * 40, (), "")


@pytest.fixture
def fine(shown: Overview) -> Environment:
    """Return an environment in which nothing needs attention."""
    prod = next(each for each in shown.environments if each.name == "prod")
    kubernetes = replace(prod.kubernetes, state="supported")
    found = replace(
        prod, kubernetes=kubernetes, images=(PINNED,), capacity=(), waivers=(), placeholders=()
    )
    assert with_attention(found).level == ""
    return found


def full(percent: int, of: str = "quota") -> tuple[Capacity, ...]:
    return (Capacity("pods", "20", "21", percent, of),)


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({"images": (IMAGE,)}, "soon", "besu:1 has no digest: run nox -s images"),
        ({"images": (IMAGE,), "is_production": False}, "", ""),
        ({"images": ()}, "urgent", "no pod is committed: run nox -s render, and commit"),
        ({"capacity": full(89)}, "", ""),
        ({"capacity": full(95)}, "soon", "quota: pods 20 of 21 (95 %)"),
        ({"capacity": full(101)}, "urgent", "quota: pods 20 of 21 (101 %)"),
        ({"capacity": full(95, "node")}, "", ""),
        ({"waivers": (Waiver("r", "Pod/a", "2026-12-31", 31),)}, "", ""),
        (
            {"waivers": (Waiver("r", "Pod/a", "2026-12-30", 30),)},
            "soon",
            "the waiver of r for Pod/a ends on 2026-12-30",
        ),
        ({"placeholders": (Placeholder("a", "b", 1),)}, "urgent", "1 placeholder to replace"),
        ({"placeholders": (Placeholder("a", "a", 1),), "is_example": True}, "", ""),
        ({"live": LIVE}, "", ""),
        ({"live": replace(LIVE, sync="OutOfSync")}, "urgent", "Argo CD reports OutOfSync"),
        ({"live": replace(LIVE, health="Degraded")}, "urgent", "Argo CD reports Degraded"),
        ({"live": replace(LIVE, health="Progressing")}, "", ""),
        ({"live": replace(LIVE, drift=("a", "b"))}, "urgent", "2 objects differ from git"),
        (
            {"live": replace(LIVE, misfits=("a",))},
            "urgent",
            "context and environment do not fit: a",
        ),
        ({"live": Live("", "", "", None, "why")}, "soon", "the cluster was not read: why"),
    ],
)  # fmt: skip
def test_what_needs_attention(
    fine: Environment, change: dict[str, object], level: str, words: str
) -> None:
    found = with_attention(replace(fine, **change))  # type: ignore[arg-type]
    assert found.level == level
    assert [one.words for one in found.attention] == ([words] if words else [])


@pytest.mark.parametrize(
    ("state", "level"),
    [
        ("supported", ""),
        ("soon", "soon"),
        ("extended", "soon"),
        ("ended", "urgent"),
        ("unknown", ""),
    ],
)
def test_the_end_of_kubernetes_needs_attention(fine: Environment, state: str, level: str) -> None:
    kubernetes = replace(fine.kubernetes, state=state)
    assert with_attention(replace(fine, kubernetes=kubernetes)).level == level


def test_the_urgent_comes_first(fine: Environment) -> None:
    live = replace(LIVE, sync="OutOfSync")
    found = with_attention(replace(fine, images=(IMAGE,), live=live))
    assert [one.level for one in found.attention] == ["urgent", "soon"]
