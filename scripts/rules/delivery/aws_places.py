"""Places in AWS: the regions and accounts within an environment agree."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scripts.core import advice, paths
from scripts.core.findings import Severity
from scripts.kubernetes import annotation_table
from scripts.kubernetes.annotation_table import ALB, NLB
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.named_objects import ROLE, role_key
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, annotation, once

_ARN = re.compile(r"arn:(aws[-a-z]*):([a-z0-9-]+):([-a-z0-9]*):([0-9]{12})?:(\S+)")
_ZONE = re.compile(r"([a-z]{2}(?:-[a-z]+)+-[0-9]+)[a-z]?(?:-.*)?")
_BALANCER = {
    f"{ALB}certificate-arn": "certificate",
    f"{ALB}wafv2-acl-arn": "web ACL",
    f"{NLB}aws-load-balancer-ssl-cert": "certificate",
}
"""Annotation → what it names: it must be where the load balancer is."""
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION", "RCLONE_CONFIG_S3_REGION")
_ENDPOINTS = ("AWS_ENDPOINT_URL", "RCLONE_CONFIG_S3_ENDPOINT")


@dataclass(frozen=True, slots=True)
class _Place:
    """A field with a region or an ARN."""

    manifest: Manifest
    path: Where
    what: str
    """In messages: certificate, role, zone, region of the backups, …"""
    text: str
    """The region, or the whole ARN."""
    region: str = ""
    account: str = ""
    partition: str = ""


@once
def _places(objects: Objects) -> Iterator[_Place]:
    """Yield the regions and ARNs of an environment."""
    for index, zone in enumerate(objects.zones):
        found = _ZONE.fullmatch(zone)
        if found and annotation_table.partition(found[1]):
            yield _Place(objects.application, ("zones", index), "zone", zone, found[1])
    for manifest in objects.of_kind("Ingress", "Service"):
        for key, what in _BALANCER.items():
            for arn in annotation_table.string_list(str(manifest.annotations.get(key) or "")):
                yield from _of_arn(manifest, annotation(key), what, arn)
    for manifest in objects.of_kind("ServiceAccount"):
        arn = str(manifest.annotations.get(ROLE) or "")
        yield from _of_arn(manifest, annotation(ROLE), "role", arn)
    for manifest in objects.of_kind("SecretStore"):
        path: Where = ("spec", "provider", "aws")
        role, region = (paths.get(manifest.object, (*path, key)) for key in ("role", "region"))
        yield from _of_arn(manifest, (*path, "role"), "role", str(role or ""))
        if region:
            where = (*path, "region")
            yield _Place(manifest, where, "region of the Secrets", str(region), str(region))
    yield from _of_variables(objects)


def _of_arn(manifest: Manifest, path: Where, what: str, arn: str) -> Iterator[_Place]:
    if found := _ARN.fullmatch(arn):
        partition, _, region, account, _ = found.groups()
        yield _Place(manifest, path, what, arn, region, account or "", partition)


def _of_variables(objects: Objects) -> Iterator[_Place]:
    """Yield the regions in environment variables, except those of another provider's storage."""
    for container in objects.containers:
        variables = {
            str(each.get("name")): ((*path, "value"), each.get("value"))
            for path, each in container.variables()
        }
        endpoints = [str(variables[name][1]) for name in _ENDPOINTS if name in variables]
        if all(".amazonaws.com" in each for each in endpoints):
            for name in _REGIONS:
                path, value = variables.get(name, ((), None))
                if isinstance(value, str) and value:
                    own = container.workload.manifest
                    yield _Place(own, path, "region of the bucket", value, value)


def _usual(values: Sequence[str]) -> str:
    """Return the most frequent value that is not empty, the first of equally frequent ones."""
    known = [value for value in values if value]
    return max(known, key=known.count, default="")


def _home(objects: Objects) -> str:
    """Return the region of an environment: that of its zones, otherwise the most frequent one."""
    places = _places(objects)
    zones = [place.region for place in places if place.what == "zone"]
    valid = [place.region for place in places if annotation_table.partition(place.region)]
    return _usual(zones) or _usual(valid)


def _first(places: Sequence[_Place]) -> Iterator[_Place]:
    """Yield places with different texts: one value often decides several objects."""
    yield from {(place.what, place.text): place for place in reversed(places)}.values()


