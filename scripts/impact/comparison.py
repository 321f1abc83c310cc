"""Two sides of an environment → what a change does to it. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from scripts.impact.compare import difference
from scripts.impact.compare.difference import Change
from scripts.impact.compare.revisions import Pair
from scripts.impact.effects.all_effects import consequences
from scripts.impact.effects.context import NOTHING, Changed, Context, context
from scripts.impact.effects.effect import Consequence, Risk
from scripts.impact.effects.prediction import outcome
from scripts.impact.effects.resources import taken
from scripts.impact.report import Component, Environment, Field, Object, Step
from scripts.kubernetes import resilience, sync
from scripts.kubernetes.manifest import Identity, Manifest

_HASH = re.compile(r"[0-9a-f]{64}")
_LONGEST = 300
"""Characters of a value that are shown."""


def environment(pair: Pair) -> Environment:
    """Return what happens to one environment."""
    if pair.old is None or pair.new is None:
        return _whole(pair)
    found = context(pair.old, pair.new)
    told = consequences(found)
    objects = tuple(_objects(found, told, pair.files))
    what = "changed" if told or any(one.what != "spelling" for one in objects) else "spelling"
    return Environment(
        names=(pair.name,),
        namespace=pair.new.namespace,
        what=what,
        summary=(),
        consequences=tuple(told),
        objects=objects,
        components=tuple(_components(found, told)) if what == "changed" else (),
        steps=tuple(_steps(found)),
        outcome=outcome(found),
    )


def _whole(pair: Pair) -> Environment:
    """Return a summary of an environment that comes or goes."""
    side = pair.new or pair.old
    assert side is not None
    kinds = Counter(manifest.kind for manifest in side.manifests)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    lines = [f"{len(side.manifests)} objects in namespace {side.namespace}: {counted}"]
    if pair.new:
        lines.append(f"at its largest it takes {', '.join(taken(side))}")
        lines.append(resilience.words(side.manifests, side.zones))
    else:
        lines.append(
            "nothing is deleted: its Application and all that it made stay until a person removes"
            " them (argocd/README.md, “Removing an environment from its cluster”)"
        )
    what = "new" if pair.new else "gone"
    return Environment((pair.name,), side.namespace, what, tuple(lines), (), (), (), (), None)


def _objects(
    found: Context, told: Sequence[Consequence], files: Sequence[Mapping[Identity, str]]
) -> Iterator[Object]:
    """Yield what differs, that with the worst consequences first."""
    risks: dict[str, Risk] = {}
    for one in told:
        for name in one.objects:
            risks[name] = min(one.risk, risks.get(name, one.risk))
    changed = list(found.all_changed)
    for old, new in (
        (found.old.application, found.new.application),
        (found.old.project, found.new.project),
    ):
        if old.object and new.object and old.object != new.object:
            changed.append(Changed(old, new, difference.between(old, new)))
    known = {one.manifest.identity for one in changed}
    for manifest in found.new.manifests:
        places = [one.get(manifest.identity) for one in files]
        if manifest.identity not in known and places[0] and places[0] != places[1]:
            changed.append(Changed(manifest, manifest, NOTHING))
    objects = [_object(one, files, risks) for one in changed]
    yield from sorted(objects, key=lambda one: (Risk[one.risk.upper()], one.name))


def _object(
    changed: Changed, files: Sequence[Mapping[Identity, str]], risks: Mapping[str, Risk]
) -> Object:
    manifest = changed.manifest
    was, now = (one.get(manifest.identity, "") for one in files)
    moved_from = was if changed.stays and was != now else ""
    if not changed.stays:
        what = "added" if changed.new else "removed"
    elif changed.difference.changes:
        what = "changed"
    else:
        what = "moved" if moved_from else "spelling"
    return Object(
        name=manifest.label,
        what=what,
        file=now or was,
        moved_from=moved_from,
        risk=risks.get(manifest.label, Risk.CHANGES).name.lower(),
        fields=tuple(map(_field, changed.difference.changes)),
    )


def _field(change: Change) -> Field:
    old, new = (
        None if value is None else _one_line(difference.compact(value))
        for value in (change.old, change.new)
    )
    path = difference.shown(change.path)
    return Field(f"{path} ({change.note})" if change.note else path, old, new, change.lines)


def _one_line(text: str) -> str:
    text = text if text.isprintable() else json.dumps(text)
    if _HASH.fullmatch(text):
        return f"{text[:12]}…"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _components(found: Context, told: Sequence[Consequence]) -> Iterator[Component]:
    """Yield the workloads of both sides, in the order of their waves."""
    old = {one.manifest.label: one for one in found.old.workloads}
    new = {one.manifest.label: one for one in found.new.workloads}
    calls: dict[str, set[str]] = {}
    for call in found.new.calls:
        names = (target.manifest.label for target in call.targets)
        calls.setdefault(call.source.manifest.label, set()).update(names)
    every = {**old, **new}
    for label in sorted(every, key=lambda one: (sync.wave_of(every[one].manifest), one)):
        was, now = old.get(label), new.get(label)
        counts = [f"{one.least}" if one else "0" for one in (was, now)]
        risks = [one.risk for one in told if label in one.objects]
        mark = min(risks).name.lower() if risks else ""
        if was is None or now is None:
            mark = "new" if now else "gone"
        yield Component(
            name=label,
            title=_title(every[label].manifest),
            wave=sync.wave_of(every[label].manifest),
            pods=counts[1] if counts[0] == counts[1] else " → ".join(counts),
            mark=mark,
            calls=tuple(sorted(calls.get(label, set()) - {label})),
        )


def _title(manifest: Manifest) -> str:
    return resilience.CALLED.get(manifest.component, manifest.component or manifest.name)


def _steps(found: Context) -> Iterator[Step]:
    """Yield the waves in which something changes, with the pods that restart in each."""
    waves: dict[int, tuple[list[str], list[tuple[str, ...]]]] = {}
    for one in found.changed:
        if one.new:
            waves.setdefault(sync.wave_of(one.new), ([], []))[0].append(one.new.label)
    for each in map(found.pods, found.rollouts):
        pods = waves.setdefault(sync.wave_of(each.workload.manifest), ([], []))[1]
        pods += [tuple(dict.fromkeys(each.restarted))] if each.restarted else []
    for wave, (objects, pods) in sorted(waves.items()):
        if objects or pods:
            yield Step(wave, tuple(objects), tuple(pods))
    goes, asks, _ = found.prunes
    if goes or asks:
        yield Step(None, (*goes, *asks), ())
