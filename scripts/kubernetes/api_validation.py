"""The API server's own validation, without an API server: tools/admission.

The program is built for each pinned minor version of Kubernetes. It merges, defaults and validates
objects as the API server does, and so finds what no schema says. It does not know custom resources,
admission plugins (quotas, pod security, webhooks), or what depends on other objects.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.core import programs, schema_messages, toolchain
from scripts.core.findings import UsageError
from scripts.core.schema_messages import label
from scripts.kubernetes import minor_version
from scripts.kubernetes.manifest import Manifest, Where

TIMEOUT_S = 600
_PROGRAM = "admission-"

Change = tuple[Manifest, Manifest | None]
"""An object and its old version; None if it is new, or replaced."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the API server rejects an object, or its change."""

    manifest: Manifest
    is_change: bool
    """Whether it accepts the object as a new one, but not as an update of the old one."""
    path: Where
    """The field; if it is missing, where it belongs. Empty if no single field is wrong."""
    type: str
    """Kubernetes' name of the kind of error, for example FieldValueInvalid."""
    value: Any
    """The wrong value, if it is a text, a number or a boolean and no Secret's; otherwise None."""
    detail: str
    """What is wrong, in Kubernetes' words."""

    def has_cause(self, name: str, path: Where) -> bool:
        """Return whether a problem of Kind/name at a field has the cause of the rejection.

        It has, if one of the two fields contains the other, or if they are in the same mapping: the
        API server and a rule may name different ones of two fields that exclude each other.
        """
        length = min(len(self.path), len(path))
        is_inside = self.path[:length] == path[:length]
        return self.manifest.label == name and (is_inside or _mapping(self.path) == _mapping(path))


def _mapping(path: Where) -> Where:
    """Return the path of the mapping with a field, or with the list that an item is in."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    return path[:-1]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server answers about some objects."""

    rejections: list[Rejection]
    checked: int
    skipped: Counter[str]
    """apiVersion and kind → the number of objects that were not checked."""


def versions() -> list[str]:
    """Return the minor versions of Kubernetes that can be asked, oldest first."""
    names = (name for name in toolchain.names() if name.startswith(_PROGRAM))
    return sorted((name.removeprefix(_PROGRAM) for name in names), key=minor_version.number)


def nearest(version: str) -> str:
    """Return the newest version that is not newer than this one; the oldest, if all are newer."""
    known = versions()
    older = [each for each in known if minor_version.number(each) <= minor_version.number(version)]
    return older[-1] if older else known[0]


def is_built(version: str) -> bool:
    """Return whether this very version can be asked at once: it takes minutes to build."""
    return version in versions() and toolchain.is_there(f"{_PROGRAM}{version}")


def ask(changes: Sequence[Change], version: str) -> Answer:
    """Return what an API server of a pinned minor version answers about objects and changes.

    Raises UsageError if the program is not available.
    """
    program = toolchain.tool(f"{_PROGRAM}{version}")
    given = "".join(
        json.dumps({"object": new.object} | ({"old": old.object} if old else {})) + "\n"
        for new, old in changes
    )
    done = programs.run([program], "admission", TIMEOUT_S, cwd=program.parent, given=given)
    if done.returncode:
        raise UsageError(f"admission failed with exit code {done.returncode}: {done.stderr}")
    *lines, last = (json.loads(line) for line in done.stdout.splitlines())
    rejections = [
        Rejection(
            changes[line["index"]][0],
            line["operation"] == "update",
            tuple(line["path"]),
            line["type"],
            line.get("value"),
            line["detail"],
        )
        for line in lines
    ]
    return Answer(rejections, last["checked"], Counter(last["skipped"]))


_SUPPORTED = re.compile(r"supported values: (.+)")
_MUST_BE = re.compile(r"must be (.+)")


def sentences(rejection: Rejection, version: str, how: str) -> tuple[str, str]:
    """Return what is wrong, and what to write instead; how: how an immutable field is changed."""
    at = what = label(rejection.path) if rejection.path else rejection.manifest.label
    if rejection.is_change:
        what = f"the change of {at}"
    elif rejection.path and rejection.value is not None:
        what = f"{schema_messages.shown(rejection.value, list(rejection.path))} for {at}"
    is_listed = not rejection.detail or _SUPPORTED.fullmatch(rejection.detail)
    why = "" if is_listed else f": {rejection.detail}"
    return f"Kubernetes {version} rejects {what}{why}; the sync fails", _fix(rejection, at, how)


def _fix(rejection: Rejection, at: str, how: str) -> str:
    """Return what to write instead."""
    if rejection.is_change:
        return f"undo the change; to make it, {how}"
    if supported := _SUPPORTED.fullmatch(rejection.detail):
        return "write one of " + supported[1].replace('"', "")
    if bound := _MUST_BE.fullmatch(rejection.detail):
        return f"write a value that is {bound[1]}"
    if rejection.type == "FieldValueRequired":
        return f"add {at}"
    if rejection.type == "FieldValueDuplicate" or "duplicate entries" in rejection.detail:
        return "remove one of the two, or write another value"
    fields = [part for part in rejection.path if isinstance(part, str)]
    explained = ".".join([rejection.manifest.kind.lower(), *fields])
    return f"write what `kubectl explain {explained}` describes"
