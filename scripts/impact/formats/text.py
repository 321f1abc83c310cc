"""A report for people: as text for a terminal, and as Markdown for a pull request. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from scripts.environments import layout
from scripts.impact.effects.effect import LABELS, Effect, Risk
from scripts.impact.formats import mermaid
from scripts.impact.report import (
    EnvironmentImpact,
    FieldChange,
    ObjectChange,
    Report,
    Step,
    grouped,
)

WIDTH = 100
COMMENT = 65_536
"""Characters of a comment: https://docs.github.com/en/rest/issues/comments."""
_MOST = 8
"""Fields of an object, and groups of objects of an environment, that a terminal shows."""
_MOST_LINES = 40
_ALL = "--format html shows all"
ENVIRONMENTS = {
    "new": "new",
    "gone": "removed from git",
    "moved": "moves to another place",
    "spelling": "differs only in form",
}
"""What an environment is, if its objects don't change in place → in words."""
_OBJECTS = {"added": "new", "spelling": "differs only in form, which the cluster does not see"}
"""What an object is → in words, if they are others."""


def heading(report: Report) -> str:
    """Return the line that says what the report is about; the whole report if nothing changes."""
    to = report.to or "the working tree"
    if not report.environments:
        return f"no environment changes from {report.against} to {to}"
    is_singular = report.changed == 1
    if all(impact.what == "spelling" for impact in report.environments):
        what = "differs only in form" if is_singular else "differ only in form"
    else:
        what = "changes" if is_singular else "change"
    count = f"{report.changed} of {report.count} environments {what}"
    return f"{count} from {report.against} to {to}"


def text(report: Report) -> str:
    """Return the report for a terminal."""
    lines = [heading(report)]
    for impact in report.environments:
        lines += ["", f"{layout.called(impact.names)}{kind(impact)}", *_text_section(impact)]
    return clean("\n".join(lines)) + "\n"


def _text_section(impact: EnvironmentImpact) -> Iterator[str]:
    """Yield the lines about an environment."""
    for line in impact.summary:
        yield from wrapped(line, "  ")
    for risk, effects in by_risk(impact.effects):
        yield f"  {LABELS[risk][1].upper()}"
        for effect in effects:
            yield from wrapped(effect.message, "    ", "      ")
            if effect.reason:
                yield from wrapped(f"because {effect.reason}", "      ")
            if effect.procedure:
                yield from wrapped(f"do: {effect.procedure}", "      ")
    if any(step.pods for step in impact.steps):
        yield "  IN THIS ORDER"
    for step in impact.steps:
        if step.pods:
            yield from wrapped(f"wave {step.wave}: {restarts(step)}", "    ", "      ")
    groups = grouped(impact.objects)
    if groups:
        yield "  OBJECTS"
    for group in groups[:_MOST]:
        names = ", ".join(each.name for each in group)
        yield from wrapped(f"{names}: {becomes(group[0])}", "    ", "      ")
        for field in group[0].fields[:_MOST]:
            yield from (f"      {line}" for line in field_lines(field))
        yield from _left(len(group[0].fields) - _MOST, "field", "      ")
    yield from _left(sum(map(len, groups[_MOST:])), "object", "    ")


def kind(impact: EnvironmentImpact) -> str:
    """Return what follows an environment's name: nothing if it changes."""
    return f": {ENVIRONMENTS[impact.what]}" if impact.what in ENVIRONMENTS else ""


def restarts(step: Step) -> str:
    """Return the pods that are replaced in a wave: the pods of each workload in their order."""
    return "; at the same time ".join(", ".join(pods) for pods in step.pods)


def becomes(change: ObjectChange) -> str:
    """Return in words what happens to an object."""
    if change.what == "moved":
        return f"moved from {change.moved_from}, otherwise unchanged"
    moved = f", moved from {change.moved_from}" if change.moved_from else ""
    return f"{_OBJECTS.get(change.what, change.what)}{moved}"


def wrapped(line: str, indent: str, further: str = "") -> list[str]:
    """Return a line in lines that fit a terminal; further: the indent of the others."""
    return textwrap.wrap(
        line,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=further or indent,
        break_on_hyphens=False,
    )


def _left(count: int, what: str, indent: str, rest: str = _ALL) -> list[str]:
    """Return a line about what is not shown; nothing if all is."""
    plural = "" if count == 1 else "s"
    return [f"{indent}… {count} more {what}{plural}; {rest}"] if count > 0 else []


def by_risk(effects: Sequence[Effect]) -> Iterator[tuple[Risk, list[Effect]]]:
    """Yield the risks of effects, the worst first, each with its effects."""
    for risk in Risk:
        if own := [effect for effect in effects if effect.risk is risk]:
            yield risk, own


