"""A sync window of environment.yaml holds up syncs of its environment, and only those."""

from __future__ import annotations

from scripts.cluster import argocd
from scripts.cluster.cluster import Cluster
from scripts.cluster.git_remote import Remote
from tests.conftest import Repository
from tests.e2e import steps

DEV, FILE = "linea-dev", "overlays/dev/environment.yaml"
BLOCKED = "Sync operation blocked by sync window"
ALWAYS = """
application:
  syncWindows: [{kind: deny, schedule: "* * * * *", duration: 1h}]
"""


def test_a_sync_waits_until_the_window_is_removed(cluster: Cluster, remote: Remote) -> None:
    checkout = Repository(remote.checkout)
    checkout.write(FILE, (checkout / FILE).read_text("utf-8") + ALWAYS)
    done = checkout.run("render", "dev")
    assert done.code == 0, done.out + done.err
    # The root Application is in another project, so it is synced.
    steps.wait_synced(cluster, [steps.ROOT], remote.push("a window that is always active"))
    project = cluster.api.get("AppProject", DEV, argocd.NAMESPACE)
    assert [each["applications"] for each in project["spec"]["syncWindows"]] == [[DEV]]

    steps.begin_sync(cluster, DEV)
    steps.wait(
        cluster,
        lambda there: (
            steps.status(there[DEV], "operationState", "phase") == "Running"
            and BLOCKED in str(steps.status(there[DEV], "operationState", "message"))
        ),
        f"a sync of {DEV} that a window blocks",
    )
    revision = remote.revert()
    steps.wait_synced(cluster, [steps.ROOT], revision)
    steps.end_of_sync(cluster, DEV)
    steps.wait_synced(cluster, [DEV], revision)
