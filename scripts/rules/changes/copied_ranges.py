"""Copied ranges: a change opens no pods to the subnets of another environment's load balancer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from scripts.core import advice
from scripts.core.fixes import Fix
from scripts.core.sentences import joined
from scripts.kubernetes import containers, network_policies
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.network_policies import INGRESS
from scripts.kubernetes.workloads import workloads
from scripts.rules.changes.compared import changed_in_place
from scripts.rules.rule import Outcome, Problem, across
from scripts.rules.snapshot import Objects


@across("docs/connectivity.md", lambda objects: _claimed_ranges(objects))
def range_of_another_environment(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """A change does not replace a range in a NetworkPolicy by that of another environment.

    Otherwise the range was probably copied: the load balancer of this environment can no longer
    connect, and clients get an error 504. Waive the rule if its load balancer moves to the subnets
    of the other.
    """
    ranges = {objects.name: _all(objects) for objects in among}
    for objects in among:
        for old, new in changed_in_place(objects, "NetworkPolicy"):
            before, after = _ranges(old), _ranges(new)
            gone = [cidr for cidr in before if cidr not in after]
            for cidr in [cidr for cidr in after if cidr not in before] if gone else ():
                others = [name for name, all_ in ranges.items() if cidr in all_]
                owner = next((name for name in others if name != objects.name), None)
                if owner:
                    message = (
                        f"{new.label} opens pods to {cidr}, a range of {owner}, and no longer to"
                        f" {joined(gone)}: the load balancer of {objects.name} can't connect"
                    )
                    words = f"write cidr: {joined(gone)}"
                    fix = Fix(words) if gone[1:] else advice.saying(words, gone[0])
                    yield objects, Problem(new, after[cidr], message, fix, cidr)


_BUCKET = "BUCKET"


@across("docs/backups.md", lambda objects: _claimed_buckets(objects), outcome=Outcome.BREAKS)
def bucket_of_another_environment(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """A change does not replace a bucket of backups by that of another environment.

    Otherwise the bucket was probably copied: the role of this environment may not write to it, so
    each backup fails, or its backups are kept and deleted with those of the other.
    """
    buckets = {objects.name: set(_buckets(objects.manifests)) for objects in among}
    for objects in among:
        before = set(_buckets(objects.before or ()))
        for bucket, (manifest, path) in _buckets(objects.manifests).items():
            others = [name for name, own in buckets.items() if bucket in own]
            owner = next((name for name in others if name != objects.name), None)
            if before and bucket not in before and owner:
                message = (
                    f"{manifest.label} copies to the bucket {bucket} of {owner}, and no longer to"
                    f" {joined(sorted(before))}: each backup fails if its role may not write there"
                )
                fix = f"write backup.storage.bucket: {sorted(before)[0]}"
                yield objects, Problem(manifest, path, message, fix, bucket)


def _buckets(manifests: Iterable[Manifest]) -> Mapping[str, tuple[Manifest, Where]]:
    """Return the buckets that CronJobs copy to, each with the first variable that names it."""
    found = dict[str, tuple[Manifest, Where]]()
    for workload in workloads([each for each in manifests if each.kind == "CronJob"]):
        for container in containers.of(workload):
            for path, variable in container.variables():
                if variable.get("name") == _BUCKET and variable.get("value"):
                    place = (workload.manifest, (*path, "value"))
                    found.setdefault(str(variable["value"]), place)
    return found


def _claimed_ranges(objects: Objects) -> Iterator[tuple[str, bool]]:
    yield from ((cidr, False) for cidr in _all(objects))
    for old, new in changed_in_place(objects, "NetworkPolicy"):
        yield from ((cidr, True) for cidr in _ranges(new).keys() - _ranges(old).keys())


def _claimed_buckets(objects: Objects) -> Iterator[tuple[str, bool]]:
    before = _buckets(objects.before or ())
    for bucket in _buckets(objects.manifests):
        yield bucket, bool(before) and bucket not in before


def _all(objects: Objects) -> set[str]:
    return {cidr for policy in objects.of_kind("NetworkPolicy") for cidr in _ranges(policy)}


def _ranges(manifest: Manifest) -> Mapping[str, Where]:
    """Return the ranges that may connect by a NetworkPolicy, each with its path."""
    found = dict[str, Where]()
    for policy in network_policies.policies([manifest]):
        for allowed in policy.rules[INGRESS]:
            for path, peer in allowed.peers or ():
                block = peer.get("ipBlock")
                if isinstance(block, dict) and isinstance(block.get("cidr"), str):
                    found.setdefault(block["cidr"], (*path, "ipBlock", "cidr"))
    return found
