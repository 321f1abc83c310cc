"""Move a release, images and values from one environment to another, as far as they were tried."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.core import git, paths, safe_files, yaml_edits, yamlio
from scripts.core.edits import Action, CannotApplyError, Edit
from scripts.core.findings import Finding, UsageError, UserError
from scripts.core.yamlio import Document
from scripts.environments import environment, releases
from scripts.environments.environment import Environment
from scripts.promotion import history
from scripts.promotion.history import Period, State

_UNITS_S = {"m": 60, "h": 3600, "d": 86400}
_MOST_TAGS = 20
_IMAGE = ("repository", "tag", "digest")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to promote, as a person says it."""

    source: str
    target: str
    release: str = ""
    """Empty for that of the source."""
    moves_release: bool = True
    images: bool = False
    values: tuple[str, ...] = ()
    forced: str = ""
    """Why the soak time is cut short; empty if it is not."""
    downgrades: bool = False


@dataclass(slots=True)
class Promotion:
    """What changes in the target."""

    title: str = ""
    """For a commit."""
    lines: list[str] = field(default_factory=list)
    """For people: what changes, and why it may."""
    edits: list[Edit] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def plan(root: Path, wanted: Wanted, now_s: float) -> Promotion:
    """Return what changes in the target.

    now_s: in seconds since 1970. Raises UserError for what the source has not run, or not for long
    enough, and UsageError if there is nothing that could be promoted.
    """
    if wanted.source == wanted.target:
        raise UsageError(f"{wanted.source} can't be promoted to itself: name two environments")
    target = environment.load(root, wanted.target)
    branch = releases.branch_of(root, target.repository["revision"])
    states = history.states(root, branch, wanted.source)
    if not states:
        raise UsageError(f"{branch} has no environment {wanted.source}: merge it first")
    made = Promotion()
    soak = _Soak(target, wanted, branch, now_s)
    if wanted.moves_release:
        _release(root, made, target, states, soak)
    keys = [key.split(".") for key in wanted.values]
    if wanted.images:
        keys += _images(states[0].values, _own(root, wanted.target).data)
    _values(root, made, keys, states, soak)
    if made.findings:
        raise UserError(*made.findings)
    return made


@dataclass(frozen=True, slots=True)
class _Soak:
    """How long the source must have had something before the target may have it."""

    target: Environment
    wanted: Wanted
    branch: str
    now_s: float

    @property
    def soak_s(self) -> int:
        """Return the soak time of the target; 0 if it has none."""
        written = str(self.target.soak)
        return int(written[:-1]) * _UNITS_S[written[-1]] if written else 0

    def check(self, made: Promotion, period: Period, what: str) -> None:
        """Note how long the source has had something, and a finding if that is too short."""
        lasted = period.lasted_s(self.now_s)
        source, name = self.wanted.source, self.target.name
        had = f"since {_time(period.since_s)}"
        if period.until_s is not None:
            had = f"from {_time(period.since_s)} to {_time(period.until_s)}"
        made.lines.append(f"{source} has had {what} on {self.branch} {had} ({_long(lasted)})")
        if lasted >= self.soak_s:
            return
        if self.wanted.forced:
            made.lines.append(
                f"that is less than the soak time of {name}, {self.target.soak}, but forced: "
                f"{self.wanted.forced}"
            )
            return
        message = (
            f"{source} has had {what} for {_long(lasted)}, and the soak time of {name} is "
            f"{self.target.soak}"
        )
        fix = 'if it can\'t wait, add --force "WHY"'
        if period.until_s is None:
            later = _time(period.since_s + self.soak_s)
            fix = f"promote it after {later}; {fix}"
        made.findings.append(_at(self.target, "soak", "not-soaked", message, fix))


def _release(
    root: Path, made: Promotion, target: Environment, states: Sequence[State], soak: _Soak
) -> None:
    """Add the change of the target's release."""
    wanted, newest = soak.wanted, states[0]
    periods = list(history.periods(states, [state.trees for state in states]))
    release, trees = wanted.release or newest.release, newest.trees
    release = release or _named(root, trees) or periods[0].first.commit
    found = releases.find(root, release)
    if isinstance(found, releases.Unknown):
        raise UsageError(f"{found.message}: {found.fix}")
    if wanted.release:
        trees = found.trees
    if target.release == release:
        made.lines.append(f"{target.name} has {release} already")
        return
    period = next((p for p in periods if p.first.trees == trees), None)
    if period is None:
        has = newest.release or f"the chart of {soak.branch}"
        message = f"{wanted.source} has never had {release} on {soak.branch}; it has {has}"
        fix = f"promote {release} to {wanted.source} first, and let it run there"
        made.findings.append(_at(target, "release", "not-run", message, fix))
        return
    soak.check(made, period, releases.label(release))
    if not wanted.downgrades:
        made.findings += _downgrade(root, target, found, soak.branch)
    made.findings += releases.off_branch(
        root, release, target.repository["revision"], target.document
    )
    old = paths.get(target.document.data, ["release"])
    made.edits.append(Edit(target.document.file, Action.WRITE, ("release",), release, old))
    made.title = f"Promote {releases.label(release)} from {wanted.source} to {target.name}"
    before = target.release or f"the chart of {soak.branch}"
    made.lines.append(f"{target.name}: release {before} → {releases.label(release)}")


