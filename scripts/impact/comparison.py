"""Compare two revisions of an environment, and return what the change does to it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from scripts.impact.compare import difference
from scripts.impact.compare.revisions import Pair
from scripts.impact.effects.all_effects import all_effects, effects_of_move
from scripts.impact.effects.context import (
    NO_DIFFERENCE,
    ChangedObject,
    Context,
    changes,
    context,
    place,
)
from scripts.impact.effects.effect import Effect, Risk
from scripts.impact.effects.prediction import prediction
from scripts.impact.effects.resources import used
from scripts.impact.report import Component, EnvironmentImpact, ObjectChange, Step, field_change
from scripts.kubernetes import api_validation, resilience, sync
from scripts.kubernetes.api_validation import Rejection
from scripts.kubernetes.manifest import Identity, Manifest
from scripts.rules.snapshot import Objects

Files = Sequence[Mapping[Identity, str]]
"""Object → its file; before and after."""


Ask = Callable[[Sequence[api_validation.Change], str], Sequence[Rejection]]
"""Objects, changes and a version of Kubernetes → what the API server rejects of them."""


def environment_impact(pair: Pair, ask: Ask | None = None) -> EnvironmentImpact:
    """Return what happens to one environment; ask: the API server's validation, if it is there."""
    if pair.old is None or pair.new is None:
        return _new_or_removed(pair)
    change = context(pair.old, pair.new)
    if change.is_moved:
        return _moved(pair.name, change, pair.files)
    if ask and (rejections := ask(changes(change), pair.new.kubernetes_version)):
        change = replace(change, rejections=tuple(rejections))
    effects = all_effects(change)
    objects = tuple(_objects(change, effects, pair.files))
    is_changed = bool(effects) or any(each.what != "spelling" for each in objects)
    return EnvironmentImpact(
        names=(pair.name,),
        namespace=pair.new.namespace,
        what="changed" if is_changed else "spelling",
        summary=(),
        effects=tuple(effects),
        objects=objects,
        components=tuple(_components(change, effects)) if is_changed else (),
        steps=tuple(_steps(change)),
        outcome=prediction(change),
    )


def _new_or_removed(pair: Pair) -> EnvironmentImpact:
    """Return the summary of a new or removed environment."""
    objects = pair.new or pair.old
    assert objects is not None
    kinds = Counter(manifest.kind for manifest in objects.manifests)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    lines = [f"{len(objects.manifests)} objects in namespace {objects.namespace}: {counts}"]
    if pair.new:
        lines.append(f"at most it uses {', '.join(used(objects))}")
        lines.append(resilience.words(objects.manifests, objects.zones))
    else:
        lines.append(
            "nothing is deleted: its Application and all its objects stay until a person removes"
            " them (argocd/README.md, “Removing an environment from its cluster”)"
        )
    return EnvironmentImpact(
        names=(pair.name,),
        namespace=objects.namespace,
        what="new" if pair.new else "gone",
        summary=tuple(lines),
        effects=(),
        objects=(),
        components=(),
        steps=(),
        outcome=None,
    )


def _moved(name: str, change: Context, files: Files) -> EnvironmentImpact:
    """Return the summary of an environment that starts in another namespace or cluster.

    No object there has an old state, and no object of the old place changes: Argo CD only prunes
    what the project allows, and the project allows the new place alone (controller/state.go of
    argoproj/argo-cd v3.5.1, IsLiveResourcePermitted).
    """
    old, new = change.old, change.new
    effects = effects_of_move(change)
    was, now = (place(of.application) for of in (old, new))
    there = f"namespace {now[1]}" if was[0] == now[0] else f"namespace {now[1]} of {now[0]}"
    here = f"namespace {was[1]}" if was[0] == now[0] else f"namespace {was[1]} of {was[0]}"
    stays = (
        f"{len(old.manifests)} objects stay in {here}, and their pods keep running: no one syncs"
    )
    stays += " or deletes them until a person does"
    lines = (
        f"{len(new.manifests)} objects are new in {there}: its pods start with empty volumes",
        stays,
        f"in {there} it uses at most {', '.join(used(new))}",
        resilience.words(new.manifests, new.zones),
    )
    return EnvironmentImpact(
        names=(name,),
        namespace=new.namespace,
        what="moved",
        summary=lines,
        effects=tuple(effects),
        objects=tuple(
            _objects(replace(change, old=_settings(old), new=_settings(new)), effects, files)
        ),
        components=(),
        steps=(),
        outcome=None,
    )


