"""Attributes of load balancers, target groups and listeners: AWS has them, and accepts the values.

Source: the API of Elastic Load Balancing, in the botocore that annotations.json names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from scripts.core import advice
from scripts.core.findings import Severity
from scripts.core.fixes import Fix
from scripts.core.sentences import joined
from scripts.kubernetes import annotation_table, annotation_values
from scripts.kubernetes.annotation_table import ALB, NLB
from scripts.kubernetes.manifest import Manifest
from scripts.rules.alb import attributes, balancers
from scripts.rules.networking.annotated import GUIDE, together
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, annotation

_API = "https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/"
_APPLICATION, _NETWORK = "application", "network"
_KINDS = {_APPLICATION: "Application Load Balancer", _NETWORK: "Network Load Balancer"}
_BALANCER, _TARGETS = "load-balancer-attributes", "target-group-attributes"
_LISTENER = "listener-attributes"
_PRINTED = "%!"
"""How printf of a template begins if a value is not a text."""


@dataclass(frozen=True, slots=True)
class _Map:
    """An annotation with attributes."""

    manifest: Manifest
    key: str
    balancer: str
    """application or network."""
    table: str

    @property
    def pairs(self) -> dict[str, str]:
        """Return its attributes; none if the controller can't read it."""
        return annotation_table.string_map(str(self.manifest.annotations[self.key])) or {}


def _maps(objects: Objects) -> Iterator[_Map]:
    """Yield the annotations with attributes."""
    for manifest in objects.of_kind("Ingress", "Service"):
        for key in map(str, manifest.annotations):
            prefix, _, name = key.partition("/")
            frontend = name == "frontend-nlb-attributes"
            table = next((t for t in (_BALANCER, _TARGETS, _LISTENER) if t in name), "")
            if f"{prefix}/" == ALB and (frontend or table):
                table, balancer = (_BALANCER, _NETWORK) if frontend else (table, _APPLICATION)
                yield _Map(manifest, key, balancer, table)
            elif f"{prefix}/" == NLB and name == "aws-load-balancer-attributes":
                yield _Map(manifest, key, _NETWORK, _BALANCER)
            elif f"{prefix}/" == NLB and table:
                yield _Map(manifest, key, _NETWORK, table)


@rule(f"{_API}API_LoadBalancerAttribute.html")
def invalid_load_balancer_attribute(objects: Objects) -> Iterator[Problem]:
    """The attributes of load balancers exist for their type, with values that AWS accepts.

    Otherwise AWS rejects the change, and the AWS Load Balancer Controller stops there: for all
    Ingresses that share the load balancer.
    """
    yield from together(_invalid(objects))


def _invalid(objects: Objects) -> Iterator[Problem]:
    for each in _maps(objects):
        known = annotation_table.attributes(each.table)
        for name, value in each.pairs.items():
            form = known.get(name)
            if form is None:
                near = difflib.get_close_matches(name, _of(each), 1)
                near = near or [own for own in _of(each) if own.startswith(f"{name}.")][:1]
                why = f"AWS has no such attribute of {_thing(each)}"
                yield _problem(each, name, value, why, near[0] if near else "", value)
                continue
            if each.balancer not in form.balancers:
                why = f"only {_KINDS[form.balancers[0]]}s have it"
                yield _problem(each, name, value, why, "", "")
                continue
            found = annotation_values.of_form(form, value)
            found = found or annotation_values.number(form, value)
            if value.startswith(_PRINTED):
                real = value.partition("=")[2].rstrip(")")
                yield _problem(each, name, value, "the value was not a text", name, real)
            elif found:
                yield _problem(each, name, value, f"the value {found.why}", name, found.right)
            elif name == "stickiness.type" and (value == "source_ip") != (
                each.balancer == _NETWORK
            ):
                usual = "source_ip" if each.balancer == _NETWORK else "lb_cookie"
                why = f"{_KINDS[each.balancer]}s do not have this type"
                yield _problem(each, name, value, why, name, usual)


def _of(each: _Map) -> list[str]:
    known = annotation_table.attributes(each.table)
    return [name for name, form in known.items() if each.balancer in form.balancers]


