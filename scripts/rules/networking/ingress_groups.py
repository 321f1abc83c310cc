"""Groups: the Ingresses that share an Application Load Balancer agree about it.

Source: mergeListenPortConfigs and the functions build… in pkg/ingress of the AWS Load Balancer
Controller 3.5.0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from scripts.core import advice
from scripts.kubernetes import annotation_table
from scripts.kubernetes.annotation_table import ALB
from scripts.kubernetes.manifest import Manifest
from scripts.rules.alb import GROUP, Balancer, balancers, listeners
from scripts.rules.networking.annotated import GUIDE, VALUES, quoted
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects, annotation

_Read = Callable[[str], Any]


def _set(text: str) -> frozenset[str]:
    return frozenset(annotation_table.string_list(text))


def _json(text: str) -> str:
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except ValueError:
        return text


_OF_BALANCER: dict[str, _Read] = {
    "customer-owned-ipv4-pool": str,
    "enable-frontend-nlb": annotation_table.boolean,
    "frontend-nlb-eip-allocations": _set,
    "frontend-nlb-scheme": str,
    "frontend-nlb-security-groups": annotation_table.string_list,
    "frontend-nlb-subnets": _set,
    "ip-address-type": str,
    "ipam-ipv4-pool-id": str,
    "load-balancer-name": str,
    "manage-backend-security-group-rules": annotation_table.boolean,
    "scheme": str,
    "security-groups": annotation_table.string_list,
    "shield-advanced-protection": annotation_table.boolean,
    "ssl-redirect": str,
    "subnets": _set,
    "waf-acl-id": str,
    "wafv2-acl-arn": str,
    "wafv2-acl-name": str,
}
"""Annotation of the load balancer as a whole → how the controller compares its values."""
_OF_LISTENERS: dict[str, _Read] = {
    "inbound-cidrs": _set,
    "mutual-authentication": _json,
    "security-group-prefix-lists": _set,
    "ssl-policy": str,
}
"""The same for annotations that the Ingresses with one listener must share."""
_OF_TLS = ("mutual-authentication", "ssl-policy")
_MERGED = (
    "frontend-nlb-attributes",
    "frontend-nlb-tags",
    "load-balancer-attributes",
    "minimum-load-balancer-capacity",
    "tags",
)
"""Annotations whose pairs are merged key by key."""
_LISTENER_ATTRIBUTES = "listener-attributes."


@dataclass(frozen=True, slots=True)
class _Value:
    """A setting of a load balancer, as one Ingress has it."""

    ingress: Manifest
    name: str
    """The name of the annotation, without its prefix."""
    attribute: str
    """The key, if the value is one of several in the annotation."""
    text: str
    compared: Any


@rule(f"{GUIDE}ingress/annotations/#ingressgroup")
def conflicting_ingress_group(objects: Objects) -> Iterator[Problem]:
    """The Ingresses that share a load balancer have the same settings for it.

    Otherwise the AWS Load Balancer Controller reports a conflict, and applies no change to any of
    them. It merges attributes and tags key by key, so an Ingress may leave a key out.
    """
    for balancer in balancers(objects):
        settings = dict[tuple[str, str, int], list[_Value]]()
        for ingress in balancer.ingresses if balancer.ingresses[1:] else ():
            for port, value in _values(ingress):
                settings.setdefault((value.name, value.attribute, port), []).append(value)
        reported = set[tuple[str, str, str]]()
        for (*_, port), values in settings.items():
            for value in _different(values):
                key = (value.ingress.label, value.name, value.attribute)
                if key not in reported:
                    reported.add(key)
                    yield _problem(balancer, value, values, port)
        yield from _several_defaults(balancer)


def _values(ingress: Manifest) -> Iterator[tuple[int, _Value]]:
    """Yield the settings of an Ingress, each with the port of its listener, or 0."""
    notes = {
        str(key).removeprefix(ALB): str(value)
        for key, value in ingress.annotations.items()
        if str(key).startswith(ALB)
    }
    for name, text in notes.items():
        if read := _OF_BALANCER.get(name):
            yield 0, _Value(ingress, name, "", text, read(text))
        elif name in _MERGED or name.startswith(_LISTENER_ATTRIBUTES):
            for key, value in (annotation_table.string_map(text) or {}).items():
                yield 0, _Value(ingress, name, key, value, value)
    for port, protocol in listeners(ingress).items():
        yield port, _Value(ingress, "listen-ports", "", protocol, protocol)
        for name, read in _OF_LISTENERS.items():
            if notes.get(name) and (protocol == "HTTPS" or name not in _OF_TLS):
                yield port, _Value(ingress, name, "", notes[name], read(notes[name]))


def _usual(values: list[_Value]) -> _Value:
    """Return the value that most Ingresses have; of equally many, the first that can work."""
    compared = [value.compared for value in values]
    return max(values, key=lambda value: (compared.count(value.compared), _can_work(value)))


def _can_work(value: _Value) -> bool:
    """Return whether a redirect goes to a listener; other values can't be checked."""
    secure = [str(port) for port, name in listeners(value.ingress).items() if name == "HTTPS"]
    return value.name != "ssl-redirect" or value.text in secure


