"""Write scripts/kubernetes/annotations.json, the table of annotations, from upstream sources.

    python -m tests.kubernetes.annotation_sources FOLDER

FOLDER has clones of the repositories in REVISIONS, each in a folder with the repository's name, and
the wheel of botocore (`pip download --no-deps botocore==…`), which has the API of Elastic Load
Balancing and the regions. To take another version, change it here, run the program, and review
what changes in the table.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.kubernetes.annotation_table import TABLE
from tests.git import git

REVISIONS = {
    "aws-load-balancer-controller": "v3.5.0",
    "cloud-provider-aws": "v1.36.1",
    "external-dns": "v0.22.0",
    "cert-manager": "v1.21.1",
    "amazon-eks-pod-identity-webhook": "v0.6.17",
    "aws-ebs-csi-driver": "429e202e",
}
BOTOCORE = "1.44.8"

_SSL_POLICIES = """
2015-05 2016-08 FS-2018-06 FS-1-1-2019-08 FS-1-2-2019-08 FS-1-2-Res-2019-08 FS-1-2-Res-2020-10
TLS-1-0-2015-04 TLS-1-1-2017-01 TLS-1-2-2017-01 TLS-1-2-Ext-2018-06
TLS13-1-0-2021-06 TLS13-1-1-2021-06 TLS13-1-2-2021-06 TLS13-1-2-Res-2021-06 TLS13-1-2-Ext1-2021-06
TLS13-1-2-Ext2-2021-06 TLS13-1-3-2021-06
TLS13-1-0-FIPS-2023-04 TLS13-1-1-FIPS-2023-04 TLS13-1-2-FIPS-2023-04 TLS13-1-2-Res-FIPS-2023-04
TLS13-1-2-Ext0-FIPS-2023-04 TLS13-1-2-Ext1-FIPS-2023-04 TLS13-1-2-Ext2-FIPS-2023-04
TLS13-1-3-FIPS-2023-04
TLS13-1-0-PQ-2025-09 TLS13-1-2-PQ-2025-09 TLS13-1-2-Res-PQ-2025-09 TLS13-1-2-Ext1-PQ-2025-09
TLS13-1-2-Ext2-PQ-2025-09 TLS13-1-3-PQ-2025-09
TLS13-1-0-FIPS-PQ-2025-09 TLS13-1-1-FIPS-PQ-2025-09 TLS13-1-2-FIPS-PQ-2025-09
TLS13-1-2-Res-FIPS-PQ-2025-09 TLS13-1-2-Ext0-FIPS-PQ-2025-09 TLS13-1-2-Ext1-FIPS-PQ-2025-09
TLS13-1-2-Ext2-FIPS-PQ-2025-09 TLS13-1-3-FIPS-PQ-2025-09
"""
"""Security policies: aws-cdk at 066134e4, aws-elasticloadbalancingv2/lib/shared/enums.ts, and
ELBSecurityPolicy-2015-05, an old name of 2016-08. No API's description lists them."""

_ALB = "alb.ingress.kubernetes.io/"
_SERVICE = "service.beta.kubernetes.io/"
_CONTROLLER = "the AWS Load Balancer Controller"

_TYPES = {
    "Bool": "boolean",
    "Int32": "integer",
    "Int64": "integer",
    "JSON": "json",
    "String": "text",
    "StringMap": "map",
    "StringSlice": "list",
}
"""Function of the controller's annotations.Parser → type in the table."""

_NUMBERS = {
    "healthcheck-interval": "HealthCheckIntervalSeconds",
    "healthcheck-timeout": "HealthCheckTimeoutSeconds",
    "healthcheck-healthy-threshold": "HealthCheckThresholdCount",
    "healthcheck-unhealthy-threshold": "HealthCheckThresholdCount",
    "healthy-threshold-count": "HealthCheckThresholdCount",
    "unhealthy-threshold-count": "HealthCheckThresholdCount",
}
"""Beginning or end of a name → the shape of the API that limits the number."""

