"""An environment before and after a change, and what several effects are derived from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from scripts.core import paths
from scripts.impact.compare import difference
from scripts.impact.compare.difference import Difference
from scripts.impact.effects import quota_room
from scripts.impact.effects.quota_room import Shortage
from scripts.impact.effects.rollout import Rollout, rollout
from scripts.kubernetes import sync
from scripts.kubernetes.api_validation import Change, Rejection, sentences
from scripts.kubernetes.manifest import Identity, Manifest
from scripts.rules import catalogue
from scripts.rules.changes.compared import HOW, changed_in_place
from scripts.rules.rule import Outcome, Problem, Rule, is_rejected
from scripts.rules.snapshot import Objects, destination

POLICY = ("spec", "syncPolicy", "automated")
"""Path in an Application: what Argo CD does automatically."""

NO_DIFFERENCE = Difference(())


@dataclass(frozen=True, slots=True)
class ChangedObject:
    """An object that a change modifies, adds or removes."""

    old: Manifest | None
    new: Manifest | None
    difference: Difference
    """Empty if the object is added or removed, or differs only in form."""

    @property
    def manifest(self) -> Manifest:
        """Return the new manifest; the old one if the object is removed."""
        manifest = self.new or self.old
        assert manifest is not None
        return manifest

    @property
    def is_modified(self) -> bool:
        """Return whether the object exists before and after the change."""
        return self.old is not None and self.new is not None


@dataclass(frozen=True, slots=True)
class Pruned:
    """Objects that are removed from git, as Kind/name, by what Argo CD does with them."""

    deleted: tuple[str, ...]
    """Deleted at the end of the sync."""
    confirmed: tuple[str, ...]
    """Deleted once a person confirms it."""
    kept: tuple[str, ...]
    """Never deleted."""


@dataclass(frozen=True)
class Context:
    """An environment before and after a change, and what is derived from the two once."""

    old: Objects
    new: Objects
    """It contains the old objects, too, for the rules about changes."""
    rejections: tuple[Rejection, ...] = ()
    """What the API server's own validation rejects of the change; empty if it can't be asked."""

    @property
    def is_moved(self) -> bool:
        """Return whether the environment is in another namespace or cluster than before."""
        apps = self.old.application, self.new.application
        return all(app.object for app in apps) and place(apps[0]) != place(apps[1])

    @cached_property
    def all_changed(self) -> list[ChangedObject]:
        """Return the objects that differ, even only in form, in the order of their waves."""
        old, new = _by_identity(self.old), _by_identity(self.new)
        changed = []
        for key in dict.fromkeys((*old, *new)):
            before, after = old.get(key), new.get(key)
            if before is after:
                continue
            differs = difference.between(before, after) if before and after else NO_DIFFERENCE
            changed.append(ChangedObject(before, after, differs))
        return sorted(changed, key=lambda one: (sync.wave_of(one.manifest), one.manifest.label))

    @cached_property
    def changed(self) -> list[ChangedObject]:
        """Return the objects that differ by more than their form, in the order of their waves."""
        return [
            each for each in self.all_changed if each.difference.changes or not each.is_modified
        ]

    @cached_property
    def rollouts(self) -> list[Rollout]:
        """Return what happens to pods, in the order of waves; within a wave, in no order.

        It ignores quotas: `limited` returns what a quota allows of a rollout.
        """
        old = {workload.manifest.identity: workload for workload in self.old.workloads}
        new = {workload.manifest.identity: workload for workload in self.new.workloads}
        differences = {each.manifest.identity: each.difference for each in self.all_changed}
        version = self.new.kubernetes_version
        rollouts = [
            rollout(old.get(key), new.get(key), differences.get(key, NO_DIFFERENCE), version)
            for key in dict.fromkeys((*old, *new))
        ]
        return sorted(filter(None, rollouts), key=lambda one: sync.wave_of(one.workload.manifest))

    @cached_property
    def problems(self) -> list[tuple[Rule, Problem]]:
        """Return the problems that the rules about changes report."""
        return [
            (rule, problem)
            for rule in catalogue.RULES.values()
            if rule.is_about_changes
            for _, problem in rule.check([self.new])
        ]

    @cached_property
    def rejected(self) -> list[Problem]:
        """Return the problems for which the API server rejects an object that exists already.

        Argo CD compares with the API server first, and that fails. So no sync starts, and nothing
        of the change is applied.
        """
        version = self.new.kubernetes_version
        changes = [
            problem for rule, problem in self.problems if is_rejected(rule, problem, version)
        ]
        old = _by_identity(self.old)
        invalid = [each for each in self._invalid if each.manifest.identity in old]
        more = (each for each in self.rejections if each.manifest.identity in old)
        return [*changes, *invalid, *_others(more, [*changes, *invalid], version)]

    @cached_property
    def rejected_in_sync(self) -> list[Problem]:
        """Return the problems for which the API server rejects a new object, during the sync.

        Its wave and earlier ones are applied, later ones are not. The sync is retried forever.
        """
        old = _by_identity(self.old)
        invalid = [each for each in self._invalid if each.manifest.identity not in old]
        more = (each for each in self.rejections if each.manifest.identity not in old)
        return [*invalid, *_others(more, invalid, self.new.kubernetes_version)]

    @cached_property
    def _invalid(self) -> list[Problem]:
        """Return the problems of changed objects that are invalid by themselves."""
        changed = {each.new.identity for each in self.changed if each.new}
        return [
            problem
            for rule in catalogue.RULES.values()
            if rule.outcome is Outcome.REJECTED and not rule.is_about_changes
            for _, problem in rule.check([self.new])
            if problem.manifest.identity in changed
            and is_rejected(rule, problem, self.new.kubernetes_version)
        ]

    @cached_property
    def pruned(self) -> Pruned:
        """Return the objects that are removed from git."""
        deleted, confirmed, kept = list[str](), list[str](), list[str]()
        automated = paths.get(self.new.application.object, (*POLICY, "prune")) is True
        for each in self.changed:
            if each.new is None:
                options = sync.options(each.manifest.annotations.get(sync.OPTIONS))
                names = {"confirm": confirmed, "false": kept}.get(options.get("Prune", ""), deleted)
                (names if automated else kept).append(each.manifest.label)
        return Pruned(tuple(deleted), tuple(confirmed), tuple(kept))

    @cached_property
    def shortage(self) -> Shortage | None:
        """Return the first wave in which a quota has no room for a pod; None if there is none."""
        return quota_room.shortage(self.old, self.new, self.rollouts)

    def limited(self, rollout: Rollout) -> Rollout:
        """Return what quotas allow of a rollout."""
        if not self.shortage:
            return rollout
        return self.shortage.rollouts.get(rollout.workload.manifest.label, rollout)

    @property
    def is_synced(self) -> bool:
        """Return whether Argo CD syncs the environment automatically."""
        return isinstance(paths.get(self.new.application.object, POLICY), dict)

    def touches(self, *kinds: str) -> bool:
        """Return whether the change modifies, adds or removes an object of one of the kinds."""
        return any(each.manifest.kind in kinds for each in self.changed)


def changes(context: Context) -> list[Change]:
    """Return the new and modified objects, those that change in place with the old version."""
    old = {new.identity: old for old, new in changed_in_place(context.new)}
    return [
        (each.new, old.get(each.new.identity)) for each in context.changed if each.new is not None
    ]


def _others(
    rejections: Iterable[Rejection], problems: Iterable[Problem], version: str
) -> list[Problem]:
    """Return rejections as problems, except those whose cause a rule reports."""
    known = [(each.manifest.label, tuple(each.path)) for each in problems]
    return [
        Problem(each.manifest, each.path, *sentences(each, version, HOW))
        for each in rejections
        if not any(each.has_cause(name, path) for name, path in known)
    ]


def _by_identity(objects: Objects) -> Mapping[Identity, Manifest]:
    return {manifest.identity: manifest for manifest in objects.manifests}


def context(old: Objects, new: Objects) -> Context:
    """Return the context of a change of an environment."""
    with_old = replace(
        new,
        before=old.manifests,
        application_before=old.application,
        kubernetes_version_before=old.kubernetes_version,
    )
    return Context(old, with_old)


_IN_CLUSTER = "https://kubernetes.default.svc"
"""The cluster of Argo CD itself, which it calls in-cluster."""


def place(application: Manifest) -> tuple[str, str]:
    """Return the cluster, by its URL or name, and the namespace of an Application."""
    server, name, namespace = destination(application)
    cluster = str(server or name or "")
    return _IN_CLUSTER if cluster == "in-cluster" else cluster, str(namespace or "")