def _different(values: list[_Value]) -> list[_Value]:
    usual = _usual(values)
    return [value for value in values if value.compared != usual.compared]


def _problem(balancer: Balancer, value: _Value, values: list[_Value], port: int) -> Problem:
    """Return the conflict of one Ingress with most of the others; port: of the listener, or 0."""
    usual, label = _usual(values), value.ingress.label
    key = f"{ALB}{value.name}"
    what = f"{value.attribute}={value.text}" if value.attribute else value.text
    other = f"{value.attribute}={usual.text}" if value.attribute else usual.text
    has = f"{label} has the {value.name} {what}"
    if value.name == "listen-ports":
        has = f"{label} has a listener of port {port} with the protocol {what}"
    others = [each.ingress.label for each in values if each.compared == usual.compared]
    most = f"most Ingresses of the group {balancer.group} have" if others[1:] else ""
    message = (
        f"{has}, but {most or f'{others[0]} has'} {other}: the AWS Load Balancer Controller updates"
        f" no Ingress of the group{'' if most else f' {balancer.group}'}"
    )
    fix: str = advice.saying(f"write {key}: {usual.text}", usual.text, (key,), is_safe=False)
    if value.name == "listen-ports":
        fix = f"write the same {key} as in {others[0]}"
        if text := usual.ingress.annotations.get(key):
            fix = f"write {key}: {quoted(str(text))}"
    elif value.attribute:
        fix = f"remove {value.attribute} from {key}"
    if chart := _of_chart(value):
        fix += f"; to change it for all Ingresses, write {chart}"
    else:
        fix += f"; if {label} should not share the load balancer, write another {GROUP}"
    return Problem(value.ingress, annotation(key), message, fix, value.text)


def _of_chart(value: _Value) -> str:
    """Return the value of the chart that sets it for all Ingresses; empty if there is none."""
    if not value.ingress.template.startswith("chart/"):
        return ""
    if value.attribute == "idle_timeout.timeout_seconds":
        return f"ingress.alb.idleTimeoutSeconds: {value.text}"
    if value.name == "load-balancer-attributes":
        return f'ingress.alb.attributes: {{{value.attribute}: "{value.text}"}}'
    return "" if value.name == "scheme" else VALUES.get(f"{ALB}{value.name}", "")


def _several_defaults(balancer: Balancer) -> Iterator[Problem]:
    """Yield a second default backend of a listener."""
    first = dict[int, Manifest]()
    for ingress in balancer.ingresses:
        if ingress.get("spec", "defaultBackend") is None:
            continue
        owners = [first.setdefault(port, ingress) for port in listeners(ingress)]
        owner = next((each for each in owners if each is not ingress), None)
        if owner:
            message = (
                f"{ingress.label} and {owner.label} share a load balancer and both have a"
                " defaultBackend: the AWS Load Balancer Controller updates neither"
            )
            fix = advice.remove("the defaultBackend")
            yield Problem(ingress, ("spec", "defaultBackend"), message, fix)
