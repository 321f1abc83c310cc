"""`nox -s cluster`: a person's cluster until Ctrl-C; it follows the checkout's commits."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from scripts import tools
from scripts.cluster import argo
from scripts.cluster.api import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.control_plane import CONTROLLERS_VERSION

LOOK_S = 1.0
"""How often the checkout is asked for a new commit."""
SYNC_S = 300.0

EXPLAINED = """\
Kubernetes {kubernetes} with Argo CD {argocd} and these environments, until Ctrl-C:

  export KUBECONFIG={kubeconfig}
  alias kubectl={kubectl}

Commit here, and the cluster follows within seconds."""


def run(root: Path, version: str) -> None:
    """Show the cluster's state until somebody ends it.

    version: the API server's minor version. Raises UsageError where a program can't be had.
    """
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(KeyboardInterrupt), Cluster(root, version) as cluster:
        begun = time.monotonic()
        cluster.remote.take("HEAD")
        taken = head(root)
        cluster.remote.push(f"as of {taken}")
        cluster.sync()
        known: dict[str, str] = {}
        names = {f"linea-{each.name}" for each in cluster.environments}
        waiting = True
        while True:
            for applications in _for_a_while(cluster):
                for name, state in states(applications).items():
                    if known.get(name) != state:
                        print(f"{name:20} {state}", flush=True)
                known = states(applications)
            done = {name for name, state in known.items() if state == "Synced Healthy"}
            if waiting and names <= done:
                print(f"synced within {time.monotonic() - begun:.0f} s\n\n{_explained(cluster)}")
                sys.stdout.flush()
                waiting = False
            if (now := head(root)) != taken:
                cluster.remote.take("HEAD")
                cluster.remote.push(f"as of {now}")
                taken = now
                print(f"taken: commit {now[:12]}", flush=True)
            if dead := cluster.processes.dead():
                log = cluster.processes.log(dead[0]).read_text("utf-8", "replace")
                print(f"{dead[0]} has ended:\n{log[-2000:]}", file=sys.stderr)
                return
    print("ended; nothing is left of it")


def states(applications: dict[str, Object]) -> dict[str, str]:
    """Return Application → its sync and health, like Synced Healthy."""
    told = {}
    for name, each in sorted(applications.items()):
        status = each.get("status", {})
        sync = status.get("sync", {}).get("status", "Unknown")
        told[name] = f"{sync} {status.get('health', {}).get('status', 'Unknown')}"
    return told


def head(root: Path) -> str:
    """Return the revision that is checked out."""
    return tools.run(["git", "rev-parse", "HEAD"], "git", 60, cwd=root).stdout.strip()


def _for_a_while(cluster: Cluster) -> Iterator[dict[str, Object]]:
    end = time.monotonic() + LOOK_S
    return cluster.api.states("Application", argo.NAMESPACE, "", end)


def _explained(cluster: Cluster) -> str:
    return EXPLAINED.format(
        kubernetes=tools.version(f"kube-apiserver-{cluster.plane.version}"),
        argocd=tools.version("argocd"),
        kubeconfig=cluster.plane.kubeconfig,
        kubectl=tools.tool(f"kubectl-{CONTROLLERS_VERSION}"),
    )


def _end(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
