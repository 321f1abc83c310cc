"""Mutants: dev and prod, each with one break in its real manifests.

A mutant is what a person could get by one wrong edit, and what then breaks: each operator names
that. Operators walk over all objects and know of no rule. An edit is no mutant where nothing would
behave otherwise, and only there. By this principle there are none of
- what only informs: descriptions, helm.sh/chart, app.kubernetes.io/version, part-of, managed-by,
  labels of objects that nothing selects by, log levels, comments, the order of keys;
- what stays the same: a headless Service's port (its names lead to pods, whose ports count), a
  selector without the labels that all pods have in common (instance, name), where it may change;
- what is a choice: more room in a quota, a lower priority of an alert, a longer interval.

A ConfigMap's mutant comes with the checksum that the chart would have given its pods.
"""

# ruff: noqa: E501

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from scripts import yamlio
from scripts.manifest import Manifest, Where, config_maps
from scripts.quantity import parse
from scripts.rules.objects import Objects
from tests import examples
from tests.objects import walk

ENVIRONMENTS = ("dev", "prod")

GONE: Any = object()
"""In the place of a value: the field or item is not there."""

Other = Callable[[Any, Where, Any], Iterator[Any]]
"""An object, a path in it and the value there → what may stand there instead."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A kind of break."""

    family: str
    """Of the rules that should find it."""
    name: str
    kinds: tuple[str, ...]
    """Of the objects it is for; none named, and it is for all."""
    where: re.Pattern[str]
    """Paths, their parts with slashes between them."""
    other: Other
    breaks: str
    """What comes of it."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """An environment with one break."""

    name: str
    operator: Operator
    objects: Objects
    changed: tuple[Manifest, ...]
    """The objects that are otherwise than before; none where one is gone."""


# What may stand instead


def to(*values: Any) -> Other:
    """Return other values, whatever stood there."""
    return lambda _, __, value: (other for other in values if other != value)


def gone(_: Any, __: Where, ___: Any) -> Iterator[Any]:
    """Yield nothing: the field or item goes."""
    yield GONE


def misspelt(_: Any, __: Where, value: Any) -> Iterator[Any]:
    """Yield a name without its last letter but one."""
    if isinstance(value, str) and value:
        yield value[:-2] + value[-1] if len(value) > 2 else value + "x"


def plus(number: int) -> Other:
    """Return the number that stands there, with so many more."""

    def other(_: Any, __: Where, value: Any) -> Iterator[Any]:
        if isinstance(value, int):
            yield value + number
        elif isinstance(value, str) and value.isdecimal():
            yield str(int(value) + number)

    return other


def times(*factors: float) -> Other:
    """Return so many times the amount that stands there."""

    def other(_: Any, __: Where, value: Any) -> Iterator[Any]:
        amount = parse(value)
        for factor in factors:
            if amount:
                found = re.fullmatch(r"[0-9.]+([A-Za-z]*)", str(value))
                unit = found[1] if found else ""
                number = float(str(value).removesuffix(unit)) * factor
                text = f"{number:g}"
                if "." in text and unit == "m":
                    text = str(int(number) + 1)
                yield int(text) if isinstance(value, int) and "." not in text else text + unit

    return other


def having(**fields: Any) -> Other:
    """Return the mapping with other fields."""
    return lambda _, __, value: iter([value | fields]) if isinstance(value, dict) else iter(())


def appended(*items: Any) -> Other:
    """Return the list with one item more."""
    return lambda _, __, value: ([*value, item] for item in items if isinstance(value, list))


def instead(pattern: str, *replacements: str) -> Other:
    """Return the text with one of the places that fit the pattern, each in its turn, replaced."""
    found = re.compile(pattern, re.MULTILINE)

    def other(_: Any, __: Where, value: Any) -> Iterator[Any]:
        if not isinstance(value, str):
            return
        for match in found.finditer(value):
            for replacement in replacements:
                new = value[: match.start()] + match.expand(replacement) + value[match.end() :]
                if new != value:
                    yield new

    return other


def both(*others: Other) -> Other:
    """Return what each of them gives."""
    return lambda data, path, value: (new for other in others for new in other(data, path, value))


def other_port(data: Any, path: Where, value: Any) -> Iterator[Any]:
    """Yield the name of another port of the same container, or of the same Service."""
    near = path[: path.index("containers") + 2] if "containers" in path else ("spec",)
    names = [port.get("name") for port in yamlio.get(data, (*near, "ports")) or ()]
    targets = [port.get("targetPort") for port in yamlio.get(data, (*near, "ports")) or ()]
    known = targets if path[-1] == "targetPort" else names
    others = [name for name in known if name not in (None, value)]
    if value in known and others:
        yield others[0]


def renamed(data: Any, _: Where, value: Any) -> Iterator[Any]:
    """Yield a ConfigMap's files with another name for one of them, each in its turn."""
    if "grafana_dashboard" not in data["metadata"]["labels"]:
        for key in value:
            yield {f"{name}x" if name == key else name: text for name, text in value.items()}


def line(*keys: str) -> Other:
    """Return the TOML without the line of a key, each in its turn."""
    return instead(rf"^(?:{'|'.join(map(re.escape, keys))}) = .*\n", "")


# The operators

POD = r"spec/(?:jobTemplate/spec/)?template/"
SPEC = POD + "spec/"
CONTAINER = SPEC + r"(?:containers|initContainers)/\d+"
MAIN = SPEC + r"containers/\d+"
WORKLOADS = ("CronJob", "Deployment", "StatefulSet")
SETS = ("Deployment", "StatefulSet")
COMPONENT = "app.kubernetes.io/component"
LABEL = r"app\.kubernetes\.io/(?:component|instance|name)"
ANY_LABEL = r"[a-z.-]+/[a-z-]+"
TOML = r"data/.+\.toml"
OBJECT = ""

OPERATORS: list[Operator] = []


def breaks(family: str, name: str, kinds: str, where: str, other: Other, comes_of_it: str) -> None:
    """Add an operator."""
    found = Operator(family, name, tuple(kinds.split()), re.compile(where), other, comes_of_it)
    OPERATORS.append(found)


_PODS = " ".join(WORKLOADS)
_SETS = " ".join(SETS)

_REFERENCES = (
    ("a Secret's name", _PODS, r".*/(secretName|secretKeyRef/name)"),
    ("a ConfigMap's name", _PODS, r".*/configMap/name"),
    ("a key of a volume", _PODS, r".*/items/\d+/key"),
    ("a key of a Secret", _PODS, r".*/secretKeyRef/key"),
    ("a volume's name at its mount", _PODS, r".*/volumeMounts/\d+/name"),
    (
        "a ServiceAccount's name",
        _PODS + " SecretStore",
        r".*/(serviceAccountName|serviceAccountRef/name)",
    ),
    ("a StorageClass's name", _PODS, r".*/storageClassName"),
    ("a claim to copy from", _PODS, r".*/dataSource/name"),
    ("a SecretStore's name", "ExternalSecret", r"spec/secretStoreRef/name"),
    ("a Secret's name where it is made", "ExternalSecret", r"spec/target/name"),
    ("a key's name where it is made", "ExternalSecret", r"spec/data/\d+/secretKey"),
    ("an autoscaler's target", "HorizontalPodAutoscaler", r"spec/scaleTargetRef/name"),
    ("a StatefulSet's Service", "StatefulSet", r"spec/serviceName"),
    ("an Ingress's class", "Ingress", r"spec/ingressClassName"),
    ("an Ingress's Service", "Ingress", r".*/backend/service/name"),
    ("an Ingress's port", "Ingress", r".*/backend/service/port/name"),
    ("a port's name in a Service", "Service", r"spec/ports/\d+/targetPort"),
    ("a port's name in a ServiceMonitor", "ServiceMonitor", r"spec/endpoints/\d+/port"),
    ("a port's name in a probe", _SETS, r".*Probe/.*/port"),
    ("a port's name in a container", _PODS, MAIN + r"/ports/\d+/name"),
    (
        "an object's name",
        "ConfigMap ExternalSecret SecretStore Service ServiceAccount",
        r"metadata/name",
    ),
    ("a variable that is expanded", _PODS, MAIN + r"/env/\d+/name"),
    ("a file's path", _PODS, r".*/items/\d+/path"),
    ("a mount's path", _PODS, r".*/volumeMounts/\d+/mountPath"),
)
for _name, _kinds, _where in _REFERENCES:
    breaks("references", f"{_name}, misspelt", _kinds, _where, misspelt,
           "what is named is not there: a pod that can't start, or a request that leads nowhere")  # fmt: skip