def _thing(each: _Map) -> str:
    what = {_BALANCER: "", _TARGETS: "target groups of ", _LISTENER: "listeners of "}[each.table]
    return f"{what}{_KINDS[each.balancer]}s"


def _problem(each: _Map, name: str, value: str, why: str, right: str, to: str) -> Problem:
    """Return the problem of an attribute; right and to: the name and the value to write."""
    message = (
        f"{each.manifest.label} has the attribute {name}={value}, but {why}: the AWS Load Balancer"
        " Controller applies no more changes"
    )
    fix = ""
    if right and to:
        fix = set_attribute(each.manifest, each.key, right, to, f"{name}={value}")
    if not fix:
        words = f"remove {name}" + (f", or write a value for {right}" if right else "")
        text = str(each.manifest.annotations[each.key])
        fix = Fix(words) if right else _without(words, text, f"{name}={value}")
    part = value.partition("=")[2].rstrip(")") if value.startswith(_PRINTED) else value
    return Problem(each.manifest, annotation(each.key), message, fix, part)


def _without(words: str, text: str, pair: str) -> Fix:
    """Return the fix to remove a pair of an annotation; without an edit if nothing remains."""
    pairs = [part for part in text.split(",") if part.strip() != pair]
    is_clear = pairs and len(pairs) + 1 == text.count(",") + 1
    return advice.saying(words, ",".join(pairs).strip()) if is_clear else Fix(words)


def set_attribute(manifest: Manifest, key: str, name: str, value: str, old: str) -> str:
    """Return the fix to set an attribute in an annotation, or in the value that writes it.

    old: the pair that it replaces.
    """
    if _is_of_chart(manifest, key):
        former = old.partition("=")[0]
        instead = f", and remove {former} from ingress.alb.attributes" if former != name else ""
        if name == "idle_timeout.timeout_seconds":
            return f"write ingress.alb.idleTimeoutSeconds: {value}{instead}"
        instead = f" instead of {former}" if instead else ""
        return f'write {name}: "{value}"{instead} in ingress.alb.attributes'
    text = manifest.annotations.get(key)
    return advice.in_text(f"write {name}={value} in {key}", text, old, f"{name}={value}")


def _is_of_chart(manifest: Manifest, key: str) -> bool:
    """Return whether an annotation is that of the chart, whose attributes values can change."""
    is_there = all(each in attributes(manifest, _BALANCER) for each in _OWN[_BALANCER])
    return manifest.template.startswith("chart/") and key == f"{ALB}{_BALANCER}" and is_there


_LOGS = ("access_logs", "connection_logs", "health_check_logs")


@rule(f"{_API}API_LoadBalancerAttribute.html")
def incomplete_load_balancer_attributes(objects: Objects) -> Iterator[Problem]:
    """Attributes of load balancers that need another one have it: logs a bucket, for example.

    Otherwise AWS rejects the change, and the AWS Load Balancer Controller stops there: for all
    Ingresses that share the load balancer.
    """
    for balancer in balancers(objects):
        merged = dict[str, str]()
        for ingress in balancer.ingresses:
            merged |= attributes(ingress, _BALANCER)
        for ingress in balancer.ingresses:
            own = attributes(ingress, _BALANCER)
            missing = list(_missing_buckets(own, merged))
            for name, bucket in missing:
                yield _incomplete(ingress, f"{ALB}{_BALANCER}", name, own[name], bucket)
            if missing:
                break
    for each in _maps(objects):
        if each.table == _BALANCER and each.manifest.kind == "Service":
            for name, bucket in _missing_buckets(each.pairs, each.pairs):
                yield _incomplete(each.manifest, each.key, name, each.pairs[name], bucket)
        if each.table == _TARGETS:
            yield from _contradictions(each)


