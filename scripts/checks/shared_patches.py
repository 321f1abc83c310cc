"""Find optional patches of base/ that change nothing in any environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.checks.summaries import Summary
from scripts.core.findings import Finding
from scripts.environments import layout, patches


def check(root: Path, summaries: Sequence[Summary]) -> list[Finding]:
    """Return a finding for each optional patch of base/ whose target no environment has.

    Only if all environments are checked, and none has a release with other patches.
    """
    folder = root / "base" / "patches"
    is_partial = len(summaries) < len(layout.environments(root))
    if not folder.is_dir() or is_partial or any(each.release for each in summaries):
        return []
    applied = {file for each in summaries for file in each.patches}
    return [
        patch.document.finding(
            "patch-target-not-found",
            ["target"],
            f"no environment has the target {patch.kind}/{patch.name}, so the optional patch "
            "changes nothing",
            "correct the target, or remove the patch",
        )
        for patch in patches.load(folder, root)
        if patch.is_optional and patch.document.file not in applied
    ]
