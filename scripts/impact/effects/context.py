"""An environment before and after a change, and what all consequences are found from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from scripts.core import paths
from scripts.impact.compare import difference
from scripts.impact.compare.difference import Difference
from scripts.impact.effects import quota_room
from scripts.impact.effects.quota_room import Short
from scripts.impact.effects.rollout import Rollout, rollout
from scripts.kubernetes import sync
from scripts.kubernetes.manifest import Identity, Manifest
from scripts.rules import catalogue
from scripts.rules.rule import Outcome, Problem, Rule, is_rejected
from scripts.rules.snapshot import Objects

POLICY = ("spec", "syncPolicy", "automated")
"""Where an Application says what Argo CD does by itself."""

NOTHING = Difference(())


@dataclass(frozen=True, slots=True)
class Changed:
    """An object that a change makes another, brings, or takes away."""

    old: Manifest | None
    new: Manifest | None
    difference: Difference
    """Empty where the object comes or goes, or only its spelling is another."""

    @property
    def manifest(self) -> Manifest:
        """Return it as it is; as it was, where it is gone."""
        found = self.new or self.old
        assert found is not None
        return found

    @property
    def stays(self) -> bool:
        """Return whether it was there and is there."""
        return self.old is not None and self.new is not None


@dataclass(frozen=True)
class Context:
    """An environment before and after, and what is found out once."""

    old: Objects
    new: Objects
    """It knows the old objects, as rules about changes ask for them."""

    @cached_property
    def all_changed(self) -> list[Changed]:
        """Return the objects that differ at all, in the order of their waves."""
        was, now = _by_identity(self.old), _by_identity(self.new)
        found = []
        for key in dict.fromkeys((*was, *now)):
            old, new = was.get(key), now.get(key)
            if old is new:
                continue
            differs = difference.between(old, new) if old and new else NOTHING
            found.append(Changed(old, new, differs))
        return sorted(found, key=lambda one: (sync.wave_of(one.manifest), one.manifest.label))

    @cached_property
    def changed(self) -> list[Changed]:
        """Return the objects that differ by more than spelling, in the order of their waves."""
        return [one for one in self.all_changed if one.difference.changes or not one.stays]

    @cached_property
    def rollouts(self) -> list[Rollout]:
        """Return what becomes of pods, in the order of the waves; within one, in no order.

        It is as if quotas had room for all: `pods` says what comes true of it.
        """
        old = {one.manifest.identity: one for one in self.old.workloads}
        new = {one.manifest.identity: one for one in self.new.workloads}
        differs = {one.manifest.identity: one.difference for one in self.all_changed}
        found = [
            rollout(
                old.get(key), new.get(key), differs.get(key, NOTHING), self.new.kubernetes_version
            )
            for key in dict.fromkeys((*old, *new))
        ]
        made = [one for one in found if one]
        return sorted(made, key=lambda one: sync.wave_of(one.workload.manifest))

    @cached_property
    def problems(self) -> list[tuple[Rule, Problem]]:
        """Return what the rules about changes say."""
        return [
            (rule, problem)
            for rule in catalogue.RULES.values()
            if rule.is_about_changes
            for _, problem in rule.check([self.new])
        ]

    @cached_property
    def refused(self) -> list[Problem]:
        """Return what the API server refuses of objects that are there.

        Argo CD asks it first what would differ: no sync begins, and nothing else comes true.
        """
        version = self.new.kubernetes_version
        said = [one for rule, one in self.problems if is_rejected(rule, one, version)]
        there = _by_identity(self.old)
        return [*said, *(one for one in self._not_taken if one.manifest.identity in there)]

    @cached_property
    def failing(self) -> list[Problem]:
        """Return what the API server refuses of new objects, of which it is asked only in the sync.

        Their wave and those before come true, later ones don't; the sync is tried again for ever.
        """
        there = _by_identity(self.old)
        return [one for one in self._not_taken if one.manifest.identity not in there]

    @cached_property
    def _not_taken(self) -> list[Problem]:
        touched = {one.new.identity for one in self.changed if one.new}
        return [
            problem
            for rule in catalogue.RULES.values()
            if rule.outcome is Outcome.REJECTED and not rule.is_about_changes
            for _, problem in rule.check([self.new])
            if problem.manifest.identity in touched
            and is_rejected(rule, problem, self.new.kubernetes_version)
        ]

    @cached_property
    def prunes(self) -> tuple[list[str], list[str], list[str]]:
        """Return of what leaves git what is deleted, what waits for a person, and what stays."""
        goes, asks, stays = list[str](), list[str](), list[str]()
        automated = paths.get(self.new.application.object, (*POLICY, "prune")) is True
        for one in self.changed:
            if one.new is None:
                options = sync.options(one.manifest.annotations.get(sync.OPTIONS))
                kind = {"confirm": asks, "false": stays}.get(options.get("Prune", ""), goes)
                (kind if automated else stays).append(one.manifest.label)
        return goes, asks, stays

    @cached_property
    def short(self) -> Short | None:
        """Return the first wave in which a quota has no room for a pod; None where all have."""
        return quota_room.short(self.old, self.new, self.rollouts)

    def pods(self, one: Rollout) -> Rollout:
        """Return what comes true of a rollout: less than was asked for, where a quota is full."""
        return self.short.rollouts.get(one.workload.manifest.label, one) if self.short else one

    @property
    def is_synced(self) -> bool:
        """Return whether Argo CD syncs the environment by itself."""
        return isinstance(paths.get(self.new.application.object, POLICY), dict)

    def touches(self, *kinds: str) -> bool:
        """Return whether an object of some kind changes, comes or goes."""
        return any(one.manifest.kind in kinds for one in self.changed)


def _by_identity(objects: Objects) -> Mapping[Identity, Manifest]:
    return {manifest.identity: manifest for manifest in objects.manifests}


def context(old: Objects, new: Objects) -> Context:
    """Return what the consequences of a change of an environment are found from."""
    knowing = replace(
        new,
        before=old.manifests,
        application_before=old.application,
        kubernetes_version_before=old.kubernetes_version,
    )
    return Context(old, knowing)
