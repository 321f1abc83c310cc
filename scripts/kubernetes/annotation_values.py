"""Values of annotations: why a controller, or AWS, rejects one, and a value that it accepts.

Sources: pkg/ingress and pkg/service of the AWS Load Balancer Controller, and the API of Elastic
Load Balancing, at the versions in annotations.json.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from scripts.core.sentences import joined
from scripts.kubernetes import annotation_table
from scripts.kubernetes.annotation_table import ALB, NLB, Form


class Invalid(NamedTuple):
    """Why a value is invalid."""

    why: str
    """The end of a sentence that begins with the annotation."""
    right: str = ""
    """The value to write; empty if it can't be known."""
    part: str = ""
    """The wrong item, if the value is a list."""


_INT32 = 2**31
_WORDS = {
    **dict.fromkeys(("external", "public"), "internet-facing"),
    **dict.fromkeys(("1", "enabled", "on", "yes"), "true"),
    **dict.fromkeys(("0", "disabled", "no", "off"), "false"),
    "private": "internal",
}
"""Other words for a choice."""
_INTEGER = re.compile(r"[+-]?[0-9]+")
_GO_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+")
_GROUP_NAME = re.compile(r"([a-z0-9][-a-z0-9.]*)?[a-z0-9]")
_BALANCER_NAME = re.compile(r"(?!internal-)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")
_LONGEST_NAME, _LONGEST_GROUP, _LONGEST_PATH = 32, 63, 1024
_ORDERS = range(-1000, 1001)
_PORTS = range(1, 65536)
_POLICY = re.compile(r"ELBSecurityPolicy-[A-Za-z0-9-]+-(20[0-9]{2}-[0-9]{2})")
_CERTIFICATE = re.compile(
    r"arn:aws[-a-z]*:(acm:[-a-z0-9]+:[0-9]{12}:certificate|iam::[0-9]{12}:server-certificate)/\S+"
)
_WEB_ACL = re.compile(
    r"arn:aws[-a-z]*:wafv2:[-a-z0-9]+:[0-9]{12}:regional/webacl/[^/\s]+/[-0-9a-f]+"
)
_ROLE = re.compile(r"arn:aws[-a-z]*:iam::[0-9]{12}:role/[\w+=,.@/-]+")
_HOST = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)+[a-z0-9-]+\.?", re.IGNORECASE)
_CODES = re.compile(r"[0-9]{1,3}(-[0-9]{1,3})?(,[0-9]{1,3}(-[0-9]{1,3})?)*")
_QUOTES = " \"'"
_TAG_KEY, _TAG_VALUE, _TAGS = 128, 256, 50
_LEAST_SUBNETS = 2


def invalid(key: str, value: Any) -> Invalid | None:
    """Return why the value of an annotation is invalid; None if it is valid or the name unknown."""
    known = annotation_table.split(key)
    form = known[0].form(known[1]) if known else None
    if known is None or form is None or not isinstance(value, str):
        return None  # other types are reported elsewhere
    check = _OF_NAMES.get(key)
    return of_form(form, value) or (check(value) if check else None)


def of_form(form: Form, value: str) -> Invalid | None:
    """Return why a value has another form; the value to write is empty if it can't be known."""
    if form.choices and value not in form.choices:
        by_lower = _WORDS | {choice.lower(): choice for choice in form.choices}
        by_lower = {word: choice for word, choice in by_lower.items() if choice in form.choices}
        near = difflib.get_close_matches(value.lower(), by_lower, 1)
        return Invalid(f"is not {joined(form.choices, 'or')}", by_lower[near[0]] if near else "")
    return _BY_TYPE.get(form.type, _nothing)(form, value)


def _nothing(_: Form, __: str) -> Invalid | None:
    return None


def _integer(form: Form, value: str) -> Invalid | None:
    if not _INTEGER.fullmatch(value) or not -_INT32 <= int(value) < _INT32:
        digits = re.match(r"\s*([0-9]+)\s*(s|sec|seconds)?\s*$", value)
        return Invalid("is not a whole number", digits[1] if digits else "")
    return _in_range(form, value)


