"""Apply the edits of findings to the inputs: what `nox -s validate -- --fix` does."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.core import safe_files, yaml_edits
from scripts.core.edits import CannotApplyError, Edit
from scripts.core.findings import Finding, Replacement, UsageError, UserError
from scripts.environments import environment

MOST_ROUNDS = 20
"""Each round applies the edits of one validation; the next one finds what they made visible."""

_INPUT = re.compile(
    r"overlays/[^/]+/(environment\.yaml|values\.yaml|(patches|objects)/[^/]+\.yaml)"
    r"|base/(environment|values|(profiles|patches|objects)/[^/]+)\.yaml"
)
"""The files that are edited: not what render writes, the chart, or network.yaml with a chain's
identity."""

_BYTE_ORDER_MARK = "\ufeff"

Validate = Callable[[], list[Finding]]


@dataclass
class Fixed:
    """What was done: the files as they were, and as they are."""

    old: dict[str, str | None] = field(default_factory=dict)
    """Path → text before all edits; None for a new file."""
    new: dict[str, str] = field(default_factory=dict)
    count: int = 0
    """Findings whose edits were applied."""

    def diff(self) -> str:
        """Return the changes as a unified diff."""
        parts = [
            difflib.unified_diff(
                (self.old[file] or "").splitlines(keepends=True),
                self.new[file].splitlines(keepends=True),
                f"a/{file}" if self.old[file] is not None else "/dev/null",
                f"b/{file}",
            )
            for file in sorted(self.new)
        ]
        lines = (line if line.endswith("\n") else f"{line}\n" for part in parts for line in part)
        return "".join(lines)


def fix(
    root: Path, validate: Validate, *, unsafe: bool, fixed: Fixed | None = None
) -> tuple[Fixed, list[Finding]]:
    """Apply edits as long as a finding has one; return what was done, and what is left.

    validate: returns the findings of the inputs as they then are, with their edits.
    unsafe: also apply edits that are not right in all cases.
    fixed: where to note what is done, in case that something interrupts it.
    Raises UsageError if a file can't be written.
    """
    fixed, tried = fixed or Fixed(), set[str]()
    for _ in range(MOST_ROUNDS):
        findings = validate()
        wanted = [each for each in findings if each.edits and (each.is_safe or unsafe)]
        texts = _Texts(root)
        for finding in wanted:
            if repr(finding.edits) not in tried and texts.apply(finding.edits):
                tried.add(repr(finding.edits))
                fixed.count += 1
        if not texts.new:
            return fixed, findings
        for file, text in texts.new.items():
            _write(root, file, text)
            fixed.old.setdefault(file, texts.old[file])
            fixed.new[file] = text
        environment.forget()
    return fixed, validate()


def offered(root: Path, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, without edits that are not possible, or not in a file of the inputs."""
    return [
        finding
        if not finding.edits or replacements(root, finding)
        else replace(finding, edits=(), is_safe=False)
        for finding in sorted(set(findings))
    ]


def replacements(root: Path, finding: Finding) -> tuple[Replacement, ...]:
    """Return the edits of a finding as replaced lines; none if they are not possible."""
    texts = _Texts(root)
    if not texts.apply(finding.edits):
        return ()
    found = [_replaced(file, texts.old[file] or "", new) for file, new in texts.new.items()]
    return tuple(each for part in found for each in part)


def suggested(root: Path, findings: Iterable[Finding]) -> Mapping[Finding, Sequence[Replacement]]:
    """Return the replaced lines for each finding that has edits."""
    return {finding: replacements(root, finding) for finding in findings if finding.edits}


def _replaced(file: str, old: str, new: str) -> Iterator[Replacement]:
    """Yield the lines of a file that differ."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for tag, first, end, start, stop in matcher.get_opcodes():
        if tag != "equal":
            yield Replacement(file, first + 1, end + 1, "".join(after[start:stop]))


class _Texts:
    """The texts of files with the edits of one round."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.old: dict[str, str | None] = {}
        self.new: dict[str, str] = {}
        self._edited: dict[str, list[Edit]] = {}

    def apply(self, edits: Sequence[Edit]) -> bool:
        """Apply the edits of a finding; return False if one of them can't be applied now."""
        by_file: dict[str, list[Edit]] = {}
        for edit in edits:
            by_file.setdefault(edit.file, []).append(edit)
        new = dict[str, str]()
        try:
            for file, own in by_file.items():
                if not _INPUT.fullmatch(file) or self._is_taken(file, own):
                    return False
                new[file] = yaml_edits.applied(self.text(file), own)
        except (CannotApplyError, UserError, UnicodeDecodeError):
            return False
        if all(self.text(file) == text for file, text in new.items()):
            return False
        self.new |= new
        for file, own in by_file.items():
            self._edited.setdefault(file, []).extend(own)
        return True

    def text(self, file: str) -> str:
        """Return the text of a file; empty if it does not exist."""
        if file not in self.old:
            path = self.root / file
            exists = path in safe_files.entries(path.parent, self.root)
            if path.is_symlink():
                raise CannotApplyError
            raw = safe_files.read(path, self.root).decode("utf-8") if exists else None
            self.old[file] = raw
        text = self.new.get(file, self.old[file] or "")
        if text.startswith(_BYTE_ORDER_MARK):
            raise CannotApplyError
        return text

    def _is_taken(self, file: str, edits: Sequence[Edit]) -> bool:
        """Return whether other edits changed the same part, or the items of a list around it."""
        for edit in edits:
            for other in self._edited.get(file, ()):
                if edit.document != other.document:
                    continue
                shorter = min(len(edit.path), len(other.path))
                if edit.path[:shorter] == other.path[:shorter]:
                    return True
                above = other.path[:-1]
                has_moved = isinstance(other.path[-1], int) and edit.path[: len(above)] == above
                if has_moved:
                    return True
        return False


def _write(root: Path, file: str, text: str) -> None:
    """Write a file in one step, with the permissions that it has."""
    path = root / file
    new = path.with_suffix(".new")
    try:
        new.write_bytes(text.encode())
        if path.exists():
            new.chmod(path.stat().st_mode)
        os.replace(new, path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise UsageError(f"can't write {file}: {error.strerror}") from error
