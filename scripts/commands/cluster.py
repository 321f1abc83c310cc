"""Run a real control plane and Argo CD with all environments until Ctrl-C; sync commits."""

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
"""The interval at which the checkout is checked for a new commit."""
GIT_S = 900.0

SYNCED = "Synced Healthy"

EXPLAINED = """
Kubernetes {kubernetes} with Argo CD {argocd} runs until Ctrl-C. In another terminal:

  export KUBECONFIG={kubeconfig}
  alias kubectl={kubectl}

Argo CD syncs each commit in this checkout within seconds.
"""


EXAMPLES = ("nox -s cluster", "nox -s cluster -- --kubernetes 1.37")
INTERRUPTED = "the cluster is deleted"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "--kubernetes", metavar="VERSION", help="the API server's minor version, like 1.34"
    )
    parser.add_argument("--build", action="store_true", help="only install the tools that it needs")


def run(root: Path, options: argparse.Namespace) -> int:
    """Run the cluster, and return the exit code."""
    if options.build:
        build()
    else:
        show(root, options.kubernetes or CONTROLLERS_VERSION)
    return 0


def build() -> None:
    """Install the tools that clusters and their tests need."""
    process_lifetime.end_with_parent()
    toolchain.build(needed_tools())


def show(root: Path, version: str) -> None:
    """Run a cluster and print its state until Ctrl-C.

    version: the API server's minor version. Raises UsageError if a program can't be installed, or
    if one ends.
    """
    process_lifetime.end_with_parent()
    begun = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt), Cluster(root, version) as cluster:
        print(f"the control plane and Argo CD are running after {time.monotonic() - begun:.0f} s")
        for each in cluster.elsewhere:
            print(f"skipped {each.name}, which is on another cluster")
        pushed = _push(cluster, root)
        cluster.sync()
        _follow(cluster, root, pushed, begun)
    print("stopped; the cluster is deleted")


def _follow(cluster: Cluster, root: Path, pushed: str, begun: float) -> None:
    """Print changes of the Applications, and push new commits, for ever."""
    names = {f"linea-{each.name}" for each in cluster.environments}
    known: dict[str, str] = {}
    is_explained = False
    while True:
        end = time.monotonic() + LOOK_S
        for applications in cluster.api.states("Application", argocd.NAMESPACE, "", end):
            for name, state in (now := states(applications)).items():
                # Before the first sync, print only the end: the states change all the time.
                if state != known.get(name) and (is_explained or state == SYNCED):
                    print(f"{time.monotonic() - begun:5.0f} s  {name}  {state}", flush=True)
            known = now
        if not is_explained and names <= {name for name, state in known.items() if state == SYNCED}:
            print(_explained(cluster), flush=True)
            is_explained = True
        if head(root) != pushed:
            pushed = _push(cluster, root)
            print(f"{time.monotonic() - begun:5.0f} s  pushed {pushed[:12]}", flush=True)
        for name in cluster.processes.dead():
            log = cluster.processes.log(name).read_text("utf-8", "replace")
            raise UsageError(f"{name} has ended:\n{log[-2000:]}")


def states(applications: dict[str, Object]) -> dict[str, str]:
    """Return Application → its sync and health status, like Synced Healthy."""
    summaries = {}
    for name, each in sorted(applications.items()):
        status = each.get("status", {})
        sync = status.get("sync", {}).get("status", "Unknown")
        summaries[name] = f"{sync} {status.get('health', {}).get('status', 'Unknown')}"
    return summaries


def head(root: Path) -> str:
    """Return the commit that is checked out."""
    return programs.run(["git", "rev-parse", "HEAD"], "git", GIT_S, cwd=root).stdout.strip()


def _push(cluster: Cluster, root: Path) -> str:
    """Push the checked-out commit to the cluster's repository, and return it."""
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