@rule("https://docs.aws.amazon.com/general/latest/gr/rande.html")
def invalid_region(objects: Objects) -> Iterator[Problem]:
    """Regions of AWS have the name of a region, and the partition of their ARN.

    Otherwise the name of the service's endpoint does not exist, and every request fails. The list
    of regions is that of botocore; a newer region of the same form is valid.
    """
    home = _home(objects)
    for place in _first(_places(objects)):
        own = annotation_table.partition(home) if home else ""
        if not place.region and place.partition and own and place.partition != own:
            message = (
                f"the {place.what} of {place.manifest.label} is in the partition {place.partition},"
                f" but {home} is in {own}: AWS denies every request with it"
            )
            fix = f"write the ARN {place.text.replace(place.partition, own, 1)}"
            yield Problem(place.manifest, place.path, message, fix, place.text)
        if place.what == "zone" or not place.region:
            continue
        partition = annotation_table.partition(place.region)
        zone = _ZONE.fullmatch(place.region)
        if partition and place.partition in ("", partition):
            continue
        if partition:
            why = f"{place.region} is in the partition {partition}, not {place.partition}"
            text = place.text.replace(place.partition, partition, 1)
            fix = advice.saying(f"write the ARN {text}", text, is_safe=False)
        else:
            is_zone = zone and zone[1] != place.region and annotation_table.partition(zone[1])
            why = f"AWS has no region {place.region}"
            why = f"{place.region} is a zone, not a region" if is_zone else why
            near = difflib.get_close_matches(place.region, annotation_table.regions(), 1)
            right = zone[1] if zone and is_zone else home or next(iter(near), "us-east-1")
            own = "region: " if place.text == place.region else "the ARN "
            text = place.text.replace(place.region, right, 1)
            fix = advice.saying(f"write {own}{text}", text, is_safe=bool(is_zone))
        message = f"the ARN of the {place.what} of {place.manifest.label} is invalid: {why}."
        message += " AWS rejects it"
        if place.what.startswith("region"):
            message = f"the {place.what} in {place.manifest.label} is invalid: {why}."
            message += " Every request fails"
        yield Problem(place.manifest, place.path, message, fix, place.text)


@rule("https://docs.aws.amazon.com/acm/latest/userguide/acm-regions.html")
def load_balancer_resource_elsewhere(objects: Objects) -> Iterator[Problem]:
    """Certificates, web ACLs and zones are in the region of the load balancer.

    Otherwise AWS rejects them: the AWS Load Balancer Controller makes no listener, and hosts are
    not served. A zone of another region has no nodes.
    """
    home = _home(objects)
    bound = [place for place in _places(objects) if place.what in (*_BALANCER.values(), "zone")]
    for place in _first(bound):
        if not place.region or place.region == home or not annotation_table.partition(place.region):
            continue
        if place.what == "zone":
            message = f"the zone {place.text} is not in {home}, as the other zones are: the cluster"
            message += " has no nodes there"
            fix = f"write a zone of {home} in which the cluster has nodes"
        else:
            message = (
                f"the {place.what} of {place.manifest.label} is in {place.region}, but its load"
                f" balancer is in {home}: AWS rejects it, and the hosts are not served"
            )
            fix = f"create a {place.what} in {home}, and write its ARN instead"
        yield Problem(place.manifest, place.path, message, fix, place.text)


@rule(
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies-cross-account-resource-access.html",
    Severity.WARNING,
    outcome=Outcome.BREAKS,
)
def resource_of_another_account(objects: Objects) -> Iterator[Problem]:
    """The roles, certificates and web ACLs of an environment are in one account.

    Otherwise one of the ARNs was copied or mistyped: AWS denies the role, or rejects the
    certificate. Waive the rule if a role is in another account that trusts this cluster.
    """
    places = [place for place in _places(objects) if place.account]
    home = _usual([place.account for place in places])
    other = next((place for place in places if place.account == home), None)
    for place in _first(places):
        if other and place.account != home:
            message = (
                f"the {place.what} of {place.manifest.label} is in the account {place.account},"
                f" but the {other.what} of {other.manifest.label} is in {home}: AWS denies the use"
                " of one of the two"
            )
            right = place.text.replace(place.account, home, 1)
            key = role_key(place.manifest)
            fix: str = advice.write_values(key, right)
            if key == ROLE:
                fix = advice.write((ROLE,), right)
            if place.what != "role":
                fix = f"write the ARN of a {place.what} in the account {home} instead"
            yield Problem(place.manifest, place.path, message, fix, place.text)


@rule("docs/eks.md", Severity.WARNING)
def store_in_another_region(objects: Objects) -> Iterator[Problem]:
    """The backups and the Secrets of an environment are in the region of its nodes.

    Otherwise the region was probably copied from another environment: the bucket or the Secret
    is not there. Waive the rule if it is a copy for disasters.
    """
    home = _home(objects)
    stores = [place for place in _places(objects) if place.what.startswith("region")]
    for place in _first(stores):
        if place.region != home and annotation_table.partition(place.region):
            store = "the bucket is" if "bucket" in place.what else "the Secrets are"
            message = (
                f"the {place.what} in {place.manifest.label} is {place.region}, but the environment"
                f" is in {home}: every request fails unless {store} in {place.region}"
            )
            fix = advice.saying(f"write region: {home}", home)
            yield Problem(place.manifest, place.path, message, fix, place.text)
