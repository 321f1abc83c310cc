"""Find files in an environment's folder that nothing reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from scripts.core import backup_files, safe_files
from scripts.core.findings import Finding

READ = ("environment.yaml", "network.yaml", "values.yaml", "patches", "objects", "manifests")
"""What an environment's folder may contain, apart from notes in Markdown."""


def findings(root: Path, folder: Path) -> Iterable[Finding]:
    """Yield a finding for each file in an environment's folder that is not an input."""
    import difflib

    entries = safe_files.entries(folder, root)
    names = [path.name for path in entries]
    for path in entries:
        if path.name in READ or path.name.startswith(".") or path.suffix == ".md":
            continue
        if backup_files.is_of_system(path.name):
            continue
        near = difflib.get_close_matches(path.name, READ, 1)
        fix = f"remove {path.name}; an environment consists of {', '.join(READ)} and *.md"
        if backup := backup_files.instruction(path.name, names):
            fix = backup
        elif near and near[0] in names:
            fix = f"move what is still needed from {path.name} to {near[0]}, and remove {path.name}"
        elif near:
            fix = f"rename {path.name} to {near[0]}"
        file = safe_files.name(path, root)
        yield Finding(file, 0, 0, "unused-file", "nothing reads this file", fix)