def _missing_buckets(own: dict[str, str], merged: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the switch of each log whose bucket is missing, and the name of the bucket."""
    for log in _LOGS:
        switch, bucket = f"{log}.s3.enabled", f"{log}.s3.bucket"
        if own.get(switch) == "true" and not merged.get(bucket):
            yield switch, bucket


def _incomplete(manifest: Manifest, key: str, name: str, value: str, other: str) -> Problem:
    message = (
        f"{manifest.label} has the attribute {name}={value}, but not {other}: AWS rejects that, and"
        " the AWS Load Balancer Controller applies no more changes"
    )
    what = "<cookie>" if other.endswith("cookie_name") else "<bucket>"
    fix = f"add {other}={what} to {key}"
    if _is_of_chart(manifest, key):
        fix = f"add {other}: {what} to ingress.alb.attributes"
        if other == "access_logs.s3.bucket":
            fix = f"write ingress.alb.accessLogs.bucket: {what} instead: it sets both attributes"
    return Problem(manifest, annotation(key), message, fix, value)


_ALGORITHM = "load_balancing.algorithm.type"


def _contradictions(each: _Map) -> Iterator[Problem]:
    """Yield the attributes of a target group that need another value of another one."""
    pairs, algorithm = each.pairs, each.pairs.get(_ALGORITHM, "round_robin")
    if pairs.get("stickiness.type") == "app_cookie":
        cookie = "stickiness.app_cookie.cookie_name"
        if not pairs.get(cookie):
            yield _incomplete(each.manifest, each.key, "stickiness.type", "app_cookie", cookie)
    slow = "slow_start.duration_seconds"
    wrong = ""
    if pairs.get(slow, "0") != "0" and algorithm != "round_robin":
        wrong, needed = slow, "round_robin"
    mitigation = "load_balancing.algorithm.anomaly_mitigation"
    if pairs.get(mitigation) == "on" and algorithm != "weighted_random":
        wrong, needed = mitigation, "weighted_random"
    if wrong:
        message = (
            f"{each.manifest.label} has the attribute {wrong}={pairs[wrong]}, which needs"
            f" {_ALGORITHM}={needed}: AWS rejects that, and the AWS Load Balancer Controller"
            " applies no more changes"
        )
        fix = f"write {_ALGORITHM}={needed} in {each.key}; to keep {algorithm}, remove {wrong}"
        yield Problem(each.manifest, annotation(each.key), message, fix, pairs[wrong])


_OWN = {
    _BALANCER: ("idle_timeout.timeout_seconds", "routing.http.drop_invalid_header_fields.enabled"),
    _TARGETS: ("deregistration_delay.timeout_seconds",),
}
"""Annotation → attributes that the chart always writes: chart/templates/_ingress.tpl."""
_DEFAULTS = {
    "idle_timeout.timeout_seconds": "60",
    "routing.http.drop_invalid_header_fields.enabled": "false",
    "deregistration_delay.timeout_seconds": "300",
}


@rule(f"{GUIDE}ingress/annotations/", Severity.WARNING, outcome=Outcome.HIDDEN)
def replaced_load_balancer_attributes(objects: Objects) -> Iterator[Problem]:
    """An annotation of an Ingress in values does not replace the attributes that the chart sets.

    Otherwise ingress.alb.idleTimeoutSeconds has no effect: AWS closes a WebSocket after 60 seconds
    without traffic.
    """
    yield from together(_replaced(objects))


def _replaced(objects: Objects) -> Iterator[Problem]:
    for balancer in balancers(objects):
        shared = {each for ing in balancer.ingresses for each in attributes(ing, _BALANCER)}
        for ingress in balancer.ingresses:
            for name, own in _OWN.items():
                key = f"{ALB}{name}"
                pairs = attributes(ingress, name)
                # The controller merges those of a load balancer, but not those of target groups.
                known = shared if name == _BALANCER else pairs
                lost = [each for each in own if each not in known]
                if not lost or not pairs or not ingress.template.startswith("chart/"):
                    continue
                defaults = joined(f"{each}={_DEFAULTS[each]}" for each in lost)
                message = (
                    f"the annotation {key} of {ingress.label} replaces all attributes that the"
                    f" chart sets there, so AWS's default applies: {defaults}"
                )
                fix = f"add {lost[0]}=30, as in the chart, to the annotation"
                if name == _BALANCER:
                    written = ", ".join(f'{each}: "{value}"' for each, value in pairs.items())
                    fix = f"write ingress.alb.attributes: {{{written}}} instead of the annotation:"
                    fix += " they are added to those of the chart"
                yield Problem(ingress, annotation(key), message, fix)
