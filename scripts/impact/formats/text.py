"""A report for people: on a terminal, and as the comment of a pull request. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from scripts.environments import layout
from scripts.impact.effects.effect import CALLED, Consequence, Risk
from scripts.impact.formats import mermaid
from scripts.impact.report import Environment, Field, Object, Report, Step, together

WIDTH = 100
COMMENT = 65_536
"""Characters of a comment: https://docs.github.com/en/rest/issues/comments."""
_MOST = 8
"""Fields of an object, and objects of an environment, that a terminal shows."""
_MOST_LINES = 40
_WHOLE = "--format html shows all"
_WHAT = {"added": "new", "removed": "gone", "spelling": "spelt otherwise, the same to a cluster"}


def heading(report: Report) -> str:
    """Return the one line that says what the report is of; all there is, where nothing changes."""
    to = report.to or "the working tree"
    if not report.environments:
        return f"no environment changes from {report.against} to {to}"
    spelt = all(one.what == "spelling" for one in report.environments)
    what = "differ only in their spelling" if spelt else "change"
    if report.changed == 1:
        what = "differs only in its spelling" if spelt else "changes"
    of = f"{report.changed} of {report.count} environments {what}"
    return f"{of} from {report.against} to {to}"


def text(report: Report) -> str:
    """Return the report for a terminal."""
    lines = [heading(report)]
    for one in report.environments:
        lines += ["", f"{layout.called(one.names)}{kind(one)}"]
        for line in one.summary:
            lines += _wrapped(line, "  ")
        for risk, told in by_risk(one.consequences):
            lines.append(f"  {CALLED[risk][1].upper()}")
            for each in told:
                lines += _wrapped(each.message, "    ", "      ")
                lines += _wrapped(f"because {each.reason}", "      ") if each.reason else []
                lines += _wrapped(f"do: {each.procedure}", "      ") if each.procedure else []
        if any(step.pods for step in one.steps):
            lines.append("  IN THIS ORDER")
        for step in one.steps:
            if step.pods:
                lines += _wrapped(f"wave {step.wave}: {restarts(step)}", "    ", "      ")
        groups = together(one.objects)
        if groups:
            lines.append("  OBJECTS")
        for same in groups[:_MOST]:
            names = ", ".join(each.name for each in same)
            lines += _wrapped(f"{names}: {becomes(same[0])}", "    ", "      ")
            for field in same[0].fields[:_MOST]:
                lines += (f"      {line}" for line in _lines(field))
            lines += _left(len(same[0].fields) - _MOST, "field", "      ")
        lines += _left(sum(map(len, groups[_MOST:])), "object", "    ")
    return clean("\n".join(lines)) + "\n"


def kind(one: Environment) -> str:
    """Return what is said behind an environment's name: nothing of one that changes."""
    own = {"new": ": new", "gone": ": no longer in git", "spelling": ": only spelt otherwise"}
    return own.get(one.what, "")


def restarts(one: Step) -> str:
    """Return the pods that are replaced in a wave: those of a workload in their order."""
    return "; at the same time ".join(", ".join(pods) for pods in one.pods)


def becomes(one: Object) -> str:
    """Return in words what becomes of an object."""
    moved = f", moved from {one.moved_from}" if one.moved_from and one.what != "moved" else ""
    if one.what == "moved":
        return f"moved from {one.moved_from}, the same to a cluster"
    return f"{_WHAT.get(one.what, one.what)}{moved}"


def _wrapped(line: str, indent: str, further: str = "") -> list[str]:
    return textwrap.wrap(
        line,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=further or indent,
        break_on_hyphens=False,
    )


def _left(count: int, what: str, indent: str) -> list[str]:
    return (
        [f"{indent}… {count} more {what}{'' if count == 1 else 's'}; {_WHOLE}"] if count > 0 else []
    )


def by_risk(told: Sequence[Consequence]) -> Iterator[tuple[Risk, list[Consequence]]]:
    """Yield each risk that there is with its consequences, the worst first."""
    for risk in Risk:
        if own := [one for one in told if one.risk is risk]:
            yield risk, own


