"""Read what the overview shows: committed manifests and inputs. Nothing is rendered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

from scripts.core import git
from scripts.core.parallel import each
from scripts.environments import environment as environments
from scripts.environments import image_lock, layout, placeholders
from scripts.environments.environment import Environment
from scripts.kubernetes import containers, resilience, resource_usage, support
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.quantity import parse, shown
from scripts.kubernetes.workloads import mappings
from scripts.output import committed, git_revision
from scripts.overview import report
from scripts.overview.report import Capacity, Image, Kubernetes, Overview, Release, Window

EKS = "base/profiles/eks.yaml"
"""The profile of environments on Amazon EKS."""


def overview(root: Path, names: Sequence[str], on: date) -> Overview:
    """Return the named environments as they are committed; on: the day from which dates are seen.

    Raises UserError for invalid inputs, and for files in manifests/ that render did not write.
    """
    table = support.load()

    def of_environment(name: str) -> report.Environment:
        return environment(root, name, on, table)

    found = each(of_environment, names, "reading environments")
    return Overview(on.isoformat(), _revision(root), table.of.isoformat(), tuple(found))


def environment(root: Path, name: str, on: date, table: support.Table) -> report.Environment:
    """Return one environment, with what needs attention in it."""
    inputs = environments.load(root, name)
    manifests, project = _committed(root, name)
    found = report.Environment(
        name=name,
        namespace=inputs.namespace,
        cluster=inputs.cluster.get("name") or inputs.cluster.get("server", ""),
        is_production=inputs.is_production,
        is_example=inputs.is_example,
        release=_release(inputs),
        kubernetes=_kubernetes(inputs, on, table),
        zones=inputs.zones,
        survives=resilience.words(manifests, inputs.zones),
        sync=tuple(_NAMES[key] for key in _NAMES if inputs.sync.get(key)),
        windows=tuple(_windows(project)),
        images=tuple(_images(manifests)),
        capacity=tuple(_capacity(manifests, inputs.node)),
        waivers=tuple(_waivers(inputs, on)),
        accepts=tuple(report.Accepted(one.rule, one.consequence) for one in inputs.accepts),
        placeholders=tuple(_placeholders(root, inputs)),
    )
    return report.with_attention(found)


_NAMES = {"automated": "automated", "selfHeal": "self-heal", "prune": "prune"}


def _committed(root: Path, name: str) -> tuple[list[Manifest], Manifest]:
    """Return an environment's manifests and its AppProject, from the working tree."""
    folder, project = layout.manifests_folder(name), layout.argocd_file("projects", name)
    manifests, found = list[Manifest](), Manifest({}, "")
    for file, raw in committed.read(root, name).items():
        manifest = git_revision.manifest_of(raw.decode("utf-8", "replace"), file)
        if manifest and file.startswith(f"{folder}/"):
            manifests.append(manifest)
        elif manifest and file == project:
            found = manifest
    return manifests, found


def _revision(root: Path) -> str:
    """Return the commit that is checked out; empty without git."""
    return git.ask(root, "rev-parse", "--verify", "--quiet", "HEAD").strip()


_VERSION = re.compile(r"^version: *[\"']?([^\s\"']+)", re.MULTILINE)


def _release(inputs: Environment) -> Release:
    """Return the release, and the version of its chart."""
    try:
        chart = _VERSION.search((inputs.source / "chart" / "Chart.yaml").read_text("utf-8"))
    except OSError:
        chart = None
    return Release(inputs.release, chart[1] if chart else "")


def _kubernetes(inputs: Environment, on: date, table: support.Table) -> Kubernetes:
    version = inputs.kubernetes_version
    is_eks = any(layer.file.partition("@")[0] == EKS for layer in inputs.layers)
    dates = table.versions.get(version)
    outlook = support.outlook(dates, on, is_eks=is_eks)
    ends = (dates.upstream, dates.standard, dates.extended) if dates else (None, None, None)
    days = (end.isoformat() if end else "" for end in ends)
    return Kubernetes(version, is_eks, outlook.state, outlook.words, *days)


def _windows(project: Manifest) -> Iterator[Window]:
    for _, window in mappings(project.get("spec", "syncWindows")):
        yield Window(
            kind=str(window.get("kind", "")),
            schedule=str(window.get("schedule", "")),
            duration=str(window.get("duration", "")),
            time_zone=str(window.get("timeZone") or "UTC"),
            manual=window.get("manualSync") is True,
        )


def _images(manifests: Sequence[Manifest]) -> list[Image]:
    """Return the images of each component, sorted and without duplicates."""
    found = set[tuple[str, str, str]]()
    for manifest in manifests:
        for container in containers.of_object(manifest):
            if isinstance(image := container.get("image"), str):
                reference = image_lock.parse(image)
                component = manifest.component or manifest.name
                found.add((component, reference.name, reference.digest))
    return [Image(*one) for one in sorted(found)]


def _capacity(manifests: Sequence[Manifest], node: Mapping[str, str]) -> Iterator[Capacity]:
    """Yield what the environment takes at its largest of its quotas, and of its smallest node."""
    counted = resource_usage.count(manifests)
    used: dict[str, Decimal] = {}
    for share in counted.shares:
        used[share.resource] = used.get(share.resource, Decimal(0)) + share.total
    limits: dict[str, Decimal] = {}
    for _, amounts in resource_usage.quotas(manifests):
        for name, amount in amounts.items():
            resource = resource_usage.SAME.get(name, name)
            limits[resource] = min(amount, limits.get(resource, amount))
    for resource, limit in sorted(limits.items()):
        yield _share(resource, used.get(resource, Decimal(0)), limit, "quota")
    for resource in ("cpu", "memory"):
        room = parse(node.get(resource))
        largest = max(
            (pods.effective("requests").get(resource, Decimal(0)) for pods in counted.pods),
            default=Decimal(0),
        )
        if room is not None:
            yield _share(resource, largest, room, "node")


def _share(resource: str, used: Decimal, limit: Decimal, of: str) -> Capacity:
    percent = int(used * 100 / limit) if limit else 0 if not used else 101
    return Capacity(resource, shown(resource, used), shown(resource, limit), percent, of)


def _waivers(inputs: Environment, on: date) -> Iterator[report.Waiver]:
    """Yield the waivers, the one that ends first at the top."""
    for waiver in sorted(inputs.waivers, key=lambda one: (one.until, one.rule, one.object)):
        left = (date.fromisoformat(waiver.until) - on).days
        yield report.Waiver(waiver.rule, waiver.object, waiver.until, left)


def _placeholders(root: Path, inputs: Environment) -> Iterator[report.Placeholder]:
    for finding in placeholders.findings(root, inputs):
        value, _, _ = finding.message.partition(" is a placeholder")
        yield report.Placeholder(value, finding.file, finding.line)
