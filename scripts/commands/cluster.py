"""Run a real control plane and Argo CD with all environments until Ctrl-C; commits follow."""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path

from scripts.cluster import argocd
from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster, needed_tools
from scripts.cluster.control_plane import CONTROLLERS_VERSION
from scripts.core import process_lifetime, programs, toolchain
from scripts.core.findings import UsageError

LOOK_S = 1.0
"""How often the checkout is asked for a new commit."""
GIT_S = 900.0

SYNCED = "Synced Healthy"

EXPLAINED = """
Kubernetes {kubernetes} with Argo CD {argocd}, until Ctrl-C. In another terminal:

  export KUBECONFIG={kubeconfig}
  alias kubectl={kubectl}

Commit here, and the cluster follows within seconds.
"""


EXAMPLES = ("nox -s cluster", "nox -s cluster -- --kubernetes 1.37")
INTERRUPTED = "nothing is left of it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "--kubernetes", metavar="VERSION", help="the API server's minor version, like 1.34"
    )
    parser.add_argument(
        "--build", action="store_true", help="only make what it needs, where that is missing"
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Run the cluster, and return the exit code."""
    if options.build:
        build()
    else:
        show(root, options.kubernetes or CONTROLLERS_VERSION)
    return 0


def build() -> None:
    """Make what clusters and their tests need, where it is missing."""
    process_lifetime.end_with_parent()
    toolchain.build(needed_tools())


def show(root: Path, version: str) -> None:
    """Show the cluster's state until somebody ends it.

    version: the API server's minor version. Raises UsageError where a program can't be had, or
    one of them ends.
    """
    process_lifetime.end_with_parent()
    begun = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt), Cluster(root, version) as cluster:
        print(f"the control plane and Argo CD run after {time.monotonic() - begun:.0f} s")
        for each in cluster.elsewhere:
            print(f"left out: {each.name}, which is on another cluster")
        taken = _take(cluster, root)
        cluster.sync()
        _follow(cluster, root, taken, begun)
    print("ended; nothing is left of it")


def _follow(cluster: Cluster, root: Path, taken: str, begun: float) -> None:
    """Print what changes, and bring what is committed, for ever."""
    names = {f"linea-{each.name}" for each in cluster.environments}
    known: dict[str, str] = {}
    is_explained = False
    while True:
        end = time.monotonic() + LOOK_S
        for applications in cluster.api.states("Application", argocd.NAMESPACE, "", end):
            for name, state in (now := states(applications)).items():
                # At first they change from moment to moment.
                if state != known.get(name) and (is_explained or state == SYNCED):
                    print(f"{time.monotonic() - begun:5.0f} s  {name}  {state}", flush=True)
            known = now
        if not is_explained and names <= {name for name, state in known.items() if state == SYNCED}:
            print(_explained(cluster), flush=True)
            is_explained = True
        if head(root) != taken:
            taken = _take(cluster, root)
            print(f"{time.monotonic() - begun:5.0f} s  taken: {taken[:12]}", flush=True)
        for name in cluster.processes.dead():
            log = cluster.processes.log(name).read_text("utf-8", "replace")
            raise UsageError(f"{name} has ended:\n{log[-2000:]}")


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
    return programs.run(["git", "rev-parse", "HEAD"], "git", GIT_S, cwd=root).stdout.strip()


def _take(cluster: Cluster, root: Path) -> str:
    """Bring what is committed to the cluster's repository, and return its revision."""
    revision = head(root)
    cluster.remote.take(revision)
    cluster.remote.push(f"as of {revision}")
    return revision


def _explained(cluster: Cluster) -> str:
    return EXPLAINED.format(
        kubernetes=toolchain.version(f"kube-apiserver-{cluster.plane.version}"),
        argocd=toolchain.version("argocd"),
        kubeconfig=cluster.plane.kubeconfig,
        kubectl=toolchain.tool(f"kubectl-{CONTROLLERS_VERSION}"),
    )
