"""Fixes: what to write instead, in words and, where a program can do it, as edits.

Both come from the same parts, so the words can't say anything else than the edits do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from scripts.core import paths
from scripts.core.edits import Action, Edit
from scripts.core.paths import ValuePath


@dataclass(frozen=True, slots=True)
class Change:
    """An edit at a place that is only known with the finding."""

    action: Action
    key: tuple[str | int, ...]
    """Relative to the place of the finding, see `place`; empty for that place itself."""
    value: Any = None
    is_whole: bool = False
    """Whether the key is a whole path, from the root."""

    def place(self, path: ValuePath, data: Any) -> tuple[str | int, ...]:
        """Return the path in the data that is meant, for a finding at a path.

        A key that begins with a name in the path is the last one there. Otherwise it belongs to
        the mapping at the path or, if there is none, beside it.
        """
        if self.is_whole:
            return self.key
        for index in reversed(range(len(path))):
            if self.key and path[index] == self.key[0]:
                return (*path[:index], *self.key)
        is_inside = not self.key or not path or isinstance(paths.get(data, path), dict)
        return (*(path if is_inside else path[:-1]), *self.key)


class Fix(str):
    """A fix in words, with its changes; a text without any is a fix that only people can do."""

    __slots__ = ("changes", "is_safe", "values")
    changes: tuple[Change, ...]
    values: tuple[Change, ...]
    """The changes of the environment's values, whose keys are whole paths."""
    is_safe: bool
    """Whether it is right whatever was intended, so that no one needs to choose."""

    def __new__(
        cls,
        words: str,
        changes: Sequence[Change] = (),
        values: Sequence[Change] = (),
        *,
        is_safe: bool = True,
    ) -> Self:
        """Return the fix."""
        self = super().__new__(cls, words)
        self.changes, self.values, self.is_safe = tuple(changes), tuple(values), is_safe
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, bool]]:
        """Return how pickle and copy create it again."""
        return (str(self), self.changes, self.values), {"is_safe": self.is_safe}

    def __add__(self, more: str) -> Fix:
        """Return the fix with more words, and with the changes of both."""
        changes, values, is_safe = self.changes, self.values, self.is_safe
        if isinstance(more, Fix):
            changes, values = (*changes, *more.changes), (*values, *more.values)
            is_safe = is_safe and more.is_safe
        return Fix(str.__add__(self, more), changes, values, is_safe=is_safe)

    def __radd__(self, before: str) -> Fix:
        """Return the fix with words before it."""
        return Fix(before + str(self), self.changes, self.values, is_safe=self.is_safe)

    def __str__(self) -> str:
        """Return the words alone."""
        return str.__str__(self)

    def without_verb(self) -> Fix:
        """Return the fix without its first word, to follow after another one."""
        return Fix(self.partition(" ")[2], self.changes, self.values, is_safe=self.is_safe)

    def unless(self, words: str) -> Fix:
        """Return the fix with words that say when another one is right: people must choose."""
        return Fix(str.__add__(self, words), self.changes, self.values, is_safe=False)

    def if_slip(self, wrong: str, right: str) -> Fix:
        """Return the fix, safe only if one slip of the hand makes the wrong word of the right one.

        Otherwise the most similar word may be another one than was meant.
        """
        return Fix(self, self.changes, self.values, is_safe=self.is_safe and is_slip(wrong, right))

    def edits(self, file: str, path: ValuePath, data: Any, number: int = 0) -> tuple[Edit, ...]:
        """Return the edits of a file with the data, for a finding at a path in it.

        number: of the document with the data, if the file has several, from 0.
        """
        places = [change.place(path, data) for change in self.changes]
        return tuple(
            Edit(file, change.action, place, change.value, paths.get(data, place), number)
            for change, place in zip(self.changes, places, strict=True)
        )


_ALIKE = 0.8
_SHORT = 4
"""Letters: shorter words are alike by chance, such as cpu and gpu."""


def is_slip(wrong: str, right: str) -> bool:
    """Return whether a word is another one with a slip: letters of it, or its case or hyphens."""
    one, other = (re.sub("[-_. ]", "", word).lower() for word in (wrong, right))
    if difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() >= _ALIKE:
        return True
    if min(len(one), len(other)) < _SHORT:
        return one == other
    # A single letter: another, one more, one less, or two exchanged.
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if start is None:
        return abs(len(one) - len(other)) <= 1
    tails = {one[start:], one[start + 1 :]}, {other[start:], other[start + 1 :]}
    exchanged = one[start : start + 2] == other[start : start + 2][::-1]
    return bool(tails[0] & tails[1]) or (exchanged and one[start + 2 :] == other[start + 2 :])
