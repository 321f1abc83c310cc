"""What the tests of the cluster do and wait for, in the words of Argo CD."""

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
"""The end of a person's command that hangs."""
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
    """Return the names of all Applications, the root's too."""
    return [ROOT, *map(application, environments(cluster))]


def status(each: Object | None, *path: str) -> Any:
    """Return what stands at a path of an object's status, or None."""
    found: Any = (each or {}).get("status")
    for key in path:
        found = (found or {}).get(key)
    return found


def at(application: Object) -> str:
    """Return the revision that an Application has been compared with."""
    return str(status(application, "sync", "revision"))


def is_ready(pod: Object) -> bool:
    """Return whether a pod is ready, and not about to end."""
    conditions = status(pod, "conditions") or ()
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def is_of_a_job(pod: Object) -> bool:
    """Return whether a pod is a Job's: a backup may begin, or be over, at any time."""
    return bool(owner(pod).get("kind") == "Job")


def owner(each: Object) -> Object:
    """Return the reference to what made an object; empty for nobody."""
    references = each["metadata"].get("ownerReferences") or [{}]
    found: Object = references[0]
    return found


def is_synced(each: Object | None, revision: str = "") -> bool:
    """Return whether an Application is Synced, Healthy and at rest, at the revision if given."""
    return (
        each is not None
        and status(each, "sync", "status") == "Synced"
        and status(each, "health", "status") == "Healthy"
        and status(each, "operationState", "phase") == "Succeeded"
        and "operation" not in each
        and (not revision or status(each, "sync", "revision") == revision)
    )


def is_waiting(application: Object, revision: str, message: str) -> bool:
    """Return whether an Application's sync to a revision runs, with a message."""
    state = status(application, "operationState") or {}
    there = (state.get("phase"), state.get("message"))
    return (
        there == ("Running", message)
        and status(application, "operationState", "syncResult", "revision") == revision
    )


def wait_synced(
    cluster: Cluster, names: Iterable[str] = (), revision: str = "", timeout_s: float = STILL_S
) -> None:
    """Wait until Applications (all, if none is named) are synced to a revision.

    A look at the repository is asked for at once, as a webhook would. timeout_s: for how long
    nothing may move.
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
    """Return the first true answer about the Applications, by name.

    timeout_s: for how long nothing may move.
    """
    return cluster.api.until(
        "Application", ready, what, namespace=argocd.NAMESPACE, timeout_s=timeout_s
    )


def refresh(cluster: Cluster, names: Iterable[str], kind: str = "normal") -> None:
    """Ask Argo CD to look at Applications now; those that aren't there are left out."""
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
    """Have an Application synced, as `argocd app sync` does."""
    spec = cluster.api.get("Application", name, argocd.NAMESPACE)["spec"]
    sync = {"syncOptions": spec["syncPolicy"]["syncOptions"]}
    operation = {"initiatedBy": {"username": PERSON}, "sync": sync}
    cluster.api.patch("Application", name, {"operation": operation}, argocd.NAMESPACE)


def end_of_sync(cluster: Cluster, name: str) -> Any:
    """Return when the sync that a person has begun ended, in success."""

    def ended(there: dict[str, Object]) -> Any:
        state = status(there[name], "operationState") or {}
        by = state.get("operation", {}).get("initiatedBy", {}).get("username")
        done = by == PERSON and state.get("phase") == "Succeeded"
        return done and "operation" not in there[name] and state["finishedAt"]

    return wait(cluster, ended, f"{name} synced by {PERSON}")


def resources(each: Object) -> dict[str, Object]:
    """Return what an Application says of its objects, by Kind/name."""
    return {f"{one['kind']}/{one['name']}": one for one in status(each, "resources") or ()}


def live(cluster: Cluster, name: str) -> dict[str, Object]:
    """Return the cluster's state of all objects that git has of an environment, by Kind/name."""
    folder = cluster.remote.checkout / "overlays" / name / "manifests"
    code, out, err = cluster.plane.kubectl("get", "--output=json", f"--filename={folder}")
    assert not code, err
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in json.loads(out)["items"]}