breaks("references", "another kind of store", "ExternalSecret", r"spec/secretStoreRef/kind",
       to("ClusterSecretStore"), "there is no such store: no Secret, and no pod that needs it")  # fmt: skip
breaks("references", "an autoscaler's target of another kind", "HorizontalPodAutoscaler",
       r"spec/scaleTargetRef/kind", to("Deployment"), "nothing is scaled")  # fmt: skip
for _what, _kinds, _where in (
    ("a volume", _PODS, SPEC + r"volumes/\d+"),
    ("a mount", _PODS, CONTAINER + r"/volumeMounts/\d+"),
    ("a variable", _PODS, MAIN + r"/env/\d+"),
    ("a container's port", _PODS, MAIN + r"/ports/\d+"),
    ("a key of an ExternalSecret", "ExternalSecret", r"spec/data/\d+"),
    ("a key of a volume", _PODS, r".*/items/\d+"),
    ("an argument", _PODS, MAIN + r"/args/\d+"),
    ("a key of a ConfigMap", "ConfigMap", r"data/(?!.*dashboard).+\.(toml|json|sh|xml)"),
    ("a container", "StatefulSet", MAIN),
    ("an init container", "StatefulSet", SPEC + r"initContainers/\d+"),
    ("an Ingress's path", "Ingress", r"spec/rules/0/http/paths/\d+"),
):  # fmt: skip
    breaks("references", f"without {_what}", _kinds, _where, gone,
           "what needs it does not find it, or does something else")  # fmt: skip
breaks("references", "a key of a ConfigMap, misspelt", "ConfigMap", "data", renamed,
       "the file is not where the program looks for it")  # fmt: skip
breaks("references", "without a Service's port", "Service", r"spec/ports/\d+", gone,
       "what connects to it by number or by name finds no port")  # fmt: skip
for _family, _kinds in (
    ("references", "ConfigMap ExternalSecret SecretStore Service ServiceAccount"),
    ("connections", "NetworkPolicy"),
    ("capacity", "LimitRange ResourceQuota"),
    ("availability", "HorizontalPodAutoscaler PodDisruptionBudget"),
    ("change", "CronJob Deployment Ingress StatefulSet"),
    ("chain", "PrometheusRule ServiceMonitor"),
):
    breaks(_family, f"without an object: {_family}", _kinds, OBJECT, gone,
           "what the others count on is not there")  # fmt: skip

# Labels
for _family, _name, _kinds, _where in (
    ("references", "a Service's selector", "Service", "spec/selector/" + LABEL),
    ("references", "a label of pods", _PODS, POD + "metadata/labels/" + LABEL),
    ("references", "a workload's selector", _SETS, "spec/selector/matchLabels/" + LABEL),
    ("availability", "a budget's selector", "PodDisruptionBudget", "spec/selector/matchLabels/" + LABEL),
    ("connections", "a policy's selector", "NetworkPolicy", "spec/podSelector/matchLabels/" + LABEL),
    ("connections", "a peer's label", "NetworkPolicy", "spec/(in|e)gress/.*/matchLabels/" + ANY_LABEL),
    ("connections", "a policy's expression", "NetworkPolicy", r"spec/podSelector/.*/values/\d+"),
    ("chain", "a ServiceMonitor's selector", "ServiceMonitor", "spec/selector/matchLabels/" + LABEL),
    ("chain", "a label of a Service", "Service", "metadata/labels/" + COMPONENT),
    ("availability", "a label of an affinity", _PODS, SPEC + "affinity/.*/matchLabels/" + ANY_LABEL),
    ("availability", "a label of a spread", _PODS, SPEC + "topologySpreadConstraints/.*/matchLabels/" + LABEL),
):  # fmt: skip
    breaks(_family, f"{_name}, misspelt", _kinds, _where, misspelt, "it selects nothing")
for _family, _name, _kinds, _where in (
    ("references", "a Service's selector", "Service", "spec/selector/" + COMPONENT),
    ("references", "a label of pods", _PODS, POD + "metadata/labels/" + LABEL),
    ("references", "a workload's selector", _SETS, "spec/selector/matchLabels/" + LABEL),
    ("availability", "a budget's selector", "PodDisruptionBudget", "spec/selector/matchLabels/" + COMPONENT),
    ("connections", "a policy's selector", "NetworkPolicy", "spec/podSelector/matchLabels/" + COMPONENT),
    ("connections", "a peer's label", "NetworkPolicy", "spec/(in|e)gress/.*/matchLabels/" + COMPONENT),
    ("chain", "a ServiceMonitor's selector", "ServiceMonitor", "spec/selector/matchLabels/" + COMPONENT),
    ("chain", "a label of a Service", "Service", "metadata/labels/" + COMPONENT),
    ("availability", "a label of an affinity", _PODS, SPEC + "affinity/.*/matchLabels/" + COMPONENT),
):  # fmt: skip
    breaks(_family, f"without {_name}", _kinds, _where, gone,
           "it selects the pods of all components, or is selected no more")  # fmt: skip
for _family, _kinds, _where in (
    ("references", "Service", "spec/selector"),
    ("references", _SETS, "spec/selector"),
    ("availability", "PodDisruptionBudget", "spec/selector"),
    ("connections", "NetworkPolicy", "spec/podSelector"),
    ("connections", "NetworkPolicy", r"spec/(in|e)gress/\d+/(from|to)/\d+/(podSelector|namespaceSelector)"),
    ("chain", "ServiceMonitor", "spec/selector"),
):  # fmt: skip
    breaks(_family, f"an empty selector: {_kinds.split()[0]}", _kinds, _where, to({}),
           "it selects everything, or nothing")  # fmt: skip

# Ports
breaks("connections", "another port of a Service", "Service", r"spec/ports/\d+/port",
       lambda data, _, value: iter(() if data["spec"].get("clusterIP") == "None" else [value + 1]),
       "clients that come by the number find nothing")  # fmt: skip
breaks("references", "a Service's port that leads to another", "Service",
       r"spec/ports/\d+/targetPort", other_port, "clients speak to something else")  # fmt: skip
breaks("connections", "another port of a container", _PODS, MAIN + r"/ports/\d+/containerPort",
       plus(1), "the program listens elsewhere: no endpoint answers")  # fmt: skip
breaks("connections", "a port of another protocol", "Service " + _PODS, r".*/ports/\d+/protocol",
       lambda _, __, value: iter(["UDP" if value == "TCP" else "TCP"]),
       "packets of the protocol that is spoken go nowhere")  # fmt: skip
breaks("references", "a probe of another port", _SETS, r".*Probe/(httpGet|tcpSocket)/port",
       other_port, "the probe fails for ever, or says nothing of what serves")  # fmt: skip
breaks("connections", "another port in a policy", "NetworkPolicy", r".*/ports/\d+/port", plus(1),
       "the connection that is needed is dropped")  # fmt: skip
breaks("connections", "another protocol in a policy", "NetworkPolicy", r".*/ports/\d+/protocol",
       lambda _, __, value: iter(["UDP" if value == "TCP" else "TCP"]),
       "the connection that is needed is dropped")  # fmt: skip
for _what, _where in (
    ("rule", r"spec/(in|e)gress/\d+"),
    ("peer", r"spec/(in|e)gress/\d+/(from|to)/\d+"),
    ("port", r"spec/(in|e)gress/\d+/ports/\d+"),
):
    breaks("connections", f"without a {_what} of a policy", "NetworkPolicy", _where, gone,
           "a connection that is needed is dropped, or everything is let through")  # fmt: skip
breaks("connections", "peers that are anybody", "NetworkPolicy", r"spec/(in|e)gress/\d+/(from|to)",
       gone, "every address of the world is let through")  # fmt: skip
breaks("connections", "ports that are any", "NetworkPolicy", r"spec/(in|e)gress/\d+/ports", gone,
       "every port is open")  # fmt: skip
breaks("connections", "without a type of a policy", "NetworkPolicy", r"spec/policyTypes/\d+", gone,
       "one direction is open to all")  # fmt: skip
breaks("connections", "addresses of the whole world", "NetworkPolicy", r".*/ipBlock/cidr",
       to("0.0.0.0/0"), "everybody is let in past the load balancer")  # fmt: skip
