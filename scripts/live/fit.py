"""Whether a context of the kubeconfig and an environment fit. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.core import paths
from scripts.kubernetes.manifest import Manifest
from scripts.live.cluster import Live
from scripts.live.kubectl import Context, Object
from scripts.live.wanted import Wanted, chain_id

HERE = "https://kubernetes.default.svc"
"""The server of the cluster that Argo CD runs in, which has another address from outside."""
_GENESIS = "besu.json"


def minor_version(version: Object) -> str:
    """Return the minor version of an API server, like 1.34, from its answer to /version."""
    digits = "".join(sign for sign in str(version.get("minor", "")) if sign.isdecimal())
    return f"{version.get('major', '')}.{digits}"


def of_cluster(context: Context, wanted: Wanted, version: str) -> Iterator[str]:
    """Yield why the cluster is not that of the environment."""
    name, cluster = wanted.environment.name, wanted.environment.cluster
    server = cluster.get("server", "")
    if server not in ("", HERE, context.server.rstrip("/")):
        yield (
            f"the context {context.name} leads to {context.server}, but environment.yaml of {name}"
            f" has the cluster {server}"
        )
    known = (context.name, context.cluster, context.cluster.rpartition("/")[2])
    if (own := cluster.get("name", "")) and own not in known:
        yield (
            f"environment.yaml of {name} has the cluster {own}, and kubeconfig calls the cluster"
            f" of the context {context.name} {context.cluster}: check that both are the same"
        )
    if version != wanted.environment.kubernetes_version:
        yield (
            f"the cluster runs Kubernetes {version}, but {name} was validated against"
            f' {wanted.environment.kubernetes_version}: write kubernetesVersion: "{version}" in'
            " its environment.yaml, if this is its cluster"
        )


def of_chain(wanted: Wanted, live: Live) -> Iterator[str]:
    """Yield that another chain runs there, by the chain id of the genesis."""
    for manifest in wanted.manifests:
        there = live.find(manifest)
        ids = [_chain_id(each) for each in (manifest, there) if each]
        if len(ids) == 2 and None not in ids and ids[0] != ids[1]:
            yield (
                f"another chain runs there: {manifest.label} has the chain id {ids[1]}, and"
                f" {ids[0]} in git"
            )


def of_application(wanted: Wanted, application: Object | None) -> Iterator[str]:
    """Yield that the Argo CD of the cluster does not sync the environment, or syncs it elsewhere.

    application: the live one; None if it does not exist.
    """
    name = wanted.application.name
    if application is None:
        if wanted.environment.cluster.get("server") == HERE:
            yield (
                f"no Application {name} is in the namespace argocd, so no Argo CD of this cluster"
                f" syncs {wanted.environment.name}: it is another cluster, or"
                " argocd/root.yaml was not applied yet"
            )
        return
    there = paths.get(application, ["spec", "destination"])
    if there != wanted.application.get("spec", "destination"):
        yield f"Application/{name} syncs to {_place(there)}"


def _place(destination: Any) -> str:
    parts = destination if isinstance(destination, dict) else {}
    return f"{parts.get('namespace')} of {parts.get('server') or parts.get('name')}"


def _chain_id(manifest: Manifest) -> int | None:
    return chain_id(manifest.get("data", _GENESIS)) if manifest.kind == "ConfigMap" else None


def no_namespace(
    context: Context, wanted: Wanted, misfits: Sequence[str], others: Sequence[str]
) -> str:
    """Return the message for a cluster without the environment's namespace."""
    name, namespace = wanted.environment.name, wanted.environment.namespace
    more = f"; {'; '.join(misfits)}" if misfits else ""
    known = [each for each in others if each != context.name]
    other = f" (other contexts: {', '.join(known)})" if known else ""
    return (
        f"{context.server} (context {context.name}) has no namespace {namespace}: it is another"
        f" cluster{other}, or {name} was never synced{more}"
    )