def _settings(objects: Objects) -> Objects:
    """Return an environment without its objects, but with its Application and project."""
    return replace(objects, manifests=())


def _objects(change: Context, effects: Sequence[Effect], files: Files) -> Iterator[ObjectChange]:
    """Yield the objects that differ, the ones with the worst effects first."""
    risks: dict[str, Risk] = {}
    for effect in effects:
        for name in effect.objects:
            risks[name] = min(effect.risk, risks.get(name, effect.risk))
    changed = list(change.all_changed)
    for old, new in (
        (change.old.application, change.new.application),
        (change.old.project, change.new.project),
    ):
        if old.object and new.object and old.object != new.object:
            changed.append(ChangedObject(old, new, difference.between(old, new)))
    known = {each.manifest.identity for each in changed}
    for manifest in change.new.manifests:
        places = [each.get(manifest.identity) for each in files]
        if manifest.identity not in known and places[0] and places[0] != places[1]:
            changed.append(ChangedObject(manifest, manifest, NO_DIFFERENCE))
    objects = [_object(each, files, risks) for each in changed]
    yield from sorted(objects, key=lambda each: (Risk[each.risk.upper()], each.name))


def _object(changed: ChangedObject, files: Files, risks: Mapping[str, Risk]) -> ObjectChange:
    manifest = changed.manifest
    old_file, new_file = (each.get(manifest.identity, "") for each in files)
    moved_from = old_file if changed.is_modified and old_file != new_file else ""
    if not changed.is_modified:
        what = "added" if changed.new else "removed"
    elif changed.difference.changes:
        what = "changed"
    else:
        what = "moved" if moved_from else "spelling"
    return ObjectChange(
        name=manifest.label,
        what=what,
        file=new_file or old_file,
        moved_from=moved_from,
        risk=risks.get(manifest.label, Risk.CHANGES).name.lower(),
        fields=tuple(map(field_change, changed.difference.changes)),
    )


def _components(change: Context, effects: Sequence[Effect]) -> Iterator[Component]:
    """Yield the old and new workloads, in the order of their waves."""
    old = {workload.manifest.label: workload for workload in change.old.workloads}
    new = {workload.manifest.label: workload for workload in change.new.workloads}
    calls: dict[str, set[str]] = {}
    for call in change.new.calls:
        names = (target.manifest.label for target in call.targets)
        calls.setdefault(call.source.manifest.label, set()).update(names)
    workloads = {**old, **new}
    waves = {label: sync.wave_of(workload.manifest) for label, workload in workloads.items()}
    for label in sorted(workloads, key=lambda label: (waves[label], label)):
        before, after = old.get(label), new.get(label)
        counts = [f"{workload.least}" if workload else "0" for workload in (before, after)]
        risks = [effect.risk for effect in effects if label in effect.objects]
        mark = min(risks).name.lower() if risks else ""
        if before is None or after is None:
            mark = "new" if after else "gone"
        yield Component(
            name=label,
            title=_title(workloads[label].manifest),
            wave=waves[label],
            pods=counts[1] if counts[0] == counts[1] else " → ".join(counts),
            mark=mark,
            calls=tuple(sorted(calls.get(label, set()) - {label})),
        )


def _title(manifest: Manifest) -> str:
    return resilience.CALLED.get(manifest.component, manifest.component or manifest.name)


def _steps(change: Context) -> Iterator[Step]:
    """Yield the waves in which something changes, with the pods that restart in each."""
    waves: dict[int, tuple[list[str], list[tuple[str, ...]]]] = {}
    for each in change.changed:
        if each.new:
            waves.setdefault(sync.wave_of(each.new), ([], []))[0].append(each.new.label)
    for rollout in map(change.limited, change.rollouts):
        pods = waves.setdefault(sync.wave_of(rollout.workload.manifest), ([], []))[1]
        pods += [tuple(dict.fromkeys(rollout.restarted))] if rollout.restarted else []
    for wave, (objects, workloads) in sorted(waves.items()):
        if objects or workloads:
            yield Step(wave, tuple(objects), tuple(workloads))
    if change.pruned.deleted or change.pruned.confirmed:
        yield Step(None, (*change.pruned.deleted, *change.pruned.confirmed), ())
