"""Ask the clusters of environments what Argo CD reports and what differs from git; only reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from scripts.core.findings import UsageError
from scripts.live.drift import drift
from scripts.live.report import Drift
from scripts.overview import report
from scripts.overview.report import Live, Overview


def with_live(root: Path, overview: Overview, contexts: Mapping[str, str]) -> Overview:
    """Return the overview with what the clusters say.

    contexts: environment → the kubectl context of its cluster; empty for the current one. A cluster
    that cannot be asked is a problem of its environment, and the others are shown all the same.
    """
    environments = (
        report.with_attention(replace(each, live=_live(root, each.name, contexts[each.name])))
        for each in overview.environments
    )
    return replace(overview, environments=tuple(environments))


def _live(root: Path, name: str, context: str) -> Live:
    try:
        found = drift(root, name, context)
    except UsageError as error:
        return Live("", "", "", None, " ".join(str(error).split()))
    return live(found)


def live(found: Drift) -> Live:
    """Return a comparison in short."""
    state, misfits = found.state, found.misfits
    lines = tuple(
        f"{each.name}: {each.message or _CALLED.get(each.what, each.what)}"
        for each in found.objects
    )
    if state is None:
        return Live("", "", "", lines, "", misfits)
    return Live(state.sync, state.health, state.revision, lines, "", misfits)


_CALLED = {
    "changed": "differs",
    "missing": "is not on the cluster",
    "extra": "is no longer in git",
    "foreign": "is neither in git nor known to Argo CD",
    "invalid": "the API server rejects git's version",
}
"""What happened to an object → in words."""