def _lines(field: Field) -> list[str]:
    """Return a field's change in lines."""
    if field.lines:
        shown = [f"  {line}" for line in field.lines[:_MOST_LINES]]
        return [f"{field.path}:", *shown, *_left(len(field.lines) - _MOST_LINES, "line", "  ")]
    if field.old is None:
        return [f"{field.path}: + {field.new}"]
    if field.new is None:
        return [f"{field.path}: - {field.old}"]
    return [f"{field.path}: {field.old} → {field.new}"]


def markdown(report: Report, limit: int = COMMENT) -> str:
    """Return the report as Markdown for GitHub: what happens, and what differs folded away.

    limit: characters; beyond it the objects are left out, then the pictures, at last the
    environments to which the least happens.
    """
    title = _escaped(f"Impact: {heading(report)}")
    for pictures, objects in ((True, True), (True, False), (False, False)):
        parts = [_section(one, pictures=pictures, objects=objects) for one in report.environments]
        found = "\n".join([f"### {title}", *parts])
        if len(found) <= limit:
            return found
    note = f"\n… and more than a comment holds; `{_command(report)}` shows all\n"
    found, room = f"### {title}", limit - len(note)
    for part in parts:
        if len(found) + len(part) + 1 > room:
            break
        found += f"\n{part}"
    return found + note


def _command(report: Report) -> str:
    return f"nox -s impact -- --against {report.against}"


def _section(one: Environment, *, pictures: bool, objects: bool) -> str:
    return clean("\n".join(_lines_of(one, pictures=pictures, objects=objects)))


def _lines_of(one: Environment, *, pictures: bool, objects: bool) -> Iterator[str]:
    yield from ("", f"#### {_escaped(layout.called(one.names))}{kind(one)}", "")
    for line in one.summary:
        yield f"- {_escaped(line)}"
    for risk, told in by_risk(one.consequences):
        sign, words = CALLED[risk]
        yield f"**{sign} {words}**"
        for each in told:
            yield f"- {_escaped(each.message)}"
            if each.reason:
                yield f"  <br>_{_escaped(each.reason)}_"
            if each.procedure:
                yield f"  <br>→ {_escaped(each.procedure)}"
        yield ""
    if pictures and one.components:
        yield from ("```mermaid", *mermaid.mermaid(one), "```", "")
    if one.steps:
        yield from _order(one)
    if objects and one.objects:
        count = f"{len(one.objects)} object{'' if len(one.objects) == 1 else 's'}"
        yield f"<details><summary>{count}, field by field</summary>"
        yield ""
        for same in together(one.objects):
            names = ", ".join(f"**{_escaped(each.name)}**" for each in same)
            yield f"{names}: {_escaped(becomes(same[0]))}"
            shown = [line for field in same[0].fields for line in _diff(field)]
            if shown:
                fence = _fence(shown)
                yield from (f"{fence}diff", *shown, fence)
            yield ""
        yield "</details>"


def _order(one: Environment) -> Iterator[str]:
    yield "<details><summary>the order of the sync</summary>"
    yield ""
    yield "| wave | changes | restarts |"
    yield "|---|---|---|"
    for step in one.steps:
        wave = "after all" if step.wave is None else step.wave
        yield f"| {wave} | {_escaped(', '.join(step.objects))} | {_escaped(restarts(step))} |"
    yield ""
    yield "</details>"
    yield ""


def _diff(field: Field) -> list[str]:
    if field.lines:
        return [f"@@ {field.path} @@", *field.lines]
    was = [] if field.old is None else [f"- {field.path}: {field.old}"]
    now = [] if field.new is None else [f"+ {field.path}: {field.new}"]
    return [*was, *now]


def _fence(lines: Sequence[str]) -> str:
    """Return a fence that none of the lines ends."""
    fence = "```"
    while any(fence in line for line in lines):
        fence += "`"
    return fence


def clean(text: str) -> str:
    """Return a text without signs that move a terminal's cursor, or turn words around."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\ufffd" for sign in text)


def _escaped(words: str) -> str:
    """Return text that Markdown takes for text, also where it names people or has HTML in it."""
    for sign in "\\`*_{}[]<>#|":
        words = words.replace(sign, f"\\{sign}" if sign not in "<>" else f"&#{ord(sign)};")
    # GitHub looks for mentions after Markdown: no escape hides one, a space of no width does.
    words = words.replace("@", "@\u200b")
    return " ".join(words.split())