def _named(root: Path, trees: tuple[str, ...]) -> str:
    """Return the latest tag with these chart/ and base/; empty if there is none."""
    for tag in list(reversed(releases.tags(root)))[:_MOST_TAGS]:
        found = releases.find(root, tag)
        if isinstance(found, releases.Release) and found.trees == trees:
            return tag
    return ""


def _downgrade(
    root: Path, target: Environment, new: releases.Release, branch: str
) -> Iterator[Finding]:
    """Yield a finding if the target has a later commit of chart/ and base/ now."""
    old = releases.find(root, target.release) if target.release else None
    commit = old.commit if isinstance(old, releases.Release) else branch
    if not target.release:
        # Without a release it has what the branch has.
        tip = git.ask(root, "rev-parse", "--verify", f"{branch}^{{commit}}").strip()
        if releases.trees(root, tip) == new.trees:
            return
    is_older = releases.is_ancestor(root, new.commit, commit)
    if is_older and not releases.is_ancestor(root, commit, new.commit):
        now = target.release or f"the chart of {branch}"
        message = f"{new.name} is older than what {target.name} has, {now}"
        fix = "to go back, add --downgrade; git revert of the last promotion does the same"
        yield _at(target, "release", "downgrade", message, fix)


def _values(
    root: Path,
    made: Promotion,
    keys: Sequence[Sequence[str]],
    states: Sequence[State],
    soak: _Soak,
) -> None:
    """Add the changes of the target's own values."""
    if not keys:
        return
    wanted, name = soak.wanted, soak.target.name
    own = _own(root, name)
    changed = list[str]()
    for key in keys:
        new, old = paths.get(states[0].values, key), paths.get(own.data, key)
        dotted = ".".join(key)
        if not paths.has(states[0].values, key) and not paths.has(own.data, key):
            raise UsageError(f"neither {wanted.source} nor {name} sets {dotted} in its values.yaml")
        if new == old:
            made.lines.append(f"{name}: {dotted} is the same")
            continue
        changed.append(dotted)
        if paths.has(states[0].values, key):
            made.edits.append(Edit(own.file, Action.WRITE, tuple(key), new, old))
            made.lines.append(f"{name}: {dotted} {_shown(old)} → {_shown(new)}")
        else:
            made.edits.append(Edit(own.file, Action.REMOVE, tuple(key), None, old))
            made.lines.append(
                f"{name}: {dotted} {_shown(old)} is removed, as {wanted.source} has none"
            )
    if changed:
        what = [[paths.get(state.values, key) for key in keys] for state in states]
        named = ", ".join(changed)
        soak.check(made, next(history.periods(states, what)), named)
        made.title = made.title or f"Promote {named} from {wanted.source} to {name}"


def _images(source: Any, target: Any) -> list[list[str]]:
    """Return the keys of the parts of images that one of the two sets."""
    found = dict.fromkeys((*_parts_of_images(source, ()), *_parts_of_images(target, ())))
    return [list(key) for key in found]


def _parts_of_images(data: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key, value in data.items() if isinstance(data, Mapping) else ():
        if key in _IMAGE and re.search(r"image$", path[-1] if path else "", re.IGNORECASE):
            yield (*path, key)
        else:
            yield from _parts_of_images(value, (*path, key))


def written(root: Path, edits: Sequence[Edit]) -> dict[str, str]:
    """Return file → its text with the edits; raises UsageError if they do not fit."""
    texts = dict[str, str]()
    for file in dict.fromkeys(edit.file for edit in edits):
        own = [edit for edit in edits if edit.file == file]
        path = root / file
        exists = path in safe_files.entries(path.parent, root)
        text = safe_files.read(path, root).decode("utf-8") if exists else ""
        try:
            texts[file] = yaml_edits.applied(text, own)
        except CannotApplyError:
            keys = ", ".join(".".join(map(str, edit.path)) for edit in own)
            raise UsageError(
                f"{file}: can't change {keys} and keep all comments: edit it"
            ) from None
    return texts


def _own(root: Path, name: str) -> Document:
    """Return an environment's own values.yaml; it may be missing."""
    path = root / "overlays" / name / "values.yaml"
    if path in safe_files.entries(path.parent, root):
        return yamlio.load(path, root)
    return Document(safe_files.name(path, root), {}, None)


def _at(target: Environment, key: str, rule: str, message: str, fix: str) -> Finding:
    return target.document.finding(rule, [key], message, fix)


def _shown(value: Any) -> str:
    return "(unset)" if value is None else yamlio.flow(value)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _long(seconds: float) -> str:
    """Return how long that is, in its two largest units."""
    minutes = max(int(seconds // 60), 0)
    parts = (
        (minutes // 1440, "day"),
        (minutes % 1440 // 60, "hour"),
        (minutes % 60, "minute"),
    )
    shown = [f"{count} {unit}{'s' if count > 1 else ''}" for count, unit in parts if count]
    return " ".join(shown[:2]) or "less than a minute"