breaks("connections", "addresses of nobody", "NetworkPolicy", r".*/ipBlock/cidr", to("192.0.2.0/24"),
       "the load balancer, or S3, is not let through")  # fmt: skip
breaks("connections", "addresses without exceptions", "NetworkPolicy", r".*/ipBlock/except",
       gone, "the node's credentials and the private network can be reached")  # fmt: skip
breaks("connections", "ports in TOML", "ConfigMap", TOML,
       instead(r"^((?:[a-z-]+-)?port = )(\d+)$", r"\g<1>1\2"),
       "the program listens where no Service, probe or policy looks")  # fmt: skip
breaks("connections", "a port of an endpoint", "ConfigMap", TOML,
       instead(r"(http://[^:\"]+:)(\d+)", r"\g<1>1\2"), "Maru does not reach its Besu")  # fmt: skip
breaks("connections", "a host of an endpoint", "ConfigMap", TOML,
       instead(r"(http://linea-stack-seq)uencer", r"\1encer"), "Maru does not find its Besu")  # fmt: skip
breaks("connections", "a port in a variable", _PODS, r".*/env/\d+/value",
       instead(r":(\d{4})$", r":1\1"), "the client finds nobody")  # fmt: skip
breaks("connections", "a host in a variable", _PODS, r".*/env/\d+/value",
       both(instead(r"linea-stack-besu:", "linea-stack-bes:"),
            instead(r"linea-stack-ethstats:", "linea-stack-ethstat:"),
            instead(r"linea-stack-sequencer(-N)?$", r"linea-stack-sequencr\1"),
            instead(r"linea-stack-maru-N\.", "linea-stack-mar-N."),
            instead(r"linea-stack-sequencer-0\.", "linea-stack-sequencr-0.")),
       "the client finds nobody")  # fmt: skip
breaks("connections", "a program's port in a variable", _PODS, r".*/env/\d+",
       lambda _, __, value: iter([value | {"value": "3001"}] if value.get("name") == "PORT" else ()),
       "it listens where no Service looks")  # fmt: skip
breaks("connections", "a health check of another port", "Ingress",
       r"metadata/annotations/alb\.ingress\.kubernetes\.io/healthcheck-port", to("30303"),
       "no target is healthy: 503 for all")  # fmt: skip
breaks("connections", "a health check of another path", "Ingress",
       r"metadata/annotations/alb\.ingress\.kubernetes\.io/healthcheck-path", to("/healthz"),
       "no target is healthy: 503 for all")  # fmt: skip
breaks("connections", "a Service without a cluster address", "Service", "spec/clusterIP", gone,
       "its pods have no names: no peer finds another")  # fmt: skip
breaks("connections", "a Service of ready pods only", "Service", "spec/publishNotReadyAddresses",
       gone, "pods that wait for each other's names never become ready")  # fmt: skip

# Capacity
breaks("capacity", "a quarter of a quota", "ResourceQuota", r"spec/hard/.+", times(0.25),
       "pods or claims are refused")  # fmt: skip
breaks("capacity", "a lower bound", "LimitRange", r"spec/limits/\d+/max/.+", times(0.125),
       "containers or claims are refused")  # fmt: skip
breaks("capacity", "a higher bound", "LimitRange", r"spec/limits/\d+/min/.+", times(1024),
       "claims are refused")  # fmt: skip
breaks("capacity", "a quarter of the memory", _PODS, MAIN + "/resources/limits/memory", times(0.25),
       "the container is killed, or refused as its request is above")  # fmt: skip
breaks("capacity", "a request above the limit", _PODS, CONTAINER + "/resources/requests/.+", times(8),
       "the pod is refused")  # fmt: skip
breaks("capacity", "a container as large as no node", _PODS, MAIN + "/resources",
       lambda _, __, value: iter([{k: v | {"memory": "512Gi"} for k, v in value.items()}]),
       "the pod stays Pending")  # fmt: skip
breaks("capacity", "a container without resources", _PODS, MAIN + "/resources", gone,
       "it gets the defaults, less than its heap, and is the first to be killed")  # fmt: skip
breaks("capacity", "without limits", _PODS, MAIN + "/resources/limits", gone,
       "the quota refuses it, or it takes all of the node")  # fmt: skip
breaks("capacity", "without requests", _PODS, MAIN + "/resources/requests", gone,
       "it counts with its limits, or as nothing")  # fmt: skip
breaks("capacity", "without a limit of memory", _PODS, MAIN + "/resources/limits/memory", gone,
       "it takes all of the node's, or the default, less than its heap")  # fmt: skip
breaks("capacity", "a heap of four times the size", _PODS, r".*/env/\d+/value",
       both(instead(r"-Xmx1g", "-Xmx4g"), instead(r"-Xmx2g", "-Xmx8g"),
            instead(r"-Xmx512m", "-Xmx2g"), instead(r"-Xmx256m", "-Xmx1g")),
       "the container is killed as soon as it uses its heap")  # fmt: skip
breaks("capacity", "a heap without a bound", _PODS, r".*/env/\d+/value",
       instead(r"-Xmx\S+ ", ""), "Java takes a quarter of the limit")  # fmt: skip
breaks("capacity", "more scratch than the limit", _PODS, r".*/emptyDir/sizeLimit", times(1024),
       "the pod is evicted while its volume has room, or memory is taken from the program")  # fmt: skip
breaks("capacity", "a volume of a quarter", _PODS, r".*/resources/requests/storage", times(0.25),
       "the volume can't shrink, and a copy can't be smaller than its source")  # fmt: skip
breaks("capacity", "a volume of the eightfold", "StatefulSet", r".*/resources/requests/storage",
       times(8), "beyond what the claim's bounds or the quota let")  # fmt: skip
breaks("capacity", "an autoscaler up to 30", "HorizontalPodAutoscaler", "spec/maxReplicas", to(30),
       "the quota refuses the pods, just when they are needed")  # fmt: skip
breaks("capacity", "an autoscaler with more than its most", "HorizontalPodAutoscaler",
       "spec/minReplicas", to(5), "the object is refused")  # fmt: skip

# Availability
breaks("availability", "no replicas", _SETS, "spec/replicas", to(0), "nothing runs")
breaks("availability", "more replicas", _SETS, "spec/replicas", plus(1),
       "one more than there are keys, validators or zones; a second one of what can be one only")  # fmt: skip
breaks("availability", "fewer replicas", "StatefulSet", "spec/replicas", plus(-1),
       "a validator of the genesis is missing for ever")  # fmt: skip
breaks("availability", "a single replica", "StatefulSet", "spec/replicas", to(1),
       "there are no blocks")  # fmt: skip
breaks("availability", "an autoscaler from 1", "HorizontalPodAutoscaler", "spec/minReplicas", to(1),
       "one lost node takes JSON-RPC along")  # fmt: skip
breaks("availability", "a budget of 2", "PodDisruptionBudget", "spec/maxUnavailable",
       to(2), "a drain takes the quorum")  # fmt: skip
breaks("availability", "a budget of all", "PodDisruptionBudget", "spec/maxUnavailable",
       to("100%"), "a drain takes all pods")  # fmt: skip
breaks("availability", "a budget of none", "PodDisruptionBudget", "spec/maxUnavailable",
       to(0), "no node can be drained")  # fmt: skip
breaks("availability", "a budget that keeps all", "PodDisruptionBudget", "spec",
       lambda _, __, value: iter([{k: v for k, v in value.items() if k != "maxUnavailable"}
                                  | {"minAvailable": "100%"}]),
       "no node can be drained")  # fmt: skip
breaks("availability", "a budget of broken pods", "PodDisruptionBudget",
       "spec/unhealthyPodEvictionPolicy", gone, "a pod that never gets ready holds up a drain")  # fmt: skip
breaks("availability", "an update beside the old pod", "Deployment", "spec/strategy",
       lambda _, __, value: iter([{"type": "RollingUpdate"}] if value["type"] == "Recreate" else ()),
       "two senders with one key")  # fmt: skip
breaks("availability", "an update that can't begin", "Deployment", "spec/strategy/rollingUpdate",
       to({"maxSurge": 0, "maxUnavailable": 0}), "the object is refused")  # fmt: skip
breaks("availability", "an update without the old pod", "Deployment",
       "spec/strategy/rollingUpdate/maxUnavailable", to(1, "100%"), "nothing serves meanwhile")  # fmt: skip
breaks("availability", "updates by hand", "StatefulSet", "spec/updateStrategy", to({"type": "OnDelete"}),
       "Argo CD waits for ever for pods that nobody replaces")  # fmt: skip