_CHOICES = {
    # pkg/ingress/model_build_load_balancer.go
    "scheme": ["internal", "internet-facing"],
    "ip-address-type": ["dualstack", "dualstack-without-public-ipv4", "ipv4"],
    # pkg/ingress/model_build_target_group.go
    "target-type": ["instance", "ip"],
    "backend-protocol": ["HTTP", "HTTPS"],
    "backend-protocol-version": ["GRPC", "HTTP1", "HTTP2"],
    "healthcheck-protocol": ["HTTP", "HTTPS"],
    # pkg/ingress/auth_config_builder.go
    "auth-type": ["cognito", "none", "oidc"],
    "auth-on-unauthenticated-request": ["allow", "authenticate", "deny"],
    # pkg/ingress/model_build_frontend_nlb.go
    "frontend-nlb-scheme": ["internal", "internet-facing"],
    # pkg/service/model_build_load_balancer.go
    "aws-load-balancer-scheme": ["internal", "internet-facing"],
    "aws-load-balancer-ip-address-type": ["dualstack", "ipv4"],
    "aws-load-balancer-inbound-sg-rules-on-private-link-traffic": ["off", "on"],
    "aws-load-balancer-enable-prefix-for-ipv6-source-nat": ["off", "on"],
    # pkg/service/service_utils.go; nlb is cloud-provider-aws'
    "aws-load-balancer-type": ["external", "nlb", "nlb-ip"],
    # pkg/service/model_build_target_group.go
    "aws-load-balancer-nlb-target-type": ["instance", "ip"],
    "aws-load-balancer-proxy-protocol": ["*"],
    # pkg/service/model_build_listener.go
    "aws-load-balancer-alpn-policy": [
        "HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred", "None",
    ],
}  # fmt: skip
"""Name → what the controller's switch statements accept; the comments name their files."""

_DYNAMIC = {
    _ALB: (
        "actions.",
        "conditions.",
        "transforms.",
        "listener-attributes.",
        "target-control-port.",
    ),
    _SERVICE: (
        "actions.",
        "aws-load-balancer-listener-attributes.",
        "aws-load-balancer-target-group-attributes.",
    ),
}
"""Prefix → the beginnings of names that end with a Service, a port or a listener."""
_DYNAMIC_TYPES = {"listener-attributes": "map", "target-group-attributes": "map"}


def _text(folder: Path, repository: str, path: str) -> str:
    return git(folder / repository, "show", f"{REVISIONS[repository]}:{path}")


def _texts(folder: Path, repository: str, *under: str) -> str:
    """Return the text of all Go files below some folders, without tests."""
    listed = ("ls-tree", "-r", "--name-only", REVISIONS[repository], *under)
    names = git(folder / repository, *listed)
    chosen = [n for n in names.split() if n.endswith(".go") and not n.endswith("_test.go")]
    return "\n".join(_text(folder, repository, name) for name in chosen)


def _constants(text: str, pattern: str) -> dict[str, str]:
    return dict(re.findall(rf"\b({pattern})\s*=\s*\"([^\"]+)\"", text))