def _in_range(form: Form, value: str) -> Invalid | None:
    number, low, high = int(value), form.minimum, form.maximum
    if low is None or high is None or low <= number <= high or number == form.also:
        return None
    also = f", or {form.also}" if form.also is not None else ""
    return Invalid(f"is not from {low} to {high}{also}", str(min(max(number, low), high)))


def number(form: Form, value: str) -> Invalid | None:
    """Return why the value of an attribute is not a number in the form's range."""
    return _integer(form, value) if form.minimum is not None else None


def _boolean(_: Form, value: str) -> Invalid | None:
    if annotation_table.boolean(value) is not None:
        return None
    on = value.strip().lower() in ("yes", "on", "y", "enabled", "true")
    return Invalid("is not true or false", "true" if on else "false")


def _map(_: Form, value: str) -> Invalid | None:
    if annotation_table.string_map(value) is not None:
        return None
    parts = [part for part in re.split(r"[,;\n]", value.strip().strip("{}")) if part.strip()]
    pairs = [re.split(r"\s*[:=]\s*", part.strip(_QUOTES), maxsplit=1) for part in parts]
    written = [f"{pair[0].strip(_QUOTES)}={pair[-1].strip(_QUOTES)}" for pair in pairs if pair[1:]]
    is_all = len(written) == len(parts)
    return Invalid("is not of the form k1=v1,k2=v2", ",".join(written) if is_all else "")


def _json(_: Form, value: str) -> Invalid | None:
    try:
        json.loads(value)
    except ValueError as error:
        return Invalid(f"is not valid JSON ({error.args[0]})", "<valid JSON>")
    return None


def _duration(_: Form, value: str) -> Invalid | None:
    if _GO_DURATION.fullmatch(value):
        return None
    days = re.fullmatch(r"([0-9]+)d(ays)?", value)
    return Invalid("is not a duration, such as 2160h", f"{int(days[1]) * 24}h" if days else "")


