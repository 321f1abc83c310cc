"""Reject files of the chart that would be rendered otherwise in another clone.

Templates and files are rendered with the bytes that they have here, and checksums in annotations
are made of them. Git stores text with LF (.gitattributes), so an editor of Windows makes checksums
that no other clone has: https://git-scm.com/docs/gitattributes, `text`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import lru_cache
from pathlib import Path

from scripts.core import backup_files, safe_files
from scripts.core.findings import Finding, UserError

_READ = ("templates", "files")
"""The folders whose contents are rendered."""

_RETURN = re.compile(rb"\r")
_CONFLICT = re.compile(rb"^(<<<<<<< |>>>>>>> )", re.M)
_CONTROL = re.compile(rb"[\x01-\x08\x0B\x0E-\x1F\x7F]")
_MARKS = (b"\xff\xfe", b"\xfe\xff")
_POINTER = b"version https://git-lfs.github.com/spec/"
"""The beginning of a file whose contents Git LFS has:
https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md"""


@lru_cache
def reject(chart: Path, root: Path) -> None:
    """Raise UserError for files that Helm can't read, must not read, or would read otherwise."""
    ignore = chart / ".helmignore"
    ignored = ignore.read_text("utf-8", "replace").split() if ignore.is_file() else []
    is_ignored = re.compile("|".join(map(translate, ignored)) or r"(?!)").match
    paths = [
        path
        for path in sorted(chart.rglob("*"))
        if not backup_files.is_of_system(path.name) and not is_ignored(path.name)
    ]
    # Helm reads every file in templates/: a backup would define its templates again, as they were.
    findings = [_backup(path, root) for path in paths if backup_files.original(path.name)]
    if findings:
        raise UserError(*findings)
    safe_files.reject_unreadable(paths, root)
    findings = _other_bytes(chart, root, paths)
    if findings:
        raise UserError(*findings)


def _backup(path: Path, root: Path) -> Finding:
    names = [each.name for each in path.parent.iterdir()]
    message = "the file is a backup, which Helm could read as a part of the chart"
    fix = str(backup_files.instruction(path.name, names))
    return Finding(safe_files.name(path, root), 0, 0, "unused-file", message, fix)


def _other_bytes(chart: Path, root: Path, paths: Iterable[Path]) -> list[Finding]:
    """Return a finding for each kind of bytes that no text of the chart may have."""
    kinds: tuple[tuple[Callable[[bytes], bool], str, str], ...] = (
        (
            lambda raw: b"\r" in raw and b"\0" not in raw,
            (
                "has Windows line ends (CR LF), but git stores LF: checksums in the rendered pods "
                "differ from those of every other clone"
            ),
            "run perl -pi -e 's/\\r//g' {}",
        ),
        (
            lambda raw: raw.startswith(b"\xef\xbb\xbf"),
            (
                "begins with a byte order mark, which shells, Besu and Maru read as part of its "
                "first line"
            ),
            "run perl -pi -e 's/^\\xEF\\xBB\\xBF//' {}",
        ),
        (
            lambda raw: _CONFLICT.search(raw) is not None,
            "has an unresolved merge conflict (<<<<<<<), so programs can't read it",
            "keep one version, and remove the lines <<<<<<<, ======= and >>>>>>> in {}",
        ),
        (
            lambda raw: _CONTROL.search(raw) is not None and b"\0" not in raw,
            "has an invisible control character, which shells and parsers read as part of the text",
            "run perl -pi -e 's/[\\x01-\\x08\\x0B\\x0E-\\x1F\\x7F]//g' {}",
        ),
        (
            lambda raw: raw.startswith(_MARKS),
            "is UTF-16, but Helm and the programs in the pods read UTF-8",
            "save it as UTF-8 in your editor: {}",
        ),
        (
            lambda raw: raw.startswith(_POINTER),
            "is only a pointer of Git LFS: its contents are not here",
            "run git lfs pull --include {}",
        ),
    )
    texts = {
        safe_files.name(path, root): path.read_bytes()
        for path in paths
        if path.relative_to(chart).parts[0] in _READ and path.is_file()
    }
    findings = []
    for is_wrong, problem, command in kinds:
        wrong = [file for file, raw in texts.items() if is_wrong(raw)]
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            message = f"the file{more} {problem}"
            joint = "," if "--include" in command else " "
            fix = command.format(joint.join(map(shlex.quote, wrong)))
            signs = {"CR LF": _RETURN, "conflict": _CONFLICT, "control": _CONTROL}
            sign = next((each for name, each in signs.items() if name in problem), None)
            place = sign.search(texts[wrong[0]]) if sign else None
            line = texts[wrong[0]].count(b"\n", 0, place.start()) + 1 if place else 1
            findings.append(Finding(wrong[0], line, 1, "other-bytes-in-git", message, fix))
    return findings