breaks("availability", "an update that stops", "StatefulSet", ".*/partition", to(4),
       "no pod gets what is committed")  # fmt: skip
breaks("availability", "pods one after the other", "StatefulSet", "spec/podManagementPolicy",
       to("OrderedReady"), "the first waits to be ready for those that come after it")  # fmt: skip
for _what in ("liveness", "readiness", "startup"):
    breaks("availability", f"without a {_what} probe", _SETS, f"{MAIN}/{_what}Probe", gone,
           "a pod that does not work gets requests, or is never restarted, or too soon")  # fmt: skip
breaks("availability", "a start of no time", _SETS, r".*/startupProbe/failureThreshold", to(1),
       "it is killed before it is up, again and again")  # fmt: skip
breaks("availability", "a liveness of no patience", _SETS, r".*/livenessProbe",
       lambda _, __, value: iter([value | {"failureThreshold": 1, "timeoutSeconds": 1, "periodSeconds": 1}]),
       "one slow answer restarts it")  # fmt: skip
breaks("availability", "a probe of nothing", _SETS, r".*Probe/httpGet/path", to("/nothing"),
       "404: it is never ready, or killed again and again")  # fmt: skip
breaks("availability", "a readiness that says nothing", _SETS, r".*/readinessProbe/httpGet/path",
       instead(r"^/readiness.*", "/liveness"), "a node that is behind gets requests")  # fmt: skip
breaks("availability", "a probe by another script", _SETS, r".*Probe/exec/command/\d+",
       instead(r"\.sh$", ".bash"), "it is never ready")  # fmt: skip
breaks("availability", "no time to end", _PODS, SPEC + "terminationGracePeriodSeconds", to(5),
       "it is killed before its data are on disk, or its requests are answered")  # fmt: skip
breaks("availability", "a sleep longer than the time to end", _PODS, r".*/preStop/sleep/seconds",
       to(600), "it is killed before it is told to end")  # fmt: skip
breaks("availability", "without a sleep before the end", _PODS, MAIN + "/lifecycle", gone,
       "requests that are on their way fail")  # fmt: skip
breaks("availability", "without anti-affinity", "StatefulSet", SPEC + "affinity/podAntiAffinity",
       gone, "one zone, or one node, takes several")  # fmt: skip
breaks("availability", "without affinity", _PODS, SPEC + "affinity/podAffinity", gone,
       "Maru and its sequencer, or the clone and its volume, are in different zones")  # fmt: skip
breaks("availability", "without node affinity", "StatefulSet", SPEC + "affinity/nodeAffinity", gone,
       "pods go where there are no volumes, or are counted in zones that are not theirs")  # fmt: skip
breaks("availability", "without a spread", "StatefulSet", SPEC + "topologySpreadConstraints", gone,
       "one zone takes JSON-RPC along")  # fmt: skip
breaks("availability", "a spread that only tries", "StatefulSet", r".*/whenUnsatisfiable",
       to("ScheduleAnyway"), "one zone takes JSON-RPC along")  # fmt: skip
breaks("availability", "a spread that lets more together", "StatefulSet", r".*/maxSkew", to(3),
       "one zone takes JSON-RPC along")  # fmt: skip
breaks("availability", "apart by node only", _PODS, r".*/topologyKey", to("kubernetes.io/hostname"),
       "one zone takes the quorum")  # fmt: skip
breaks("availability", "apart by a misspelt label of nodes", _PODS, r".*/topologyKey", misspelt,
       "no node has it: Pending, or not apart at all")  # fmt: skip
breaks("availability", "apart if it can be", "StatefulSet", SPEC + "affinity/podAntiAffinity",
       lambda _, __, value: iter(
           [{"preferredDuringSchedulingIgnoredDuringExecution":
             [{"weight": 100, "podAffinityTerm": term} for term in
              value["requiredDuringSchedulingIgnoredDuringExecution"]]}]
           if "requiredDuringSchedulingIgnoredDuringExecution" in value else ()),
       "one zone takes the quorum")  # fmt: skip
breaks("availability", "a zone misspelt", "StatefulSet", r".*/nodeSelectorTerms/.*/values/\d+",
       instead("us-east-1", "us-eas-1"), "Pending: a zone is missing")  # fmt: skip
breaks("availability", "a zone fewer", "StatefulSet", r".*/nodeSelectorTerms/.*/values/\d+", gone,
       "Pending: more pods than zones")  # fmt: skip
breaks("availability", "without its own sequencer's zone", "StatefulSet", r".*/matchLabelKeys", gone,
       "a Maru is beside another's sequencer: a zone takes two validators")  # fmt: skip
breaks("availability", "a schedule that never comes", "CronJob", "spec/schedule", to("0 0 31 2 *"),
       "there is no backup")  # fmt: skip
breaks("availability", "a schedule once a week", "CronJob", "spec/schedule", to("0 0 * * 0"),
       "the alert fires always, or a week is lost")  # fmt: skip
breaks("availability", "a schedule that is none", "CronJob", "spec/schedule", to("0 25 * * *", "0 */6 * *"),
       "the object is refused")  # fmt: skip
breaks("availability", "backups at the same time", "CronJob", "spec/concurrencyPolicy",
       to("Allow"), "two write to the same place, and the quota refuses the third")  # fmt: skip
breaks("availability", "a backup that waits", "CronJob", "spec",
       having(suspend=True), "there is no backup, and nothing says so")  # fmt: skip
breaks("availability", "no time to begin", "CronJob", "spec/startingDeadlineSeconds", to(5),
       "the controller looks every 10 seconds: it never begins")  # fmt: skip
breaks("availability", "no time to finish", "CronJob", r".*/activeDeadlineSeconds", to(10),
       "no backup is ever complete")  # fmt: skip
breaks("availability", "a backup that is tried for ever", "CronJob", r".*/backoffLimit", to(1000),
       "it is no failure for days")  # fmt: skip
breaks("availability", "a pod that is started again", "CronJob", SPEC + "restartPolicy",
       to("Always"), "the object is refused")  # fmt: skip
breaks("availability", "an autoscaler that never scales", "HorizontalPodAutoscaler",
       r".*/averageUtilization", to(1000), "overload, and no pod more")  # fmt: skip

# Change
breaks("change", "a selector that can't change", _SETS, "spec/selector/matchLabels",
       having(tier="chain"), "the sync fails: the field is immutable")  # fmt: skip
breaks("change", "claims of another size", "StatefulSet", r"spec/volumeClaimTemplates/.*/storage",
       times(2), "the sync fails: the field is immutable")  # fmt: skip
breaks("change", "claims of another class", "StatefulSet",
       r"spec/volumeClaimTemplates/.*/storageClassName", to("gp3-encrypted"),
       "the sync fails: the field is immutable")  # fmt: skip
breaks("change", "claims without a class", "StatefulSet",
       r"spec/volumeClaimTemplates/.*/storageClassName", gone,
       "the sync fails: the field is immutable")  # fmt: skip
breaks("change", "claims for many", "StatefulSet", r"spec/volumeClaimTemplates/.*/accessModes/0",
       to("ReadWriteMany"), "the sync fails: the field is immutable")  # fmt: skip
breaks("change", "claims of another name", "StatefulSet",
       r"spec/volumeClaimTemplates/\d+/metadata/name", to("chain"),
       "new, empty volumes: the data are left behind")  # fmt: skip
breaks("change", "without claims", "StatefulSet", "spec/volumeClaimTemplates", gone,
       "the data are gone with the pod")  # fmt: skip
breaks("change", "claims that go along", "StatefulSet",
       r"spec/persistentVolumeClaimRetentionPolicy/.*", to("Delete"),
       "the data are deleted with the set, or when it shrinks")  # fmt: skip
breaks("change", "a set of another name", _SETS, "metadata/name", to("linea-stack-node"),
       "new, empty volumes beside the old ones")  # fmt: skip
breaks("change", "an object of another namespace", "Service ConfigMap StatefulSet",
       "metadata/namespace", to("linea-other"), "it is not where the others look for it")  # fmt: skip
breaks("change", "an object of Kubernetes' own namespace", "NetworkPolicy",
       "metadata/namespace", to("kube-system"), "it is not where the others look for it")  # fmt: skip
breaks("change", "another kind of address", "Service", "spec",
       lambda _, __, value: iter([value | {"clusterIP": "None"}] if "clusterIP" not in value else ()),
       "the sync fails: the field is immutable")  # fmt: skip