def _ttl(form: Form, value: str) -> Invalid | None:
    found = None if _GO_DURATION.fullmatch(value) else _integer(form, value)
    words = re.fullmatch(r"([0-9]+) *(s|m|h|d)[a-z]*", value.lower())
    if found and words:
        seconds = int(words[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[words[2]]
        return found._replace(right=str(seconds))
    return found


_BY_TYPE: dict[str, Callable[[Form, str], Invalid | None]] = {
    "boolean": _boolean,
    "duration": _duration,
    "integer": _integer,
    "json": _json,
    "map": _map,
    "ttl": _ttl,
}


# Values of single annotations


def _balancer_name(value: str) -> Invalid | None:
    if len(value) > _LONGEST_NAME:
        short = value[:_LONGEST_NAME].rstrip("-")
        return Invalid(
            f"has {len(value)} characters, and at most {_LONGEST_NAME} are allowed", short
        )
    if not _BALANCER_NAME.fullmatch(value):
        return Invalid("is not letters, digits and - (and does not begin with internal-)")
    return None


def _group_name(value: str) -> Invalid | None:
    if _GROUP_NAME.fullmatch(value) and len(value) <= _LONGEST_GROUP:
        return None
    near = re.sub(r"[^-a-z0-9.]", "-", value.lower()).strip("-.")[:_LONGEST_GROUP]
    return Invalid(f"is not at most {_LONGEST_GROUP} lower-case letters, digits, - and .", near)


def _group_order(value: str) -> Invalid | None:
    if int(value) in _ORDERS:
        return None
    return Invalid("is not from -1000 to 1000", str(min(max(int(value), _ORDERS[0]), _ORDERS[-1])))


def _ssl_policy(value: str) -> Invalid | None:
    """A policy that is newer than the table is valid: its name ends with the year and month."""
    known = annotation_table.ssl_policies()
    dates = [_POLICY.sub(r"\1", each) for each in known if _POLICY.fullmatch(each)]
    dated = _POLICY.fullmatch(value)
    if value in known or (dated and dated[1] > max(dates)):
        return None
    near = difflib.get_close_matches(value, known, 1)
    return Invalid("is not a security policy of AWS", near[0] if near else known[-1])


def _listen_ports(value: str) -> Invalid | None:
    example = '[{"HTTP": 80}, {"HTTPS": 443}]'
    try:
        entries = json.loads(value)
    except ValueError:
        return Invalid(f"is not JSON like {example}", example)
    listed = entries if isinstance(entries, list) else []
    if not listed or not all(isinstance(entry, dict) and entry for entry in listed):
        return Invalid(f"is not a list like {example}", example)
    for protocol, port in (item for entry in listed for item in entry.items()):
        if protocol not in ("HTTP", "HTTPS"):
            return Invalid(f"has the protocol {protocol}, which is not HTTP or HTTPS", example)
        if not isinstance(port, int) or isinstance(port, bool) or port not in _PORTS:
            return Invalid(f"has the port {port}, which is not a number from 1 to 65535", example)
    return None


def _cidrs(value: str) -> Invalid | None:
    for cidr in annotation_table.string_list(value):
        try:
            if "/" in cidr:
                ipaddress.ip_network(cidr, strict=False)
                continue
            address = ipaddress.ip_address(cidr)
        except ValueError:
            ranges = re.split(r"[\s,;|]+", value.strip("[] "))
            right = "" if ranges == [cidr] or _cidrs(",".join(ranges)) else ",".join(ranges)
            return Invalid(f"has {cidr}, which is not a CIDR range", right, cidr)
        right = value.replace(cidr, f"{cidr}/{address.max_prefixlen}")
        return Invalid(f"has {cidr}, an address without a prefix length", right, cidr)
    return None


def _certificates(value: str) -> Invalid | None:
    wrong = [arn for arn in annotation_table.string_list(value) if not _CERTIFICATE.fullmatch(arn)]
    return (
        Invalid(f"has {wrong[0]}, which is not the ARN of a certificate", "<ARN>", wrong[0])
        if wrong
        else None
    )


def _web_acl(value: str) -> Invalid | None:
    if value == "none" or _WEB_ACL.fullmatch(value):
        return None
    if ":global/" in value:
        return Invalid(
            "is a web ACL for CloudFront (global), and load balancers need a regional one",
            "<ARN of a regional web ACL>",
        )
    return Invalid(
        "is not the ARN of a regional web ACL of WAFv2, and not none", "<ARN of a web ACL>"
    )


def _health_path(value: str) -> Invalid | None:
    if not value.startswith("/"):
        return Invalid("does not begin with /", f"/{value.lstrip('/')}")
    too_long = len(value) > _LONGEST_PATH
    return Invalid(f"has more than {_LONGEST_PATH} characters") if too_long else None


def _codes(value: str) -> Invalid | None:
    if not _CODES.fullmatch(value):
        near = re.sub(r"([1-5])xx", r"\g<1>00-\g<1>99", re.sub(r"\s", "", value.lower()))
        return Invalid(
            "is not of the form 200, 200,204 or 200-299", near if _CODES.fullmatch(near) else ""
        )
    return None


def _subnets(value: str) -> Invalid | None:
    if len(annotation_table.string_list(value)) >= _LEAST_SUBNETS:
        return None
    right = f"{value},<subnet in another zone>"
    return Invalid("has fewer than two subnets, which must be in different zones", right)


def _tags(value: str) -> Invalid | None:
    pairs = annotation_table.string_map(value) or {}
    for key, text in pairs.items():
        if key.lower().startswith("aws:"):
            return Invalid(f"has the tag {key}, and AWS reserves aws:")
        if len(key) > _TAG_KEY or len(text) > _TAG_VALUE:
            return Invalid(f"has a tag with more than {_TAG_KEY} or {_TAG_VALUE} characters")
    return Invalid(f"has more than {_TAGS} tags") if len(pairs) > _TAGS else None


def _capacity(value: str) -> Invalid | None:
    pairs = annotation_table.string_map(value) or {}
    if set(pairs) == {"CapacityUnits"} and _INTEGER.fullmatch(pairs["CapacityUnits"]):
        return None
    return Invalid("is not of the form CapacityUnits=100", "CapacityUnits=100")


def _hosts(value: str) -> Invalid | None:
    for host in annotation_table.string_list(value):
        if not _HOST.fullmatch(host):
            bare = re.sub(r"^[a-z]+://|[:/].*$", "", re.sub(r"^[a-z]+://", "", host.lower()))
            right = value.replace(host, bare) if _HOST.fullmatch(bare) else ""
            return Invalid(f"has {host}, which is not a DNS name", right, host)
    return None


def _role(value: str) -> Invalid | None:
    return None if _ROLE.fullmatch(value) else Invalid("is not the ARN of an IAM role", "<ARN>")


def _health_protocol(value: str) -> Invalid | None:
    if value.upper() in ("HTTP", "HTTPS", "TCP"):
        return None
    return Invalid("is not HTTP, HTTPS or TCP", "TCP")


def _mutual_authentication(value: str) -> Invalid | None:
    example = '[{"port": 443, "mode": "passthrough"}]'
    try:
        entries = json.loads(value)
    except ValueError:
        return Invalid(f"is not JSON like {example}", example)
    if not isinstance(entries, list) or not entries:
        return Invalid(f"is not a list like {example}", example)
    for entry in entries:
        found = entry if isinstance(entry, dict) else {}
        if found.get("mode") not in ("off", "passthrough", "verify"):
            return Invalid("has a mode that is not off, passthrough or verify", example)
        if (found["mode"] == "verify") != bool(found.get("trustStore")):
            return Invalid("has a trustStore without the mode verify, or the mode without one")
    return None


def _pool(value: str) -> Invalid | None:
    is_pool = re.fullmatch("ipv4pool-coip-[A-Za-z0-9]+", value)
    return None if is_pool else Invalid("is not the id of a customer-owned pool", "<id of a pool>")


_SERVICE = f"{NLB}aws-load-balancer-"
_OF_NAMES: dict[str, Callable[[str], Invalid | None]] = {
    f"{ALB}load-balancer-name": _balancer_name,
    f"{ALB}group.name": _group_name,
    f"{ALB}group.order": _group_order,
    f"{ALB}ssl-policy": _ssl_policy,
    f"{ALB}listen-ports": _listen_ports,
    f"{ALB}customer-owned-ipv4-pool": _pool,
    f"{ALB}inbound-cidrs": _cidrs,
    f"{ALB}mutual-authentication": _mutual_authentication,
    f"{ALB}certificate-arn": _certificates,
    f"{ALB}wafv2-acl-arn": _web_acl,
    f"{ALB}healthcheck-path": _health_path,
    f"{ALB}success-codes": _codes,
    f"{ALB}subnets": _subnets,
    f"{ALB}tags": _tags,
    f"{ALB}frontend-nlb-tags": _tags,
    f"{ALB}minimum-load-balancer-capacity": _capacity,
    f"{_SERVICE}name": _balancer_name,
    f"{_SERVICE}ssl-negotiation-policy": _ssl_policy,
    f"{_SERVICE}ssl-cert": _certificates,
    f"{_SERVICE}healthcheck-path": _health_path,
    f"{_SERVICE}healthcheck-protocol": _health_protocol,
    f"{_SERVICE}healthcheck-success-codes": _codes,
    f"{_SERVICE}additional-resource-tags": _tags,
    f"{_SERVICE}minimum-load-balancer-capacity": _capacity,
    f"{NLB}load-balancer-source-ranges": _cidrs,
    "external-dns.alpha.kubernetes.io/hostname": _hosts,
    "external-dns.alpha.kubernetes.io/internal-hostname": _hosts,
    "external-dns.kubernetes.io/hostname": _hosts,
    "external-dns.kubernetes.io/internal-hostname": _hosts,
    "eks.amazonaws.com/role-arn": _role,
}


def ports_of(value: str) -> Iterator[tuple[int, str]]:
    """Yield the ports of a valid listen-ports, each with its protocol."""
    if _listen_ports(value) is None:
        for entry in json.loads(value):
            for protocol, port in entry.items():
                yield port, protocol