def too_early(objects: Iterable[Object], pods: Iterable[Object]) -> list[str]:
    """Return which objects were made before the pods of all earlier waves were ready.

    objects: those of git in one namespace, pods: those of their first sync, and also those that an
    autoscaler has added, which no wave waits for.
    """
    there, found = [*objects], []
    waves = {_component(one): _wave(one) for one in there if "replicas" in one.get("spec", {})}
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in there if _is_autoscaler(one)}
    for pod in pods:
        workload, _, ordinal = pod["metadata"]["name"].rpartition("-")
        by_autoscaler = workload in scaled and ordinal != "0"
        if _component(pod) not in waves or by_autoscaler:
            continue
        conditions = status(pod, "conditions") or ()
        ready = next(one["lastTransitionTime"] for one in conditions if one["type"] == "Ready")
        for one in there:
            created = one["metadata"]["creationTimestamp"]
            if _wave(one) > waves[_component(pod)] and created < ready:
                name = f"{one['kind']}/{one['metadata']['name']} of wave {_wave(one)}"
                found.append(f"{name} at {created}, {pod['metadata']['name']} ready at {ready}")
    return found


def _is_autoscaler(each: Object) -> bool:
    return bool(each["kind"] == "HorizontalPodAutoscaler")


def _wave(each: Object) -> int:
    return int(each["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])


def _component(each: Object) -> str:
    return str(each["metadata"]["labels"].get("app.kubernetes.io/component"))


def pods(cluster: Cluster, namespace: str, component: str) -> dict[str, Object]:
    """Return a component's pods by uid, without those that are ending."""
    labels = f"app.kubernetes.io/component={component}"
    found = cluster.api.objects("Pod", namespace, labels)
    there = (one for one in found if "deletionTimestamp" not in one["metadata"])
    return {one["metadata"]["uid"]: one for one in there}


@contextlib.contextmanager
def cordoned(cluster: Cluster) -> Iterator[None]:
    """Let no node take a pod: one that is made, or was evicted, waits; in the end they do again."""
    names = [each["metadata"]["name"] for each in cluster.api.objects("Node")]
    try:
        for name in names:
            cluster.api.patch("Node", name, {"spec": {"unschedulable": True}})
        yield
    finally:
        for name in names:
            cluster.api.patch("Node", name, {"spec": {"unschedulable": None}})


def documented(section: str, name: str) -> list[str]:
    """Return the blocks of commands in a section of argocd/README.md, about an environment."""
    text = (CHECKOUT / "argocd" / "README.md").read_text("utf-8")
    section_text = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section_text, re.DOTALL)
    return [re.sub("linea-(dev|prod|qa)", application(name), block) for block in blocks]


def run(cluster: Cluster, commands: str) -> str:
    """Return what a person's shell answers to commands that must succeed."""
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


def told(cluster: Cluster) -> list[tuple[str, str]]:
    """Return what is worth reading when a test has failed: title and text."""
    return [
        ("programs that have ended by themselves", "\n".join(cluster.processes.dead())),
        ("Applications", "\n".join(map(_about, cluster.api.objects("Application")))),
        ("last events", "\n".join(_events(cluster))),
        *(
            (f"log of {name}", "\n".join(_last_lines(cluster, name)))
            for name in (argocd.CONTROLLER, argocd.REPOSITORIES, "kube-controller-manager")
        ),
    ]


def _about(each: Object) -> str:
    state, conditions = status(each, "operationState") or {}, status(each, "conditions") or ()
    seen = f"{status(each, 'sync', 'status')} {status(each, 'health', 'status')}"
    lines = [
        f"{each['metadata']['name']}: {seen} at {status(each, 'sync', 'revision')}",
        f"  last sync: {state.get('phase')}: {state.get('message')}",
        *(f"  {condition['type']}: {condition['message']}" for condition in conditions),
    ]
    for name, one in resources(each).items():
        health = one.get("health") or {}
        if one.get("status") != "Synced" or health.get("status", "Healthy") != "Healthy":
            lines.append(f"  {name}: {one.get('status')} {health}")
    return "\n".join(lines)


def _events(cluster: Cluster) -> Iterable[str]:
    events = cluster.api.objects("Event")
    events.sort(key=lambda event: event["metadata"]["creationTimestamp"])
    for event in events[-EVENTS:]:
        about, at = event["involvedObject"], event["metadata"]["creationTimestamp"]
        where = f"{about.get('namespace', '')}/{about['kind']}/{about['name']}"
        yield f"{at} {where} {event['reason']}: {event['message']}"


def _last_lines(cluster: Cluster, name: str) -> list[str]:
    text = cluster.processes.log(name).read_text("utf-8", "replace")
    return [line[:500] for line in text.splitlines()[-LOG_LINES:]]
