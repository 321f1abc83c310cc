"""Versions of Besu and Maru, as the tags of their images name them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TAG = re.compile(r"v?(\d+(?:\.\d+)+)(?:-(\d{8,14})(?!\d))?")


@dataclass(frozen=True, slots=True)
class Release:
    """A version of a program."""

    name: str
    """The last part of the image's repository: besu."""
    numbers: tuple[int, ...]
    built: int
    """When it was built, as digits that can be compared; 0 if the tag does not say it."""
    shown: str
    """As people write it: 25.11.0; with its date if the tag has one."""
    tag: str
    """The whole tag."""

    def is_older_than(self, other: Release) -> bool:
        """Return whether it is certainly an older version of the same program."""
        if self.name != other.name:
            return False
        if self.numbers != other.numbers or not (self.built and other.built):
            return self.numbers < other.numbers
        return self.built < other.built


def release(image: object) -> Release | None:
    """Return the version that an image's tag names; None if it names none, as latest.

    Besu compares the part of its version before the first dash: VersionMetadata.java.
    """
    name = str(image).partition("@")[0]
    program, _, tag = name.rpartition("/")[2].partition(":")
    found = _TAG.match(tag)
    if not found or tag[found.end() :][:1] not in ("", "-"):
        return None
    numbers = tuple(int(part) for part in found[1].split("."))
    return Release(program, numbers, int(found[2] or 0), found[0], tag)
