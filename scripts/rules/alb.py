"""Application Load Balancers: the Ingresses that share one, and their listeners.

Source: pkg/ingress of the AWS Load Balancer Controller 3.5.0.
"""

from __future__ import annotations

from dataclasses import dataclass

from scripts.kubernetes import annotation_values
from scripts.kubernetes.annotation_table import ALB, string_map
from scripts.kubernetes.manifest import Manifest
from scripts.rules.snapshot import Objects

GROUP = f"{ALB}group.name"


@dataclass(frozen=True, slots=True)
class Balancer:
    """The Ingresses of one load balancer."""

    group: str
    """The name of the group; empty if an Ingress has the load balancer for itself."""
    ingresses: tuple[Manifest, ...]

    def value(self, name: str) -> str:
        """Return the first value of an annotation; empty if no Ingress has it."""
        values = (ingress.annotations.get(f"{ALB}{name}") for ingress in self.ingresses)
        return next((str(value) for value in values if value is not None), "")

    @property
    def is_public(self) -> bool:
        """Return whether its scheme is internet-facing; the controller's default is internal."""
        return self.value("scheme") == "internet-facing"


def is_alb(ingress: Manifest) -> bool:
    """Return whether the AWS Load Balancer Controller handles an Ingress."""
    notes = ingress.annotations
    named = ingress.get("spec", "ingressClassName")
    return "alb" in (named, notes.get("kubernetes.io/ingress.class")) or any(
        str(key).startswith(ALB) for key in notes
    )


def balancers(objects: Objects) -> list[Balancer]:
    """Return the Application Load Balancers of an environment."""
    groups = dict[tuple[str, str], list[Manifest]]()
    for ingress in objects.of_kind("Ingress"):
        if is_alb(ingress):
            group = str(ingress.annotations.get(GROUP) or "")
            groups.setdefault((group, "" if group else ingress.label), []).append(ingress)
    return [Balancer(group, tuple(among)) for (group, _), among in groups.items()]


def listeners(ingress: Manifest) -> dict[int, str]:
    """Return port → protocol of the listeners of an Ingress; the default if it says nothing."""
    text = ingress.annotations.get(f"{ALB}listen-ports")
    if text is not None:
        return dict(annotation_values.ports_of(str(text)))
    return {443: "HTTPS"} if ingress.annotations.get(f"{ALB}certificate-arn") else {80: "HTTP"}


def attributes(ingress: Manifest, name: str) -> dict[str, str]:
    """Return the pairs in an annotation that is a map; none if the controller can't read it."""
    return string_map(str(ingress.annotations.get(f"{ALB}{name}") or "")) or {}