def _controller(folder: Path, api: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the annotations of the AWS Load Balancer Controller, by prefix."""
    repository = "aws-load-balancer-controller"
    constants = _text(folder, repository, "pkg/annotations/constants.go")
    readers = _texts(folder, repository, "pkg/ingress", "pkg/service")
    call = r"Parse(\w+?)Annotation\(\s*annotations\.(\w+),\s*[^,]+,\s*([\w.]+)"
    calls = re.findall(call, readers)
    for prefix, pattern in ((_ALB, r"Ingress(?:LB)?Suffix\w+"), (_SERVICE, r"SvcLBSuffix\w+")):
        names = dict[str, Any]()
        for constant, name in _constants(constants, pattern).items():
            own = [(kind, source) for kind, of, source in calls if of == constant]
            form: dict[str, Any] = {"type": _TYPES[own[0][0]] if own else "text"}
            if prefix == _ALB and any("svc" in source.lower() for _, source in own):
                form["kinds"] = ["Ingress", "Service"]
            names[name] = form | _limits(name, api)
        for start in _DYNAMIC[prefix]:
            assert f'"{start}%v"' in readers or start.rstrip(".") in names, start
            last = start.rstrip(".").removeprefix("aws-load-balancer-")
            kind = "integer" if last == "target-control-port" else _DYNAMIC_TYPES.get(last, "json")
            names[f"{start}*"] = {"type": kind}
            if last in ("listener-attributes", "target-control-port"):
                del names[start.rstrip(".")]  # read only with a listener or a port
        if prefix == _SERVICE:
            names["aws-load-balancer-target-group-attributes"] = {"type": "map"}
        yield prefix, names


def _limits(name: str, api: dict[str, Any]) -> dict[str, Any]:
    """Return the choices of a text, and the limits of a number."""
    if name in _CHOICES:
        return {"choices": _CHOICES[name]}
    for part, shape in _NUMBERS.items():
        if part in name:
            return {"minimum": api[shape]["min"], "maximum": api[shape]["max"]}
    return {}


def _cloud_provider(folder: Path) -> dict[str, Any]:
    """Return the names that only the cloud provider reads; the controller ignores them."""
    text = _texts(folder, "cloud-provider-aws", "pkg/providers/v1")
    found = _constants(text, r"ServiceAnnotation\w+").values()
    return {name.removeprefix(_SERVICE): {"type": "text"} for name in found}


def _others(folder: Path) -> dict[str, Any]:
    """Return the prefixes of the other readers."""
    dns = _text(folder, "external-dns", "source/annotations/annotations.go")
    keys = re.findall(r"(\w+)\s+= AnnotationKeyPrefix \+ \"([^\"]+)\"", dns)
    names: dict[str, Any]
    names = {f"{key}*" if key.endswith("-") else key: {"type": "text"} for _, key in keys}
    names |= {
        "hostname": {"type": "list"},
        "internal-hostname": {"type": "list"},
        "access": {"type": "text", "choices": ["private", "public"]},
        "alias": {"type": "boolean"},
        "endpoints-type": {"type": "text", "choices": ["HostIP", "NodeExternalIP"]},
        "ingress-hostname-source": {
            "type": "text",
            "choices": ["annotation-only", "defined-hosts-only"],
        },
        "ttl": {"type": "ttl", "minimum": 1, "maximum": 2**31 - 1},
    }
    external = {"reader": "external-dns", "kinds": ["Ingress", "Pod", "Service"], "names": names}
    certificates = {
        value
        for path in ("pkg/apis/certmanager/v1/types.go", "pkg/apis/acme/v1/types.go")
        for value in _constants(_text(folder, "cert-manager", path), r"\w+").values()
        if value.partition("/")[0].endswith("cert-manager.io")
    }
    by_prefix = dict[str, Any]()
    for value in sorted(certificates):
        prefix, _, name = value.partition("/")
        of = by_prefix.setdefault(f"{prefix}/", {"reader": "cert-manager", "names": {}})
        is_time = name in ("duration", "renew-before")
        of["names"][name] = {"type": "duration" if is_time else "text"}
    identity = _constants(
        _text(folder, "amazon-eks-pod-identity-webhook", "pkg/annotations.go"), r"\w+Annotation"
    )
    accounts: dict[str, Any] = {name: {"type": "text"} for name in identity.values()}
    for name in ("audience", "role-arn"):
        accounts[name]["kinds"] = ["ServiceAccount"]
    accounts["sts-regional-endpoints"] = {"type": "boolean"}
    accounts["token-expiration"] = {"type": "integer", "minimum": 600, "maximum": 86400}
    volumes = _texts(folder, "aws-ebs-csi-driver", "pkg/driver")
    modified = _constants(volumes, r"(?:Deprecated)?ModificationKey\w+").values()
    kinds = _constants(_texts(folder, "aws-ebs-csi-driver", "pkg/cloud"), r"VolumeType\w+").values()
    of_type = {"type": "text", "choices": sorted(kinds)}
    return {
        # Its default prefix up to 0.21, and from 0.22 on: a cluster may have either.
        "external-dns.alpha.kubernetes.io/": external,
        "external-dns.kubernetes.io/": external,
        **by_prefix,
        "eks.amazonaws.com/": {
            "reader": "the Pod Identity Webhook of EKS",
            "kinds": ["Pod", "ServiceAccount"],
            "names": accounts,
        },
        "ebs.csi.aws.com/": {
            "reader": "the EBS CSI driver",
            "kinds": ["PersistentVolumeClaim"],
            "names": {
                name: of_type if name.lower().endswith("type") else {"type": "integer"}
                for name in sorted(modified)
            },
        },
    }


_ITEM = re.compile(
    r"<li>\s*<p>\s*<code>([a-z0-9_.]+)</code>\s*-?\s*(.*?)(?=</p>|<p>|<li>|<ul>)", re.S
)
_SECTIONS = {
    r"by all load balancers": ["application", "network"],
    r"by (?:both )?Application Load Balancers and\s+Network": ["application", "network"],
    r"only supported by Application|only Application|is an\s+Application": ["application"],
    r"Network Load Balancers, and Gateway|only by Network|by only Network": ["network"],
    r"only by Gateway": [],
}
"""How a list of attributes begins → the types of load balancers that have them."""


def _attributes(documentation: str) -> dict[str, Any]:
    """Return name → form of the attributes in the documentation of an API's key."""
    found, balancers = dict[str, Any](), ["application", "network"]
    for block in re.split(r"(?=<p>The following attribute)", documentation):
        head = html.unescape(block[:300])
        for pattern, of in _SECTIONS.items():
            if re.search(pattern, head):
                balancers = of
                break
        for name, text in _ITEM.findall(block):
            if "." in name and balancers:
                found[name] = {"balancers": balancers} | _form(name, html.unescape(text))
    return found


def _form(name: str, text: str) -> dict[str, Any]:
    """Return the form of an attribute's value, from the words about it."""
    if name == "stickiness.type":
        return {"choices": ["app_cookie", "lb_cookie", "source_ip"]}
    if name.endswith((".header_name", ".header_value", ".count", ".percentage")):
        return {}
    if name.endswith(".enabled") or name == "ipv6.deny_all_igw_traffic":
        more = (
            ["use_load_balancer_configuration"] if "use_load_balancer_configuration" in text else []
        )
        return {"choices": ["false", "true", *more]}
    text = re.sub(r"(The default|After you).*", "", text, flags=re.DOTALL)
    if number := re.search(r"range is\s+(\d+)\D+(\d+)", text):
        week = {"maximum": 604800} if "1 week" in text else {}
        zero = {"also": 0} if name == "slow_start.duration_seconds" else {}  # off
        return {"minimum": int(number[1]), "maximum": int(number[2])} | week | zero
    said = re.split(r"values? (?:is|are)", text)
    values = re.findall(r"<code>([a-z_]+)</code>", said[-1]) if len(said) > 1 else []
    return {"choices": sorted(set(values))} if len(set(values)) > 1 else {}


def _api(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the shapes of Elastic Load Balancing, and the partitions of AWS with their regions."""
    (wheel,) = folder.glob(f"botocore-{BOTOCORE}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("botocore/data/elbv2/2015-12-01/service-2.json.gz")
        partitions = json.loads(archive.read("botocore/data/partitions.json"))["partitions"]
    regions = [
        {
            "partition": each["id"],
            "pattern": each["regionRegex"],
            "regions": sorted(name for name in each["regions"] if not name.endswith("-global")),
        }
        for each in partitions
    ]
    return json.loads(gzip.decompress(packed))["shapes"], regions


def table(folder: Path) -> dict[str, Any]:
    """Return the whole table, from the clones in a folder."""
    api, regions = _api(folder)
    kinds = {_ALB: ["Ingress"], _SERVICE: ["Service"]}
    prefixes = {
        prefix: {"reader": _CONTROLLER, "kinds": kinds[prefix], "names": names}
        for prefix, names in _controller(folder, api)
    }
    known = prefixes[_SERVICE]["names"]
    legacy = {name: form for name, form in _cloud_provider(folder).items() if name not in known}
    prefixes[_SERVICE]["legacy"] = sorted(legacy)
    return {
        "sources": REVISIONS | {"botocore": BOTOCORE},
        "prefixes": prefixes | _others(folder),
        "attributes": {
            name: _attributes(api[shape]["members"]["Key"]["documentation"])
            for name, shape in (
                ("load-balancer-attributes", "LoadBalancerAttribute"),
                ("target-group-attributes", "TargetGroupAttribute"),
                ("listener-attributes", "ListenerAttribute"),
            )
        },
        "ssl-policies": sorted(f"ELBSecurityPolicy-{name}" for name in _SSL_POLICIES.split()),
        "regions": regions,
    }


if __name__ == "__main__":
    TABLE.write_text(json.dumps(table(Path(sys.argv[1])), indent=1) + "\n", "utf-8")