breaks("change", "a Secret that goes along", "ExternalSecret", "spec/target/deletionPolicy",
       to("Delete"), "the keys are deleted with an entry of the store")  # fmt: skip
breaks("change", "a Secret that nobody makes", "ExternalSecret", "spec/target/creationPolicy",
       to("None", "Merge"), "the Secret is never there")  # fmt: skip
breaks("change", "a pod that does not start again", _SETS, POD + "metadata/annotations/checksum/.*",
       gone, "a changed configuration is not read until somebody restarts the pod")  # fmt: skip

# Security
for _what, _field, _values in (  # type: ignore[assignment]
    ("rights gained later", "allowPrivilegeEscalation", (True, GONE)),
    ("capabilities kept", "capabilities", (GONE,)),
    ("a file system to write to", "readOnlyRootFilesystem", (False, GONE)),
):
    breaks("security", _what, _PODS, f"{CONTAINER}/securityContext/{_field}", to(*_values),
           "who breaks into the program has more of the node; Pod Security refuses it")  # fmt: skip
breaks("security", "a capability added", _PODS, f"{MAIN}/securityContext/capabilities",
       having(add=["NET_ADMIN"]), "Pod Security refuses the pod")  # fmt: skip
breaks("security", "a container of all rights", _PODS, f"{MAIN}/securityContext",
       having(privileged=True), "Pod Security refuses the pod")  # fmt: skip
breaks("security", "a container as root", _PODS, f"{MAIN}/securityContext",
       having(runAsUser=0), "the kubelet refuses it")  # fmt: skip
breaks("security", "pods as root", _PODS, SPEC + "securityContext/runAsUser", to(0),
       "the kubelet refuses it, or who breaks in is root")  # fmt: skip
breaks("security", "pods as anybody", _PODS, SPEC + "securityContext/runAsNonRoot", to(False, GONE),
       "Pod Security refuses the pod")  # fmt: skip
breaks("security", "pods without a filter of calls", _PODS, SPEC + "securityContext/seccompProfile",
       to({"type": "Unconfined"}, GONE), "Pod Security refuses the pod")  # fmt: skip
breaks("security", "files of no group", _PODS, SPEC + "securityContext/fsGroup", gone,
       "a new volume belongs to root: nothing can be written")  # fmt: skip
for _field in ("hostNetwork", "hostPID", "hostIPC"):
    breaks("security", f"pods with {_field}", _PODS, SPEC[:-1], having(**{_field: True}),
           "Pod Security refuses the pod")  # fmt: skip
breaks("security", "a folder of the node", _PODS, SPEC + "volumes",
       appended({"name": "host", "hostPath": {"path": "/"}}), "Pod Security refuses the pod")  # fmt: skip
breaks("security", "a port of the node", _PODS, MAIN + r"/ports/0", having(hostPort=8545),
       "Pod Security refuses the pod")  # fmt: skip
breaks("security", "a token for the API", _PODS, SPEC + "automountServiceAccountToken",
       to(True, GONE), "who breaks in can ask the API server")  # fmt: skip
breaks("security", "a secret to read", _PODS, r".*/env/\d+",
       lambda _, __, value: iter([{"name": value["name"], "value": "4f1c9d0be27a"}]
                                 if "secretKeyRef" in value.get("valueFrom", {}) else ()),
       "the secret is in git")  # fmt: skip
breaks("security", "a private key to read", "ConfigMap", "data",
       lambda data, __, value: iter(
           [value | {"key": "0x" + hashlib.sha256(data["metadata"]["name"].encode()).hexdigest()}]
           if data["metadata"]["name"].endswith("-config") else ()),
       "the key is in git")  # fmt: skip
breaks("security", "a Service for the world", "Service", "spec",
       lambda _, __, value: iter([
           {k: v for k, v in value.items() if k != "clusterIP"} | {"type": kind}
           for kind in ("LoadBalancer", "NodePort")]),
       "what has no password can be reached from outside; the quota refuses it")  # fmt: skip
breaks("security", "a Service by an address outside", "Service", "spec",
       having(externalIPs=["203.0.113.7"]), "traffic of others comes here")  # fmt: skip
for _what, _key, _values in (
    ("without a way to TLS", "ssl-redirect", (GONE,)),
    ("without TLS", "listen-ports", ('[{"HTTP": 80}]',)),
    ("of old TLS", "ssl-policy", ("ELBSecurityPolicy-2016-08",)),
    ("for whom it is not meant", "scheme", ("internal",)),
    ("by the node", "target-type", ("instance",)),
    ("of a group of its own", "group.name", ("linea-staging", GONE)),
):
    breaks("security", f"an Ingress {_what}", "Ingress",
           rf"metadata/annotations/alb\.ingress\.kubernetes\.io/{_key}", to(*_values),
           "it is read on the way, or nobody reaches it, or another environment's are shared")  # fmt: skip
breaks("security", "an Ingress of every host", "Ingress", r"spec/rules/0/host", gone,
       "it takes the requests of all hosts")  # fmt: skip
breaks("security", "an Ingress of another's host", "Ingress", r"spec/rules/0/host",
       lambda _, __, value: iter(h for h in ("rpc.linea.example.com", "ws.linea.example.com") if h != value),
       "two answer to one name")  # fmt: skip
breaks("security", "an Ingress of every path", "Ingress", r"spec/rules/0/http/paths/\d+/pathType",
       lambda _, __, value: iter(["Prefix"] if value == "Exact" else ()),
       "the public reaches what is not meant for it")  # fmt: skip
breaks("security", "an Ingress to the metrics", "Ingress", r".*/backend/service/port",
       to({"number": 9545}), "nobody can be reached, or metrics by the public")  # fmt: skip
for _what, _replacement in (
    ("that means another with every release", r"\1:latest"),
    ("of no tag", r"\1"),
    ("of somebody else's registry", r"registry.example.net/\1:\2"),
    ("of another tag that is locked as this", r"\1:\g<2>x\3"),
):
    breaks("security", f"an image {_what}", _PODS, CONTAINER + "/image",
           instead(r"^([^:@]+):([^@]+)(@.*)?$", _replacement), "something else runs than reviewed")  # fmt: skip
breaks("security", "an image without its digest", _PODS, CONTAINER + "/image",
       instead(r"@.*$", ""), "who may push decides what runs")  # fmt: skip
breaks("security", "an image of another digest", _PODS, CONTAINER + "/image",
       instead(r"(@sha256:)(....)", r"\g<1>0000"), "something else runs than reviewed")  # fmt: skip
breaks("security", "an image of another program", _PODS, MAIN + "/image",
       to("docker.io/library/busybox:1.37.0"), "another program runs")  # fmt: skip
breaks("security", "an image pulled never", _PODS, CONTAINER + "/imagePullPolicy", to("Never"),
       "a new node never has it")  # fmt: skip
breaks("security", "JSON-RPC for administrators", "ConfigMap", TOML,
       instead(r'^(rpc-(?:http|ws)-api = \[)', r'\1"ADMIN", '), "the public commands the node")  # fmt: skip
breaks("security", "an Engine API without a secret", "ConfigMap", TOML,
       both(instead(r'^engine-jwt-secret = .*$', "engine-jwt-disabled = true"),
            instead(r', jwt-secret-path = "[^"]+"', "")),
       "who reaches it decides what the chain is, or Maru is refused")  # fmt: skip
breaks("security", "an Engine API for all names", "ConfigMap", TOML,
       instead(r'^engine-host-allowlist = \["localhost", "127.0.0.1"\]', 'engine-host-allowlist = ["*"]'),
       "a page in a browser reaches it")  # fmt: skip
