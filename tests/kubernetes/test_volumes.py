"""A path in a container is the key of an object that the kubelet puts there."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.kubernetes import containers, volumes
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.volumes import File
from scripts.kubernetes.workloads import makers

KNOWN: volumes.Known = {
    ("ConfigMap", "one"): frozenset({"a", "both"}),
    ("ConfigMap", "two"): frozenset({"b", "both"}),
}


def container(*mounts: dict[str, Any], of: dict[str, Any], **more: Any) -> Container:
    """Return a container of a StatefulSet; mounts: of the volume `of`."""
    data = {"volumeMounts": [{"name": "files", **mount} for mount in mounts], **more}
    spec = {"containers": [data], "volumes": [{"name": "files", **of}]}
    made = {
        "kind": "StatefulSet",
        "metadata": {"name": "node"},
        "spec": {"template": {"spec": spec}},
    }
    (workload,) = makers([Manifest(made, "")])
    (found,) = containers.of(workload)
    return found


def found(one: Container, path: str, pod: str = "node-0") -> tuple[str, str, str, bool | None]:
    file = volumes.file(one, path, pod, KNOWN)
    return file.kind, file.name, file.key, file.is_there


def projected(*sources: dict[str, Any]) -> dict[str, Any]:
    return {"projected": {"sources": list(sources)}}


ONE, TWO = {"configMap": {"name": "one"}}, {"configMap": {"name": "two"}}


def test_a_file_is_the_key_of_its_name() -> None:
    one = container({"mountPath": "/config/"}, of=ONE)
    assert found(one, "/config/a") == ("ConfigMap", "one", "a", True)
    assert found(one, "/config/b") == ("ConfigMap", "one", "b", False)
    assert volumes.file(one, "/other/a", "node-0", KNOWN) == File("", "", "/other/a", None, None)


def test_of_two_sources_with_one_file_the_later_is_in_effect() -> None:
    """collectData in Kubernetes' pkg/volume/projected/projected.go."""
    for sources, name in (((ONE, TWO), "two"), ((TWO, ONE), "one")):
        one = container({"mountPath": "/config"}, of=projected(*sources))
        assert found(one, "/config/both") == ("ConfigMap", name, "both", True)
        assert found(one, "/config/a") == ("ConfigMap", "one", "a", True)


def test_items_leave_out_all_other_keys_and_may_lie_in_folders() -> None:
    items = [{"key": "a", "path": "deep/x"}]
    one = container({"mountPath": "/config"}, of={"configMap": {"name": "one", "items": items}})
    assert found(one, "/config/deep/x") == ("ConfigMap", "one", "a", True)
    assert found(one, "/config/a") == ("ConfigMap", "one", "a", False)


def test_a_secret_is_named_otherwise_in_a_volume_than_among_projected_sources() -> None:
    for of in ({"secret": {"secretName": "s"}}, projected({"secret": {"name": "s"}})):
        assert found(container({"mountPath": "/s"}, of=of), "/s/k") == ("Secret", "s", "k", None)
    for of in ({"secret": {"name": "s"}}, projected({"secret": {"secretName": "s"}})):
        assert found(container({"mountPath": "/s"}, of=of), "/s/k")[:2] != ("Secret", "s")


def test_what_is_known_to_be_there_is_found_before_what_may_be() -> None:
    sources = projected(ONE, {"secret": {"name": "s"}})
    one = container({"mountPath": "/config"}, of=sources)
    assert found(one, "/config/a") == ("ConfigMap", "one", "a", True)
    assert found(one, "/config/x") == ("Secret", "s", "x", None)


def test_the_deepest_mount_hides_the_others() -> None:
    one = container({"mountPath": "/"}, {"mountPath": "/x/y", "subPath": "a"}, of=ONE)
    assert found(one, "/x/y") == ("ConfigMap", "one", "a", True)
    assert found(one, "/x/yy/a")[2] == "x/yy/a"


def test_a_sub_path_may_have_the_pod_s_name_in_it() -> None:
    name = {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    items = [{"key": "a", "path": "node-1"}, {"key": "both", "path": "$(POD)"}]
    of = {"configMap": {"name": "one", "items": items}}
    one = container({"mountPath": "/key", "subPathExpr": "$(POD)"}, of=of, env=[name])
    assert found(one, "/key", "node-1") == ("ConfigMap", "one", "a", True)
    assert found(one, "/key", "node-2")[3] is False
    plain = container({"mountPath": "/key", "subPathExpr": "$$(POD)"}, of=of, env=[name])
    assert found(plain, "/key", "node-1") == ("ConfigMap", "one", "both", True)


def test_all_files_of_a_volume_are_known_only_where_those_of_all_its_sources_are() -> None:
    token = {"serviceAccountToken": {"path": "token"}}
    assert (volumes.files(projected(ONE, token), KNOWN) or {}).keys() == {"a", "both", "token"}
    assert volumes.files(projected(ONE, {"secret": {"name": "s"}}), KNOWN) is None
    assert volumes.files(projected(ONE, {"podCertificate": {}}), KNOWN) is None


@pytest.mark.parametrize("odd", [None, 1, "x", [], ["x"], [{}], {}, {"name": 1}, {"name": ["x"]}])
def test_objects_of_any_shape_do_no_harm(odd: Any) -> None:
    for of in ({"configMap": odd}, {"projected": odd}, projected({"secret": odd}), {"secret": odd}):
        one = container({"mountPath": "/x", "subPath": odd}, of=of, env=odd)
        volumes.file(one, "/x/y", "node-0", KNOWN)
        volumes.files({"name": "files", **of}, KNOWN)
