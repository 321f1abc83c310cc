"""Steps of the end-to-end tests: actions and waits, in the terms of Argo CD."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import yaml

from scripts.cluster import argocd
from scripts.cluster.api_client import STILL_S, Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.control_plane import CONTROLLERS_VERSION
from scripts.cluster.git_remote import Remote
from scripts.core import toolchain
from scripts.environments import environment
from tests.conftest import ROOT as CHECKOUT
from tests.conftest import Repository

HANG_S = 3600.0
"""Time-out of a command that a person would run."""
EVENTS = 15
LOG_LINES = 15

ROOT = "linea-root"
PERSON = "a person"


def application(name: str) -> str:
    """Return the name of an environment's Application."""
    return f"linea-{name}"


def environments(cluster: Cluster) -> list[str]:
    """Return the names of the repository's environments."""
    return [each.name for each in cluster.environments]


def applications(cluster: Cluster) -> list[str]:
    """Return the names of all Applications, including the root."""
    return [ROOT, *map(application, environments(cluster))]


def status(each: Object | None, *path: str) -> Any:
    """Return the value at a path of an object's status, or None."""
    value: Any = (each or {}).get("status")
    for key in path:
        value = (value or {}).get(key)
    return value


def at(application: Object) -> str:
    """Return the revision with which Argo CD has compared an Application."""
    return str(status(application, "sync", "revision"))


def is_ready(pod: Object) -> bool:
    """Return whether a pod is ready and not terminating."""
    conditions = status(pod, "conditions") or ()
    ready = any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def is_of_a_job(pod: Object) -> bool:
    """Return whether a pod belongs to a Job: a backup may start or end at any time."""
    return bool(owner(pod).get("kind") == "Job")


def owner(each: Object) -> Object:
    """Return the reference to an object's owner; empty if it has none."""
    references = each["metadata"].get("ownerReferences") or [{}]
    first: Object = references[0]
    return first


def is_synced(each: Object | None, revision: str = "") -> bool:
    """Return whether an Application is Synced, Healthy and idle, at a revision if one is given."""
    return (
        each is not None
        and status(each, "sync", "status") == "Synced"
        and status(each, "health", "status") == "Healthy"
        and status(each, "operationState", "phase") == "Succeeded"
        and "operation" not in each
        and (not revision or status(each, "sync", "revision") == revision)
    )


def is_waiting(application: Object, revision: str, message: str) -> bool:
    """Return whether the sync of an Application to a revision is running with a message."""
    state = status(application, "operationState") or {}
    current = (state.get("phase"), state.get("message"))
    return (
        current == ("Running", message)
        and status(application, "operationState", "syncResult", "revision") == revision
    )


def wait_synced(
    cluster: Cluster, names: Iterable[str] = (), revision: str = "", timeout_s: float = STILL_S
) -> None:
    """Wait until Applications (all, if none is named) are synced to a revision.

    It asks Argo CD to refresh at once, as a webhook would. timeout_s: the wait fails after this
    time without progress.
    """
    wanted = [*names] or applications(cluster)
    if revision:
        refresh(cluster, wanted)
    what = f"{', '.join(wanted)} Synced and Healthy"
    wait(
        cluster,
        lambda there: all(is_synced(there.get(name), revision) for name in wanted),
        f"{what} at {revision}" if revision else what,
        timeout_s,
    )


def wait(
    cluster: Cluster,
    ready: Callable[[dict[str, Object]], Any],
    what: str,
    timeout_s: float = STILL_S,
) -> Any:
    """Wait until `ready` returns something true about the Applications by name, and return that.

    timeout_s: the wait fails after this time without progress.
    """
    return cluster.api.until(
        "Application", ready, what, namespace=argocd.NAMESPACE, timeout_s=timeout_s
    )


