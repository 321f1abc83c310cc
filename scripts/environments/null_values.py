"""Nulls in the values: each removes a default, and the chart needs most of them."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.core import paths
from scripts.core.findings import Finding
from scripts.core.yamlio import Document

_MOST_SHOWN = 4
"""The maximum number of keys in the finding for a null that removes them."""


def finding(layers: Sequence[Document], path: list[str | int], fix: str) -> Finding | None:
    """Return the finding for a null that removes a default which the chart needs, if it is one.

    layers: the files of values, the chart's first; the last that has the path decides.
    """
    chart, *own = layers
    layer = next((layer for layer in reversed(own) if paths.has(layer.data, path)), None)
    if layer is None or paths.get(layer.data, path) is not None:
        return None
    default = paths.get(chart.data, path)
    removed = "its default"
    if isinstance(default, dict) and default:
        keys = [*map(str, default)]
        shown = ", ".join(keys[:_MOST_SHOWN]) + (", …" if keys[_MOST_SHOWN:] else "")
        removed = f"its keys ({shown})"
    message = f"{'.'.join(map(str, path))} is empty, which removes {removed}"
    return layer.finding("null-removes-defaults", path, message, fix)