breaks("security", "a role that may do all", "ServiceAccount", "metadata/annotations",
       lambda data, __, value: iter(
           [value | {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/admin"}]
           if "eks.amazonaws.com/role-arn" not in value else ()),
       "a program gets rights in the cloud that it does not need")  # fmt: skip
breaks("security", "without a role in the cloud", "ServiceAccount",
       r"metadata/annotations/eks\.amazonaws\.com/role-arn", gone,
       "no secret is read, no backup is written")  # fmt: skip
breaks("security", "another pod's ServiceAccount", _PODS, SPEC + "serviceAccountName",
       to("linea-stack-backup"), "who breaks in may do what backups may")  # fmt: skip

# Argo CD
_WAVE = "metadata/annotations/argocd.argoproj.io/sync-wave"
_OPTIONS = "metadata/annotations/argocd.argoproj.io/sync-options"
breaks("argocd", "a wave too late", "ConfigMap ExternalSecret SecretStore Service ServiceAccount",
       re.escape(_WAVE), to("9"), "pods of earlier waves wait for it, and the sync for them")  # fmt: skip
breaks("argocd", "a wave too late for what guards", "LimitRange NetworkPolicy PodDisruptionBudget ResourceQuota",
       re.escape(_WAVE), to("9"), "pods run before they are guarded")  # fmt: skip
breaks("argocd", "a wave too early", "HorizontalPodAutoscaler Ingress ServiceMonitor " + _PODS,
       re.escape(_WAVE), to("-3"), "it comes before what it needs: the sync hangs or fails")  # fmt: skip
breaks("argocd", "waves in another order", "StatefulSet", re.escape(_WAVE), to("5"),
       "halves of two validators restart at a time, RPC before the chain")  # fmt: skip
breaks("argocd", "a hook of an object that stays", _PODS + " ConfigMap", "metadata/annotations",
       having(**{"argocd.argoproj.io/hook": "PreSync"}),
       "it is made anew with each sync, and never compared")  # fmt: skip
breaks("argocd", "data that are pruned", "StatefulSet", re.escape(_OPTIONS), gone,
       "an object that leaves git is deleted without a question")  # fmt: skip
breaks("argocd", "an object that is replaced", "StatefulSet Service", "metadata/annotations",
       having(**{"argocd.argoproj.io/sync-options": "Replace=true,Force=true"}),
       "each sync deletes it and makes it anew")  # fmt: skip
breaks("argocd", "an object that is not compared", "StatefulSet NetworkPolicy", "metadata/annotations",
       having(**{"argocd.argoproj.io/compare-options": "IgnoreExtraneous",
                 "argocd.argoproj.io/sync-options": "Skip=true"}),
       "what is committed is not what runs")  # fmt: skip
breaks("argocd", "a project without a kind", "AppProject", r"spec/namespaceResourceWhitelist/\d+",
       gone, "the sync fails: the kind is not permitted")  # fmt: skip
breaks("argocd", "a project without namespaces", "AppProject", r"spec/clusterResourceWhitelist/\d+",
       gone, "the sync fails: the namespace is not permitted")  # fmt: skip
breaks("argocd", "a project of all kinds", "AppProject", r"spec/(namespace|cluster)ResourceWhitelist",
       to([{"group": "*", "kind": "*"}]), "the repository may do anything")  # fmt: skip
breaks("argocd", "a project of another place", "AppProject", r"spec/destinations/\d+/(namespace|server)",
       both(misspelt, to("*")), "the sync fails, or the repository may go everywhere")  # fmt: skip
breaks("argocd", "a project without a place", "AppProject", r"spec/destinations/\d+", gone,
       "the sync fails: the destination is not permitted")  # fmt: skip
breaks("argocd", "a project of another repository", "AppProject", r"spec/sourceRepos/\d+",
       both(misspelt, to("*")), "the sync fails, or every repository may be read")  # fmt: skip
breaks("argocd", "a project of another name", "AppProject", "metadata/name", misspelt,
       "the Application's project is not there")  # fmt: skip
breaks("argocd", "a project of another namespace", "AppProject", "metadata/namespace",
       to("default"), "Argo CD does not read it there")  # fmt: skip
for _where, _values in (
    ("destination/namespace", ("linea-staging",)),
    ("destination/server", ("https://192.0.2.1",)),
    ("project", ("default", "linea-staging")),
    ("source/path", ("overlays/staging/manifests", "overlays/prod", "overlays/dve/manifests")),
    ("source/repoURL", ("https://github.com/example/linea-stack.git",)),
    ("source/targetRevision", ("mian",)),
    ("syncPolicy/automated/prune", (False,)),
    ("syncPolicy/automated/selfHeal", (False,)),
    ("syncPolicy/automated", (GONE,)),
    ("syncPolicy/retry", (GONE,)),
    ("syncPolicy/retry/limit", (0,)),
    ("syncPolicy/managedNamespaceMetadata", (GONE,)),
    ("ignoreDifferences", (GONE,)),
    (r"ignoreDifferences/\d+/name", ("linea-stack-bes",)),
    (r"ignoreDifferences/\d+/kind", ("Deployment",)),
    (r"ignoreDifferences/\d+/jsonPointers/0", ("/spec", "/spec/replica")),
):
    breaks("argocd", f"an Application's {_where.replace(chr(92) + 'd+/', '')}", "Application",
           f"spec/{_where}", to(*_values), "it is not what is committed that runs, or not here")  # fmt: skip
breaks("argocd", "an Application without an option", "Application", r"spec/syncPolicy/syncOptions/\d+",
       gone, "the sync fails, or fights with the autoscaler, or takes others' objects")  # fmt: skip
breaks("argocd", "an Application of the opposite option", "Application",
       r"spec/syncPolicy/syncOptions/\d+", instead("=true$", "=false"),
       "the sync fails, or fights with the autoscaler, or takes others' objects")  # fmt: skip
breaks("argocd", "an Application that is pruned", "Application", re.escape(_OPTIONS), gone,
       "a removed file takes the environment along")  # fmt: skip
breaks("argocd", "an Application of another namespace", "Application", "metadata/namespace",
       to("default"), "Argo CD does not read it there")  # fmt: skip
breaks("argocd", "a namespace of lax pods", "Application",
       r"spec/syncPolicy/managedNamespaceMetadata/labels/pod-security.kubernetes.io/enforce",
       to("privileged", GONE), "any pod may run")  # fmt: skip
breaks("argocd", "a namespace without readiness of targets", "Application",
       r"spec/syncPolicy/managedNamespaceMetadata/labels/elbv2.*", gone,
       "a rollout takes pods away before the load balancer knows the new ones")  # fmt: skip

# Chain
_GENESIS = r"data/(besu|maru)\.json"
breaks("chain", "another chain's number", "ConfigMap", _GENESIS,
       instead(r'("chainId": )(\d+)', r"\g<1>9\2"), "Besu and Maru are of two chains, or another chain")  # fmt: skip
breaks("chain", "a validator fewer", "ConfigMap", r"data/maru\.json",
       instead(r'\n +"0x[0-9a-f]{40}",(?=\n)', ""), "a validator's votes do not count; a new chain")  # fmt: skip
breaks("chain", "a validator twice", "ConfigMap", r"data/maru\.json",
       instead(r'("0x[0-9a-f]{40}"),\n( +)"0x[0-9a-f]{40}"', r"\1,\n\2\1"),
       "the quorum counts one that is not there")  # fmt: skip
breaks("chain", "another validator", "ConfigMap", r"data/maru\.json",
       instead(r'"0x(....)([0-9a-f]{36})"(?=,?\n)', r'"0x0000\2"'),
       "nobody has the key of it: the quorum is at risk, or gone")  # fmt: skip
breaks("chain", "another block time", "ConfigMap", r"data/maru\.json",
       instead(r'("blockTimeSeconds": )1', r"\g<1>0"), "nodes disagree")  # fmt: skip
breaks("chain", "another fork", "ConfigMap", r"data/maru\.json",
       instead(r'"Osaka"', '"Prague"'), "Besu and Maru are of two forks")  # fmt: skip
breaks("chain", "a fork that is missing", "ConfigMap", r"data/besu\.json",
       instead(r'\n +"(shanghai|cancun|prague|osaka)Time": 0,', ""),
       "Besu refuses the payloads of that fork")  # fmt: skip
breaks("chain", "a fork in the future", "ConfigMap", r"data/besu\.json",
       instead(r'("(?:cancun|prague|osaka)Time": )0', r"\g<1>4102444800"),
       "Besu refuses the payloads of that fork")  # fmt: skip
breaks("chain", "a system contract that is missing", "ConfigMap", r"data/besu\.json",
       instead(r'"0x00([0-9A-Fa-f]{38})": \{\n +"balance": "0x0",\n +"nonce"',
               r'"0x11\1": {\n "balance": "0x0",\n "nonce"'),
       "no block of Prague can be made")  # fmt: skip
breaks("chain", "a genesis of another difficulty", "ConfigMap", r"data/besu\.json",
       instead(r'("terminalTotalDifficulty": )0', r"\g<1>100"), "Besu waits for a merge")  # fmt: skip
breaks("chain", "a genesis of another time", "ConfigMap", r"data/besu\.json",
       instead(r'("timestamp": ")0x[0-9a-f]+', r"\g<1>0xffffffff"), "no block can follow; a new chain")  # fmt: skip
breaks("chain", "blocks without room", "ConfigMap", r"data/besu\.json",
       instead(r'("gasLimit": ")0x[0-9a-f]+', r"\g<1>0x1"), "no transaction fits; a new chain")  # fmt: skip
breaks("chain", "a sender without money", "ConfigMap", r"data/besu\.json",
       instead(r'("balance": ")0xd3c21bcecceda1000000', r"\g<1>0x0"), "no transfer; a new chain")  # fmt: skip
breaks("chain", "a node of another key", "ConfigMap", r"data/static-nodes\.json",
       instead(r"enode://....", "enode://0000"), "the sequencers don't know it")  # fmt: skip
breaks("chain", "a node of another host", "ConfigMap", r"data/static-nodes\.json",
       instead(r"@linea-stack-sequencer", "@linea-stack-sequencr"), "nobody finds it")  # fmt: skip
breaks("chain", "a node of another port", "ConfigMap", r"data/static-nodes\.json",
       instead(r":30303", ":30304"), "nobody finds it")  # fmt: skip
breaks("chain", "a node fewer", "ConfigMap", r"data/static-nodes\.json",
       instead(r'\n +"enode:[^"]+",(?=\n)', ""), "nobody calls it")  # fmt: skip
breaks("chain", "a node twice", "ConfigMap", r"data/static-nodes\.json",
       instead(r'("enode:[^"]+"),\n( +)"enode:[^"]+"', r"\1,\n\2\1"), "nobody calls the other")  # fmt: skip
breaks("chain", "a peer of another key", "ConfigMap", TOML,
       instead(r"/p2p/16Uiu2HA(.....)", r"/p2p/16Uiu2HAmmmmm"), "libp2p refuses it")  # fmt: skip
breaks("chain", "a peer of another host", "ConfigMap", TOML,
       instead(r"/dns4/linea-stack-maru", "/dns4/linea-stack-mar"), "nobody finds it")  # fmt: skip
breaks("chain", "a peer of another port", "ConfigMap", TOML,
       instead(r"/tcp/9000", "/tcp/9001"), "nobody finds it")  # fmt: skip
breaks("chain", "a peer fewer", "ConfigMap", TOML, instead(r'\n +"/dns4/[^"]+",(?=\n)', ""),
       "nobody calls it")  # fmt: skip
breaks("chain", "a peer twice", "ConfigMap", TOML,
       instead(r'("/dns4/[^"]+"),\n( +)"/dns4/[^"]+"', r"\1,\n\2\1"), "nobody calls the other")  # fmt: skip
breaks("chain", "another's sequencer", "ConfigMap", TOML,
       both(instead(r"sequencer-0\.", "sequencer-1."), instead(r"sequencer-1\.", "sequencer-0.")),
       "two Marus feed one Besu")  # fmt: skip
breaks("chain", "a name fewer to wait for", _PODS, r".*/env/\d+/value",
       instead(r"linea-stack-sequencer-[12]\.linea-stack-sequencer ", ""),
       "Besu takes the name for 127.0.0.1")  # fmt: skip
breaks("chain", "keys in another order", "StatefulSet", r".*/items/\d+/path",
       instead(r"-1$", "-2"), "a validator has another's key, or two have one")  # fmt: skip
breaks("chain", "one key for two", "StatefulSet", r".*/items/\d+/key", instead(r"^key-1$", "key"),
       "two validators with one key fork the chain")  # fmt: skip
breaks("chain", "one secret for two", "ExternalSecret", r"spec/data/\d+/remoteRef/property",
       instead(r"^key-1$", "key"), "two validators with one key fork the chain")  # fmt: skip
breaks("chain", "another's Secret", "StatefulSet", r".*/secretName",
       both(instead("maru-p2p-key", "sequencer-p2p-key"), instead("sequencer-p2p-key", "maru-p2p-key")),
       "the key has another form: the pod does not start")  # fmt: skip
breaks("chain", "a store's entry misspelt", "ExternalSecret", r"spec/data/\d+/remoteRef/(key|property)",
       misspelt, "no Secret")  # fmt: skip
breaks("chain", "a file misspelt in TOML", "ConfigMap", TOML,
       instead(r'^((?:[a-z-]+)(?:-file|-path|-secret) = "/[^"]+)(.)(.)"', r'\1\3"'),
       "the file is not there: the pod fails, or a key is made up")  # fmt: skip
breaks("chain", "a file misspelt in an argument", _PODS, MAIN + r"/(args|command)/\d+",
       instead(r"(/[a-z]+/[a-z.-]+)(.)(\w)$", r"\1\3"), "the file is not there: the pod fails")  # fmt: skip
breaks("chain", "a file misspelt in a variable", _PODS, r".*/env/\d+/value",
       instead(r"^(/[a-z]+/[a-z0-9/-]*)(.)(\w)$", r"\1\3"), "the file is not there: the pod fails")  # fmt: skip
breaks("chain", "TOML without a key", "ConfigMap", TOML,
       line("data-path", "data-storage-format", "host-allowlist", "sync-mode", "nat-method",
            "static-nodes-file", "Xdns-enabled", "Xdns-update-enabled", "engine-jwt-secret",
            "engine-rpc-port", "engine-host-allowlist", "rpc-http-enabled", "rpc-http-host",
            "rpc-http-port", "rpc-http-api", "rpc-ws-enabled", "rpc-ws-host", "metrics-enabled",
            "metrics-host", "p2p-port", "private-key-path", "ip-address", "port", "min-gas-price",
            "tx-pool-max-prioritized-by-type", "engine-api-endpoint", "l2-eth-api-endpoint",
            "el-sync-status-refresh-interval", "fee-recipient", "sync-target-selection",
            "rpc-http-max-active-connections", "rpc-http-max-batch-size"),
       "a default takes its place, which does not fit")  # fmt: skip
breaks("chain", "TOML with a key misspelt", "ConfigMap", TOML,
       instead(r"^([a-z]+-[a-z-]*)(.)([a-z]) = ", r"\1\3 = "), "the key is ignored, or refused")  # fmt: skip
for _what, _pattern, _new, _comes in (
    ("listens to itself only", r'-host = "0.0.0.0"', '-host = "127.0.0.1"', "nobody reaches it"),
    ("has an address of itself only", r'ip-address = "0.0.0.0"', 'ip-address = "127.0.0.1"', "no peer reaches it"),
    ("does not measure", r"metrics-enabled = true", "metrics-enabled = false", "alerts are silent"),
    ("does not serve", r"(rpc-(?:http|ws))-enabled = true", r"\1-enabled = false", "clients and probes fail"),
    ("takes names for addresses", r"Xdns-enabled = true", "Xdns-enabled = false", "Besu does not start"),
    ("snaps", r'sync-mode = "FULL"', 'sync-mode = "SNAP"', "there is nobody to snap from"),
    ("stores otherwise", r'data-storage-format = "BONSAI"', 'data-storage-format = "FOREST"', "Besu refuses the data that are there"),
    ("asks for a price", r"min-gas-price = 0", "min-gas-price = 100000000000", "transactions stay in the pool"),
    ("serves whom it knows", r'^host-allowlist = \["\*"\]', 'host-allowlist = ["localhost"]', "403 to Services and probes"),
    ("keeps its data elsewhere", r'^data-path = "/data"', 'data-path = "/tmp/data"', "the data are gone with the pod"),
):  # fmt: skip
    breaks("chain", f"a program that {_what}", "ConfigMap", TOML, instead(_pattern, _new), _comes)
breaks("chain", "a Maru of another genesis", _PODS, MAIN + r"/args/\d+",
       instead(r"/genesis/maru\.json", "/genesis/besu.json"), "Maru does not start")  # fmt: skip
breaks("chain", "a Maru of another's configuration", _PODS, MAIN + r"/args/\d+",
       instead(r"\$\(POD_NAME\)", "linea-stack-maru-0"), "all Marus feed one Besu")  # fmt: skip

# Monitoring
_EXPR = r"spec/groups/\d+/rules/\d+/expr"
breaks("chain", "a metric misspelt", "PrometheusRule", _EXPR,
       instead(r"\b((?:ethereum|besu|maru|kube|jvm|process|kubelet|container)_[a-z_]+)([a-z])([a-z])(?=[{])", r"\1\3"),
       "the alert is silent for ever")  # fmt: skip
breaks("chain", "a recorded metric misspelt", "PrometheusRule", _EXPR.replace("expr", "record"),
       misspelt, "the alerts that read it are silent for ever")  # fmt: skip
for _label, _old in (
    ("namespace", r'(?<=[{, ])namespace="[^"]+'),
    ("job", r'(?<=[{, ])job="[^"]+'),
    ("statefulset", r'(?<=[{, ])statefulset="[^"]+'),
    ("cronjob", r'(?<=[{, ])cronjob="[^"]+'),
):
    breaks("chain", f"an alert of another {_label}", "PrometheusRule", _EXPR,
           instead(f"({_old})", r"\1x"), "the alert is silent for ever")  # fmt: skip
breaks("chain", "an alert of a number of another chain", "PrometheusRule", _EXPR,
       instead(r"(statefulset=\"linea-stack-maru\"\}\)) (<|==) (\d)", r"\1 \2 1"), "the quorum is lost without an alert")  # fmt: skip
breaks("chain", "an expression that is none", "PrometheusRule", _EXPR, instead(r"\)\s*\Z", ""),
       "Prometheus refuses the whole group")  # fmt: skip
breaks("chain", "an alert without severity", "PrometheusRule", r".*/labels/severity", gone,
       "nobody is called")  # fmt: skip
breaks("chain", "another name of the job", "ServiceMonitor", r".*/relabelings/\d+/replacement",
       misspelt, "all alerts that look at it are silent")  # fmt: skip
breaks("chain", "without a name of the job", "ServiceMonitor", r".*/relabelings", gone,
       "all alerts that look at it are silent")  # fmt: skip
breaks("chain", "another path of the metrics", "ServiceMonitor", r"spec/endpoints/\d+/path",
       misspelt, "404: no metrics")  # fmt: skip
breaks("chain", "more patience than the interval", "ServiceMonitor", r".*/scrapeTimeout", to("2m"),
       "the operator refuses it")  # fmt: skip
breaks("chain", "without an endpoint", "ServiceMonitor", r"spec/endpoints/\d+", gone,
       "no metrics, and alerts that are silent")  # fmt: skip
breaks("chain", "a dashboard that nobody loads", "ConfigMap", "metadata/labels/grafana_dashboard",
       gone, "Grafana does not show it")  # fmt: skip
breaks("chain", "a metric misspelt on a dashboard", "ConfigMap", r"data/.*\.json",
       instead(r"(ethereum_blockchain_height)(?=\{)", "ethereum_blockchain_heigt"), "an empty panel")  # fmt: skip


# From an environment and the operators to its mutants


MOST = 4
"""Mutants of an operator in an environment that are tried each time: all of them are thousands."""


def mutants(environment: str, most: int = MOST) -> list[Mutant]:
    """Return the mutants of an environment, in the order of the operators, of each no more.

    Which ones, their names' digests say: nobody chooses, and a new object changes few.
    """
    chosen = list[Mutant]()
    for _, group in groupby(_all(environment), key=lambda mutant: mutant.operator):
        by_digest = sorted(group, key=lambda mutant: hashlib.sha256(mutant.name.encode()).digest())
        chosen += sorted(by_digest[:most], key=lambda mutant: mutant.name)
    return chosen


def _all(environment: str) -> list[Mutant]:
    unbroken = examples.objects(environment)
    found: dict[str, Mutant] = {}
    places = {
        m.label: _places(m) for m in (*unbroken.manifests, unbroken.project, unbroken.application)
    }
    for operator in OPERATORS:
        for manifest in (*unbroken.manifests, unbroken.project, unbroken.application):
            if operator.kinds and manifest.kind not in operator.kinds:
                continue
            for where, path, value in places[manifest.label]:
                if operator.where.fullmatch(where):
                    for other in operator.other(manifest.object, path, value):
                        one = _mutant(unbroken, operator, manifest, path, other)
                        found.setdefault(one.name, one)
    return list(found.values())


def _places(manifest: Manifest) -> list[tuple[str, Where, Any]]:
    return [("/".join(map(str, path)), path, value) for path, value in walk(manifest.object)]


def _mutant(
    unbroken: Objects, operator: Operator, manifest: Manifest, path: Where, other: Any
) -> Mutant:
    name = f"{unbroken.name}: {manifest.label}: {_change(manifest.object, path, other)}"
    if not path and other is GONE:
        left = tuple(one for one in unbroken.manifests if one is not manifest)
        return Mutant(name, operator, replace(unbroken, manifests=left), ())
    changed = replace(manifest, object=_with(manifest.object, path, other))
    if manifest is unbroken.project:
        return Mutant(name, operator, replace(unbroken, project=changed), (changed,))
    if manifest is unbroken.application:
        return Mutant(name, operator, replace(unbroken, application=changed), (changed,))
    made = {manifest.label: changed, **_restarted(unbroken, changed)}
    everything = tuple(made.get(one.label, one) for one in unbroken.manifests)
    return Mutant(name, operator, replace(unbroken, manifests=everything), tuple(made.values()))


def _with(data: Any, path: Where, other: Any) -> Any:
    """Return the data with another value at the path; what is not on the way is shared."""
    if not path:
        return other
    first, rest = path[0], path[1:]
    if isinstance(data, list):
        assert isinstance(first, int)
        there = [] if not rest and other is GONE else [_with(data[first], rest, other)]
        return [*data[:first], *there, *data[first + 1 :]]
    if not rest and other is GONE:
        return {key: value for key, value in data.items() if key != first}
    return data | {first: _with(data[first], rest, other)}


def _restarted(unbroken: Objects, changed: Manifest) -> dict[str, Manifest]:
    """Return the workloads that get a new checksum with a changed ConfigMap."""
    if changed.kind != "ConfigMap":
        return {}
    found = {}
    text = hashlib.sha256(json.dumps(changed.object, sort_keys=True).encode()).hexdigest()
    for workload in unbroken.workloads:
        manifest = workload.manifest
        path = (*workload.template, "metadata", "annotations")
        there = workload.get(*path) or {}
        sums = {key: text for key in there if key.startswith("checksum/")}
        if sums and changed.name in config_maps(manifest.object):
            new = _with(manifest.object, path, there | sums)
            found[manifest.label] = replace(manifest, object=new)
    return found


# How mutants are called


def _change(data: Any, path: Where, other: Any) -> str:
    """Return what is otherwise, in words that fit on a line."""
    place, old = _called(data, path), yamlio.get(data, path)
    if other is GONE:
        return f"without {place or 'the object'}"
    if isinstance(old, str) and isinstance(other, str) and "\n" in old:
        return f"{place}: {_lines(old, other)}"
    if isinstance(old, Mapping) and isinstance(other, Mapping):
        parts = [f"{key} {_short(other[key])}" for key in other if old.get(key) != other[key]]
        parts += [f"no {key}" for key in old if key not in other]
        return f"{place}: {', '.join(parts)}"
    if isinstance(old, list) and isinstance(other, list) and other[: len(old)] == old:
        return f"{place}: and {_short(other[-1])}"
    return f"{place} {_short(old)} → {_short(other)}"


def _called(data: Any, path: Where) -> str:
    """Return a path with the names of what is in lists, without what is the same for all."""
    parts = list[str]()
    for part in path:
        data = data[part]
        if isinstance(part, int):
            named = data.get("name") or data.get("key") if isinstance(data, dict) else None
            parts[-1] += f"[{named or part}]"
        else:
            parts.append(part)
    words = ".".join(parts)
    return re.sub(r"^spec\.(jobTemplate\.spec\.)?(template\.(spec\.)?)?", "", words)


def _lines(old: str, new: str) -> str:
    """Return the lines of a text that are otherwise."""
    before, after = old.split("\n"), new.split("\n")
    start = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
    end = next(
        (i for i, (a, b) in enumerate(zip(before[::-1], after[::-1], strict=False)) if a != b), 0
    )
    was = " ".join(line.strip() for line in before[start : len(before) - end])
    is_ = " ".join(line.strip() for line in after[start : len(after) - end])
    one = f"line {start + 1}, "
    if not is_:
        return f"{one}without {_short(was)}"
    common = next((i for i, (a, b) in enumerate(zip(was, is_, strict=False)) if a != b), 0)
    since = max(0, common - 24)
    return f"{one}{_short(was[since:])} → {_short(is_[since:])}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 72 else f"{text[:71]}…"
