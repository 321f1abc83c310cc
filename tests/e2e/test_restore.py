"""A pod of Besu whose volume is empty begins with the newest complete backup.

No container runs in the cluster. So the init containers of the pods run on this machine, in their
order, with the commands, variables and scripts that the API server has, and so does the CronJob's
container; S3 is rclone's own server. That the others wait for them is Kubernetes' promise.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.core.toolchain import tool
from tests.chart.backup_store import Store, content, empty_store, fill, restored
from tests.conftest import Run
from tests.e2e import steps
from tests.e2e.containers import Volumes

NAMESPACE, SOURCE, POD = "linea-prod", "linea-stack-besu-0", "linea-stack-besu-1"
CLAIM = f"data-{POD}"
OF_THE_CLOUD = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RCLONE_CONFIG_S3_ENDPOINT"),
    *("RCLONE_CONFIG_S3_PROVIDER", "RCLONE_LOW_LEVEL_RETRIES", "RCLONE_TRANSFERS", "PATH"),
)
"""Variables in which this server and its keys differ from S3 and a role."""


@pytest.fixture
def store(cluster: Cluster, tmp_path: Path) -> Iterator[Store]:
    """Return an S3 server with the bucket of the backups."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "rclone").symlink_to(tool("rclone"))
    (container,) = backup_pod(cluster)["spec"]["containers"]
    own = {each["name"]: each["value"] for each in container["env"]}
    names = {name: own[name] for name in ("BUCKET", "PREFIX")}
    with empty_store(tmp_path, f"{programs}:/usr/bin:/bin") as made:
        named = dataclasses.replace(made, environment=made.environment | names)
        named.root.mkdir(parents=True)
        named.look_again()
        yield named


def backup_pod(cluster: Cluster) -> Object:
    """Return a pod that a Job of the CronJob would have."""
    job = cluster.api.get("CronJob", "linea-stack-backup", NAMESPACE)["spec"]["jobTemplate"]
    metadata = {"namespace": NAMESPACE, "uid": "backup"}
    return {"metadata": metadata, "spec": job["spec"]["template"]["spec"]}


def replaced(cluster: Cluster, old: Object) -> Object:
    """Delete a pod, and return the one that takes its place, once that runs."""
    name = old["metadata"]["name"]
    cluster.api.delete("Pod", name, NAMESPACE)

    def new(there: dict[str, Object]) -> Object | None:
        pod = there.get(name, old)
        is_new = pod["metadata"]["uid"] != old["metadata"]["uid"]
        return pod if is_new and steps.is_ready(pod) else None

    pod: Object = cluster.api.until("Pod", new, f"a new {name}", namespace=NAMESPACE)
    return pod


def start(pod: Object, volumes: Volumes, environment: dict[str, str]) -> dict[str, Run]:
    """Run a pod's init containers as a kubelet does, and return how each ended."""
    ended = {}
    for each in pod["spec"]["initContainers"]:
        assert "restartPolicy" not in each, f"nothing waits for the end of {each['name']}"
        ended[each["name"]] = done = volumes.run(pod, each, environment)
        assert done.code == 0, f"{each['name']}: {done}"
    return ended


def test_a_besu_with_an_empty_volume_begins_with_the_newest_complete_backup(
    cluster: Cluster, store: Store, tmp_path: Path
) -> None:
    volumes = Volumes(cluster.api, tmp_path / "volumes")
    cloud = {name: store.environment[name] for name in OF_THE_CLOUD}
    source = volumes.of(cluster.api.get("Pod", SOURCE, NAMESPACE), "data")
    fill(source, big=5000)
    job = backup_pod(cluster)
    shutil.copytree(source, volumes.of(job, "source"), dirs_exist_ok=True)
    done = volumes.run(job, job["spec"]["containers"][0], cloud)
    assert done.code == 0, done
    (newest,) = store.complete()
    store.aged(newest, 1)
    store.aged(newest, -1, marked=False)
    store.look_again()

    cluster.api.delete("PersistentVolumeClaim", CLAIM, NAMESPACE)
    pod = replaced(cluster, cluster.api.get("Pod", POD, NAMESPACE))
    assert list(volumes.of(pod, "data").iterdir()) == []
    assert restored(start(pod, volumes, cloud)["restore"]) == newest
    assert content(volumes.of(pod, "data")) == content(source)
    for each in pod["spec"]["containers"]:
        (mount,) = (it for it in each["volumeMounts"] if it["name"] == "data")
        data = volumes.of(pod, "data") / mount["subPath"]
        assert any(data.iterdir()), f"{each['name']} starts with nothing"

    pod = replaced(cluster, pod)
    assert "there is data already" in start(pod, volumes, cloud)["restore"].out
    assert content(volumes.of(pod, "data")) == content(source)
    steps.wait_synced(cluster)
