"""A comparison for people: as text for a terminal, and as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from scripts.impact.formats import text as impact_text
from scripts.impact.formats.text import clean, escaped, wrapped
from scripts.live.report import Drift, ObjectDrift

_MOST = 12
"""Fields of an object that a terminal shows."""
_REST = "--format json shows all"
_KINDS: Mapping[str, str] = {
    "changed": "changed on the cluster (git → cluster)",
    "invalid": "git's version is rejected by the API server",
    "missing": "missing on the cluster",
    "extra": "no longer in git",
    "foreign": "not in git, and not of Argo CD",
}
"""What differs → in words, in the order of the report."""


def heading(drift: Drift) -> str:
    """Return the line that says what was compared, and how much differs."""
    count = len(drift.objects)
    differ = f"{count} object{'' if count == 1 else 's'} differ{'s' if count == 1 else ''}"
    if not count:
        differ = f"no drift in {drift.compared} objects"
    where = f"{drift.context}, {drift.server}, Kubernetes {drift.kubernetes_version}"
    return f"{drift.environment}: {differ} ({where})"


def state(drift: Drift) -> str:
    """Return what Argo CD reports, in one line; empty without an Application."""
    if not (found := drift.state):
        return ""
    at = f" at {found.revision[:12]}" if found.revision else ""
    last = f"; last sync {found.phase}: {found.message}" if found.phase else ""
    return f"Argo CD: {found.sync}, {found.health}{at}{last}"


def text(drift: Drift) -> str:
    """Return the comparison for a terminal."""
    lines = [heading(drift)]
    if found := state(drift):
        lines += wrapped(found, "  ", "    ")
    for title, messages in (
        ("CONTEXT AND ENVIRONMENT DO NOT FIT", drift.misfits),
        ("NOTE", drift.notes),
    ):
        lines += ["", f"  {title}"] if messages else []
        for message in messages:
            lines += wrapped(message, "    ", "      ")
    for what, objects in by_kind(drift.objects):
        lines += ["", f"  {_KINDS[what].upper()}"]
        for each in objects:
            lines += _object(each)
    return clean("\n".join(lines)) + "\n"


def by_kind(objects: Sequence[ObjectDrift]) -> Iterator[tuple[str, list[ObjectDrift]]]:
    """Yield each kind of difference with its objects."""
    for what in _KINDS:
        if own := [each for each in objects if each.what == what]:
            yield what, own


def _object(each: ObjectDrift) -> Iterator[str]:
    said = f"{each.name}: {each.message}" if each.message else each.name
    yield from wrapped(said, "    ", "      ")
    if each.file:
        yield f"      {each.file}"
    for field in each.fields[:_MOST]:
        yield from (f"      {line}" for line in impact_text.field_lines(field, _REST))
    left = len(each.fields) - _MOST
    if left > 0:
        yield f"      … {left} more field{'' if left == 1 else 's'}; {_REST}"


def markdown(drift: Drift) -> str:
    """Return the comparison as Markdown."""
    lines = [f"### {escaped(heading(drift))}", ""]
    if found := state(drift):
        lines += [escaped(found), ""]
    for title, messages in (
        ("Context and environment do not fit", drift.misfits),
        ("Note", drift.notes),
    ):
        lines += (
            [f"**{title}**", *(f"- {escaped(message)}" for message in messages), ""]
            if messages
            else []
        )
    for what, objects in by_kind(drift.objects):
        words = _KINDS[what]
        lines += [f"**{words[:1].upper()}{words[1:]}**", ""]
        for each in objects:
            said = f": {escaped(each.message)}" if each.message else ""
            lines.append(f"- **{escaped(each.name)}**{said}")
            shown = [line for field in each.fields for line in impact_text.diff_lines(field)]
            if shown:
                fence = impact_text.fence_of(shown)
                lines += ["", *(f"  {line}" for line in (f"{fence}diff", *shown, fence)), ""]
        lines.append("")
    return clean("\n".join(lines).rstrip("\n")) + "\n"