def refresh(cluster: Cluster, names: Iterable[str], kind: str = "normal") -> None:
    """Ask Argo CD to refresh the Applications that exist."""
    body = {"metadata": {"annotations": {"argocd.argoproj.io/refresh": kind}}}
    for name in names:
        if cluster.api.find("Application", name, argocd.NAMESPACE):
            cluster.api.patch("Application", name, body, argocd.NAMESPACE)


def change(remote: Remote, name: str, values: dict[str, Any]) -> None:
    """Merge values into an environment's own in the checkout, and render it."""
    checkout = Repository(remote.checkout)
    file = f"overlays/{name}/values.yaml"
    before = yaml.safe_load((checkout / file).read_text("utf-8")) or {}
    checkout.write(file, yaml.safe_dump(environment.merge(before, values)))
    done = checkout.run("render", name)
    assert done.code == 0, done.out + done.err


def begin_sync(cluster: Cluster, name: str) -> None:
    """Start a sync of an Application, as `argocd app sync` does."""
    spec = cluster.api.get("Application", name, argocd.NAMESPACE)["spec"]
    sync = {"syncOptions": spec["syncPolicy"]["syncOptions"]}
    operation = {"initiatedBy": {"username": PERSON}, "sync": sync}
    cluster.api.patch("Application", name, {"operation": operation}, argocd.NAMESPACE)


def end_of_sync(cluster: Cluster, name: str) -> Any:
    """Wait until a manually started sync succeeds, and return its end time."""

    def ended(there: dict[str, Object]) -> Any:
        state = status(there[name], "operationState") or {}
        by = state.get("operation", {}).get("initiatedBy", {}).get("username")
        done = by == PERSON and state.get("phase") == "Succeeded"
        return done and "operation" not in there[name] and state["finishedAt"]

    return wait(cluster, ended, f"{name} synced by {PERSON}")


def resources(each: Object) -> dict[str, Object]:
    """Return the state of an Application's objects, by Kind/name."""
    return {f"{it['kind']}/{it['name']}": it for it in status(each, "resources") or ()}


def live(cluster: Cluster, name: str) -> dict[str, Object]:
    """Return the objects of an environment in git, as they are in the cluster, by Kind/name.

    A hook that has succeeded is gone.
    """
    folder = cluster.remote.checkout / "overlays" / name / "manifests"
    code, out, err = cluster.plane.kubectl(
        "get", "--output=json", "--ignore-not-found", f"--filename={folder}"
    )
    assert not code, err
    return {f"{it['kind']}/{it['metadata']['name']}": it for it in json.loads(out)["items"]}


def too_early(objects: Iterable[Object], pods: Iterable[Object]) -> list[str]:
    """Return the objects that were created before all pods of earlier waves were ready.

    objects: in git, of one namespace. pods: after their first sync; pods that an autoscaler has
    added do not count, because no wave waits for them.
    """
    of_git, early = [*objects], []
    waves = {_component(it): _wave(it) for it in of_git if "replicas" in it.get("spec", {})}
    scaled = {it["spec"]["scaleTargetRef"]["name"] for it in of_git if _is_autoscaler(it)}
    for pod in pods:
        workload, _, ordinal = pod["metadata"]["name"].rpartition("-")
        by_autoscaler = workload in scaled and ordinal != "0"
        if _component(pod) not in waves or by_autoscaler:
            continue
        conditions = status(pod, "conditions") or ()
        ready = next(it["lastTransitionTime"] for it in conditions if it["type"] == "Ready")
        for each in of_git:
            created = each["metadata"]["creationTimestamp"]
            if _wave(each) > waves[_component(pod)] and created < ready:
                name = f"{each['kind']}/{each['metadata']['name']} of wave {_wave(each)}"
                early.append(f"{name} at {created}, {pod['metadata']['name']} ready at {ready}")
    return early


def _is_autoscaler(each: Object) -> bool:
    return bool(each["kind"] == "HorizontalPodAutoscaler")


