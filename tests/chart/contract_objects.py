"""What the promises of the chart's contract ask of the rendered objects."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import yaml

from scripts.core import paths
from scripts.core.findings import UserError
from scripts.kubernetes.manifest import Manifest
from tests.objects import CHART, containers, of_environment, of_kind, of_values, pod, references

STATEFUL = ("sequencer", "maru", "besu")


@lru_cache
def bare(version: str = "1.34") -> tuple[Manifest, ...]:
    """Return the objects of the chart's defaults."""
    return tuple(of_values(None, version))


@lru_cache
def example(name: str, version: str = "1.34") -> tuple[Manifest, ...]:
    """Return the objects for an example of the contract."""
    return tuple(of_values(CHART / "ci" / f"contract-{name}-values.yaml", version))


def prod() -> list[Manifest]:
    return of_environment("prod")[1]


def find(
    manifests: tuple[Manifest, ...] | list[Manifest], kind: str, component: str
) -> dict[str, Any] | None:
    """Return the object of a kind and component, if there is one with the component's name."""
    name = f"linea-stack-{component}"
    return next((m.object for m in manifests if (m.kind, m.name) == (kind, name)), None)


def get(data: Any, path: str) -> Any:
    """Return the value at a path with dots; numbers are indices."""
    return paths.get(data, [int(part) if part.isdigit() else part for part in path.split(".")])


def kinds(manifests: tuple[Manifest, ...] | list[Manifest]) -> set[str]:
    return {manifest.kind for manifest in manifests}


def workload(component: str) -> dict[str, Any] | None:
    kind = "StatefulSet" if component in STATEFUL else "Deployment"
    return find(bare(), kind, component)


def main_container(component: str) -> dict[str, Any]:
    found = get(workload(component), "spec.template.spec.containers.0")
    return found if isinstance(found, dict) else {}


def probe(component: str, kind: str) -> tuple[str, str, int] | None:
    """Return how a probe asks, what for, and on which number of port."""
    container = main_container(component)
    numbers = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
    for way in ("httpGet", "tcpSocket"):
        asked = get(container, f"{kind}.{way}")
        if asked:
            return way, asked.get("path", ""), numbers.get(asked["port"], asked["port"])
    return None


METRICS = ("httpGet", "/metrics", 9545)
TCP = ("tcpSocket", "", 8080)


def asks(component: str, kind: str, wanted: tuple[str, str, int]) -> bool:
    return probe(component, kind) == wanted


def is_persistent(component: str) -> bool:
    claim = get(workload(component), "spec.volumeClaimTemplates.0.spec.resources.requests.storage")
    return find(bare(), "StatefulSet", component) is not None and bool(claim)


def has_metrics(component: str) -> bool:
    ports = main_container(component).get("ports", ())
    return 9545 in {port["containerPort"] for port in ports}


def is_probed(component: str) -> bool:
    return {"livenessProbe", "readinessProbe"} <= main_container(component).keys()


def has_budget(component: str) -> bool:
    return find(bare(), "PodDisruptionBudget", component) is not None


def secrets(manifests: tuple[Manifest, ...], component: str) -> dict[str, set[str]]:
    """Return the Secrets that the pods of a component need, with the keys they take."""
    found = dict[str, set[str]]()
    for manifest in manifests:
        template = pod(manifest)
        if template is None or manifest.component != component:
            continue
        for volume in template["spec"].get("volumes", ()):
            if secret := volume.get("secret"):
                keys = {item["key"] for item in secret.get("items", ())}
                found.setdefault(secret["secretName"], set()).update(keys)
        for container in containers(template):
            for variable in container.get("env", ()):
                secret = get(variable, "valueFrom.secretKeyRef")
                if secret and not secret.get("optional"):
                    found.setdefault(secret["name"], set()).add(secret["key"])
    return found


def has_key(component: str) -> bool:
    """Return whether a node takes one key from the contract's Secret."""
    return secrets(bare(), component).get(f"linea-stack-{component}-p2p-key") == {"key"}


def variables(manifests: tuple[Manifest, ...], component: str) -> dict[str, Any]:
    """Return the variables of a component's first container."""
    found = find(manifests, "Deployment", component) or find(manifests, "StatefulSet", component)
    env = get(found, "spec.template.spec.containers.0.env") or ()
    return {variable["name"]: variable.get("value") for variable in env}


def service_type(component: str) -> Any:
    return get(find(bare(), "Service", component), "spec.type")


def is_waited_for() -> bool:
    """Return whether pods need a Secret or ConfigMap that the contract does not name."""
    there = {(m.kind, m.name) for m in bare()}
    there |= {("Secret", f"linea-stack-{name}-p2p-key") for name in ("sequencer", "maru")}
    there |= {("Secret", "linea-stack-tx-sender-secrets")}
    there |= {("Secret", "linea-stack-ethstats-secret")}  # optional
    needed = {one for m in bare() if (template := pod(m)) for one in references(template)}
    return bool({(kind, name) for kind, name in needed if kind in ("Secret", "ConfigMap")} - there)


def renders(name: str, version: str) -> bool:
    try:
        return bool(example(name, version))
    except UserError:
        return False


def scaler_is_the_contract_s() -> bool:
    spec = get(find(bare(), "HorizontalPodAutoscaler", "besu"), "spec") or {}
    targets = {
        metric["resource"]["name"]: metric["resource"]["target"]["averageUtilization"]
        for metric in spec.get("metrics", ())
    }
    bounds = (spec.get("minReplicas"), spec.get("maxReplicas"))
    return bounds == (1, 3) and targets == {"cpu": 70, "memory": 70}


def monitors() -> list[Manifest]:
    return of_kind(example("monitoring"), "ServiceMonitor")


def backup() -> dict[str, Any]:
    return find(example("backup"), "CronJob", "backup") or {}


def keeps_one_pod(component: str) -> bool:
    budget = find(bare(), "PodDisruptionBudget", component)
    return bool(get(budget, "spec.minAvailable") == 1)


def backup_has(*words: str) -> bool:
    return all(word in yaml.safe_dump(backup()) for word in words)


def sets_of_prod() -> list[dict[str, Any]]:
    return [m.object for m in of_kind(prod(), "StatefulSet")]


def groups_of_prod() -> set[Any]:
    key = "alb.ingress.kubernetes.io/group.name"
    return {m.annotations.get(key) for m in of_kind(prod(), "Ingress")}


def every_workload_says_how_it_is_updated() -> bool:
    fields = {"StatefulSet": "updateStrategy", "Deployment": "strategy"}
    return all(m.object["spec"].get(fields[m.kind]) for m in prod() if m.kind in fields)