def field_lines(field: FieldChange, rest: str = _ALL) -> list[str]:
    """Return the change of a field as lines; rest: how to see more than a terminal shows."""
    if field.lines:
        shown = [f"  {line}" for line in field.lines[:_MOST_LINES]]
        return [
            f"{field.path}:",
            *shown,
            *_left(len(field.lines) - _MOST_LINES, "line", "  ", rest),
        ]
    if field.old is None:
        return [f"{field.path}: + {field.new}"]
    if field.new is None:
        return [f"{field.path}: - {field.old}"]
    return [f"{field.path}: {field.old} → {field.new}"]


def markdown(report: Report, limit: int = COMMENT) -> str:
    """Return the report as Markdown for GitHub: effects first, details folded away.

    limit: characters. A longer report loses first the objects, then the diagrams, and at last the
    environments with the least severe effects.
    """
    title = escaped(f"Impact: {heading(report)}")
    for diagrams, objects in ((True, True), (True, False), (False, False)):
        parts = [
            _section(impact, diagrams=diagrams, objects=objects) for impact in report.environments
        ]
        comment = "\n".join([f"### {title}", *parts])
        if len(comment) <= limit:
            return comment
    note = f"\n… the rest is too long for a comment; `{_command(report)}` shows it\n"
    comment, room = f"### {title}", limit - len(note)
    for part in parts:
        if len(comment) + len(part) + 1 > room:
            break
        comment += f"\n{part}"
    return comment + note


def _command(report: Report) -> str:
    return f"nox -s impact -- --against {report.against}"


def _section(impact: EnvironmentImpact, *, diagrams: bool, objects: bool) -> str:
    return clean("\n".join(_markdown_lines(impact, diagrams=diagrams, objects=objects)))


def _markdown_lines(impact: EnvironmentImpact, *, diagrams: bool, objects: bool) -> Iterator[str]:
    yield from ("", f"#### {escaped(layout.called(impact.names))}{kind(impact)}", "")
    for line in impact.summary:
        yield f"- {escaped(line)}"
    for risk, effects in by_risk(impact.effects):
        sign, words = LABELS[risk]
        yield f"**{sign} {words}**"
        for effect in effects:
            yield f"- {escaped(effect.message)}"
            if effect.reason:
                yield f"  <br>_because {escaped(effect.reason)}_"
            if effect.procedure:
                yield f"  <br>→ {escaped(effect.procedure)}"
        yield ""
    if diagrams and impact.components:
        yield from ("```mermaid", *mermaid.mermaid(impact), "```", "")
    if impact.steps:
        yield from _order(impact)
    if objects and impact.objects:
        yield from _details(impact)


def _order(impact: EnvironmentImpact) -> Iterator[str]:
    """Yield the table of the sync's waves."""
    yield "<details><summary>Order of the sync</summary>"
    yield ""
    yield "| wave | changes | restarts |"
    yield "|---|---|---|"
    for step in impact.steps:
        wave = "after all" if step.wave is None else step.wave
        yield f"| {wave} | {escaped(', '.join(step.objects))} | {escaped(restarts(step))} |"
    yield ""
    yield "</details>"
    yield ""


def _details(impact: EnvironmentImpact) -> Iterator[str]:
    """Yield the changed objects, field by field."""
    count = f"{len(impact.objects)} object{'' if len(impact.objects) == 1 else 's'}"
    yield f"<details><summary>{count}, field by field</summary>"
    yield ""
    for group in grouped(impact.objects):
        names = ", ".join(f"**{escaped(each.name)}**" for each in group)
        yield f"{names}: {escaped(becomes(group[0]))}"
        shown = [line for field in group[0].fields for line in diff_lines(field)]
        if shown:
            fence = fence_of(shown)
            yield from (f"{fence}diff", *shown, fence)
        yield ""
    yield "</details>"


def diff_lines(field: FieldChange) -> list[str]:
    """Return the change of a field as lines of a diff."""
    if field.lines:
        return [f"@@ {field.path} @@", *field.lines]
    old = [] if field.old is None else [f"- {field.path}: {field.old}"]
    new = [] if field.new is None else [f"+ {field.path}: {field.new}"]
    return [*old, *new]


def fence_of(lines: Sequence[str]) -> str:
    """Return a fence that is in none of the lines."""
    fence = "```"
    while any(fence in line for line in lines):
        fence += "`"
    return fence


def clean(text: str) -> str:
    """Return a text without characters that move a terminal's cursor or reverse its direction."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\ufffd" for sign in text)


def escaped(words: str) -> str:
    """Return words that Markdown shows as plain text, even with mentions and HTML in them."""
    for sign in "\\`*_{}[]<>#|":
        words = words.replace(sign, f"\\{sign}" if sign not in "<>" else f"&#{ord(sign)};")
    # GitHub finds mentions after Markdown: an escape does not stop it, a zero-width space does.
    words = words.replace("@", "@\u200b")
    return " ".join(words.split())