def _wave(each: Object) -> int:
    return int(each["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])


def _component(each: Object) -> str:
    return str(each["metadata"]["labels"].get("app.kubernetes.io/component"))


def pods(cluster: Cluster, namespace: str, component: str) -> dict[str, Object]:
    """Return a component's pods by uid, without terminating ones."""
    labels = f"app.kubernetes.io/component={component}"
    return {
        pod["metadata"]["uid"]: pod
        for pod in cluster.api.objects("Pod", namespace, labels)
        if "deletionTimestamp" not in pod["metadata"]
    }


@contextlib.contextmanager
def cordoned(cluster: Cluster) -> Iterator[None]:
    """Cordon all nodes, so that new and evicted pods wait; uncordon them at the end."""
    names = [each["metadata"]["name"] for each in cluster.api.objects("Node")]
    try:
        for name in names:
            cluster.api.patch("Node", name, {"spec": {"unschedulable": True}})
        yield
    finally:
        for name in names:
            cluster.api.patch("Node", name, {"spec": {"unschedulable": None}})


def documented(section: str, name: str) -> list[str]:
    """Return the command blocks in a section of argocd/README.md, for an environment."""
    text = (CHECKOUT / "argocd" / "README.md").read_text("utf-8")
    section_text = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section_text, re.DOTALL)
    return [re.sub("linea-(dev|prod|qa)", application(name), block) for block in blocks]


def run(cluster: Cluster, commands: str) -> str:
    """Run commands in a shell as a person would, and return their output; they must succeed."""
    programs = cluster.folder / "person"
    if not programs.exists():
        programs.mkdir()
        (programs / "kubectl").symlink_to(toolchain.tool(f"kubectl-{CONTROLLERS_VERSION}"))
    variables = cluster.plane.environment()
    variables["PATH"] = f"{programs}:{variables['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", commands],
        cwd=cluster.folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert not done.returncode, f"{commands}\n{done.stdout}{done.stderr}"
    return done.stdout


def diagnostics(cluster: Cluster) -> list[tuple[str, str]]:
    """Return title and text of what helps to understand a failed test."""
    return [
        ("programs that exited unexpectedly", "\n".join(cluster.processes.dead())),
        ("Applications", "\n".join(map(_about, cluster.api.objects("Application")))),
        ("last events", "\n".join(_events(cluster))),
        *(
            (f"log of {name}", "\n".join(_last_lines(cluster, name)))
            for name in (argocd.CONTROLLER, argocd.REPOSITORIES, "kube-controller-manager")
        ),
    ]


def _about(each: Object) -> str:
    state, conditions = status(each, "operationState") or {}, status(each, "conditions") or ()
    current = f"{status(each, 'sync', 'status')} {status(each, 'health', 'status')}"
    lines = [
        f"{each['metadata']['name']}: {current} at {status(each, 'sync', 'revision')}",
        f"  last sync: {state.get('phase')}: {state.get('message')}",
        *(f"  {condition['type']}: {condition['message']}" for condition in conditions),
    ]
    for name, resource in resources(each).items():
        health = resource.get("health") or {}
        if resource.get("status") != "Synced" or health.get("status", "Healthy") != "Healthy":
            lines.append(f"  {name}: {resource.get('status')} {health}")
    return "\n".join(lines)


def _events(cluster: Cluster) -> Iterable[str]:
    events = cluster.api.objects("Event")
    events.sort(key=lambda event: event["metadata"]["creationTimestamp"])
    for event in events[-EVENTS:]:
        involved, at = event["involvedObject"], event["metadata"]["creationTimestamp"]
        where = f"{involved.get('namespace', '')}/{involved['kind']}/{involved['name']}"
        yield f"{at} {where} {event['reason']}: {event['message']}"


def _last_lines(cluster: Cluster, name: str) -> list[str]:
    text = cluster.processes.log(name).read_text("utf-8", "replace")
    return [line[:500] for line in text.splitlines()[-LOG_LINES:]]
