"""What makes a chain of the rendered objects: keys, peers, wiring, and numbers that are safe."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from scripts.core.findings import UserError
from scripts.kubernetes import resilience
from scripts.kubernetes.manifest import Manifest
from scripts.network import genesis, keys
from tests.objects import ENVIRONMENTS, FULL, containers, of, of_environment, of_values, one, pod

NODES = ("sequencer", "maru")
Network = dict[str, Any]


def network(validators: int) -> Network:
    """Return values for so many validators with new keys, and as many pods."""
    marus = [keys.Key.generate() for _ in range(validators)]
    public = [
        {"address": m.address, "nodeId": keys.Key.generate().node_id, "peerId": m.peer_id}
        for m in marus
    ]
    return {
        "network": {"validators": public},
        "genesis": {
            "besu": json.dumps(genesis.besu(1337, 1, {})),
            "maru": json.dumps(genesis.maru(1337, [m.address for m in marus])),
        },
        "sequencer": {"replicas": validators},
        "maru": {"replicas": validators},
    }


@pytest.fixture(params=[*ENVIRONMENTS, "full", 1, 4, 7], ids=str)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    if request.param == "full":
        return of_values(FULL)
    if isinstance(request.param, int):
        return of(network(request.param))
    return of_environment(request.param)[1]


def named(manifests: list[Manifest], kind: str, component: str) -> Manifest:
    (found,) = [m for m in manifests if m.kind == kind and m.component == component]
    return found


def template(manifests: list[Manifest], component: str) -> dict[str, Any]:
    found = pod(named(manifests, "StatefulSet", component))
    assert found is not None
    return found


def files(manifests: list[Manifest], component: str) -> dict[str, str]:
    (found,) = [
        m.object["data"]
        for m in manifests
        if m.kind == "ConfigMap" and m.component == component and m.name.endswith("-config")
    ]
    return dict(found)


def pod_names(manifests: list[Manifest], component: str) -> list[str]:
    found = named(manifests, "StatefulSet", component)
    return [f"{found.name}-{i}" for i in range(found.object["spec"]["replicas"])]


def mounted(template: dict[str, Any], container: str, path: str) -> tuple[dict[str, Any], str]:
    """Return the volume behind a file of a container, and where in the volume the file is."""
    (found,) = [c for c in containers(template) if c["name"] == container]
    mount = max(
        (m for m in found["volumeMounts"] if path.startswith(m["mountPath"])),
        key=lambda m: len(m["mountPath"]),
    )
    (volume,) = [v for v in template["spec"]["volumes"] if v["name"] == mount["name"]]
    inside = mount.get("subPathExpr") or path.removeprefix(mount["mountPath"]).lstrip("/")
    return volume, inside


@pytest.mark.parametrize("component", NODES)
def test_each_pod_has_a_key_of_its_own_and_no_other(
    manifests: list[Manifest], component: str
) -> None:
    volume, inside = mounted(template(manifests, component), component, "/secrets/p2p/key")
    assert inside == "$(POD_NAME)", "only this pod's"
    secret = volume["secret"]
    assert not secret.get("optional")
    names = pod_names(manifests, component)
    expected = ["key", *(f"key-{i}" for i in range(1, len(names)))]
    assert [(i["key"], i["path"]) for i in secret["items"]] == list(
        zip(expected, names, strict=True)
    )


def test_each_maru_drives_the_sequencer_of_its_ordinal_with_the_shared_secret(
    manifests: list[Manifest],
) -> None:
    data = files(manifests, "maru")
    service = named(manifests, "StatefulSet", "sequencer").object["spec"]["serviceName"]
    for maru, sequencer in zip(
        pod_names(manifests, "maru"), pod_names(manifests, "sequencer"), strict=True
    ):
        config = tomllib.loads(data[f"{maru}.toml"])
        endpoint = config["payload-validator"]["engine-api-endpoint"]
        assert endpoint["endpoint"] == f"http://{sequencer}.{service}:8550"
        besu = tomllib.loads(files(manifests, "sequencer")["config.toml"])
        assert besu["engine-rpc-port"] == 8550
        theirs = mounted(template(manifests, "maru"), "maru", endpoint["jwt-secret-path"])
        ours = mounted(template(manifests, "sequencer"), "sequencer", besu["engine-jwt-secret"])
        assert theirs == ours
        assert "engine-jwt-disabled" not in besu


def test_a_follower_leads_the_besu_in_its_pod_by_localhost_and_a_secret_of_that_pod(
    manifests: list[Manifest],
) -> None:
    data = files(manifests, "besu")
    follower, besu = tomllib.loads(data["maru.toml"]), tomllib.loads(data["config.toml"])
    endpoint = follower["payload-validator"]["engine-api-endpoint"]
    assert endpoint["endpoint"] == f"http://127.0.0.1:{besu['engine-rpc-port']}"
    assert "qbft" not in follower, "it would take part in the consensus"
    assert "el-sync-status-refresh-interval" in follower["syncing"]
    pod = template(manifests, "besu")
    theirs = mounted(pod, "maru", endpoint["jwt-secret-path"])
    assert theirs == mounted(pod, "besu", besu["engine-jwt-secret"])
    assert theirs[0]["emptyDir"]["medium"] == "Memory"
    assert set(besu["engine-host-allowlist"]) == {"localhost", "127.0.0.1"}
    ports = [p["containerPort"] for c in containers(pod) for p in c.get("ports", [])]
    assert len(ports) - len(set(ports)) == 1, "only P2P has a number twice: TCP and UDP"
    assert 8550 not in ports


def test_nodes_know_each_other_by_the_names_and_keys_of_the_network(
    manifests: list[Manifest],
) -> None:
    marus, sequencers = pod_names(manifests, "maru"), pod_names(manifests, "sequencer")
    shared = {files(manifests, component)["network.toml"] for component in ("maru", "besu")}
    assert len(shared) == 1
    known = tomllib.loads(shared.pop())["p2p"]["static-peers"]
    assert len(set(known)) == len(marus)
    for name, address in zip(marus, known, strict=True):
        _, dns4, host, tcp, port, p2p, peer_id = address.split("/")
        assert (dns4, tcp, port, p2p) == ("dns4", "tcp", "9000", "p2p")
        assert host.split(".")[0] == name
        assert peer_id.startswith("16Uiu2HA")
    for component in ("sequencer", "besu"):
        nodes = json.loads(files(manifests, component)["static-nodes.json"])
        hosts = [node.removeprefix("enode://").split("@")[1] for node in nodes]
        service = named(manifests, "StatefulSet", "sequencer").object["spec"]["serviceName"]
        assert hosts == [f"{name}.{service}:30303" for name in sequencers]
        besu = tomllib.loads(files(manifests, component)["config.toml"])
        assert besu["Xdns-enabled"]
        assert besu["Xdns-update-enabled"]


def variable(manifests: list[Manifest], component: str, container: str, name: str) -> str:
    (found,) = [c for c in containers(template(manifests, component)) if c["name"] == container]
    (value,) = [v["value"] for v in found["env"] if v["name"] == name]
    return str(value)


@pytest.mark.parametrize("validators", [1, 4, 6, 7])
def test_a_validator_is_ready_with_the_others_that_a_block_needs(validators: int) -> None:
    manifests = of(network(validators))
    quorum = resilience.Chain(validators, validators, 0, 0).quorum
    assert variable(manifests, "maru", "maru", "PEERS_WANTED") == str(quorum - 1)
    assert variable(manifests, "besu", "maru", "PEERS_WANTED") == "1"


def test_three_validators_need_one_other_for_a_block() -> None:
    values = network(3)
    values["network"]["acceptNoFaultTolerance"] = True
    assert variable(of(values), "maru", "maru", "PEERS_WANTED") == "1"


def test_a_pod_that_is_not_there_makes_the_quorum_no_smaller() -> None:
    values = network(7)
    values["sequencer"]["replicas"] = values["maru"]["replicas"] = 6
    assert variable(of(values), "maru", "maru", "PEERS_WANTED") == "4"


def test_a_chain_without_a_list_of_validators_counts_none() -> None:
    """By hand: nothing tells whose peers they are."""
    manifests = of_values(None)
    assert variable(manifests, "maru", "maru", "PEERS_WANTED") == "0"
    assert variable(manifests, "besu", "maru", "PEERS_WANTED") == "0"


def test_a_follower_that_is_told_of_no_validator_needs_none() -> None:
    values = network(4) | {"maru": {"enabled": False}, "sequencer": {"enabled": False}}
    assert variable(of(values), "besu", "maru", "PEERS_WANTED") == "0"


def test_each_node_empties_the_folder_for_temporary_files_that_it_has(
    manifests: list[Manifest],
) -> None:
    nodes = (("sequencer", "sequencer"), ("maru", "maru"), ("besu", "besu"), ("besu", "maru"))
    for component, container in nodes:
        folder = variable(manifests, component, container, "TMP_TO_CLEAR")
        volume, _ = mounted(template(manifests, component), container, f"{folder}/any")
        assert "emptyDir" in volume


@pytest.mark.parametrize("component", ["sequencer", "besu"])
@pytest.mark.parametrize("api", ["rpc-http-api", "rpc-ws-api"])
def test_nobody_is_offered_an_api_that_changes_the_node(
    manifests: list[Manifest], component: str, api: str
) -> None:
    offered = tomllib.loads(files(manifests, component)["config.toml"])[api]
    assert offered
    assert not {"ADMIN", "ENGINE", "MINER", "DEBUG", "PERM"} & set(offered)


@pytest.mark.parametrize("component", ["sequencer", "besu"])
def test_no_blob_transaction_comes_into_a_block(manifests: list[Manifest], component: str) -> None:
    """Maru calls engine_newPayload without versioned hashes: such a block would be refused."""
    config = tomllib.loads(files(manifests, component)["config.toml"])
    assert config["tx-pool-max-prioritized-by-type"] == ["BLOB=0"]


def test_a_validator_may_go_but_not_two(manifests: list[Manifest]) -> None:
    for component in NODES:
        spec = named(manifests, "PodDisruptionBudget", component).object["spec"]
        assert spec.get("maxUnavailable", spec.get("minAvailable")) in (1, "50%")


def test_a_change_of_one_key_restarts_what_knows_it() -> None:
    before, after = network(4), network(4)
    after["genesis"] = before["genesis"]
    after["network"]["validators"] = [
        old | {"peerId": new["peerId"]}
        for old, new in zip(
            before["network"]["validators"], after["network"]["validators"], strict=True
        )
    ]

    def checksum(values: Network, component: str) -> str:
        return str(template(of(values), component)["metadata"]["annotations"]["checksum/config"])

    assert checksum(before, "maru") != checksum(after, "maru")
    assert checksum(before, "besu") != checksum(after, "besu")
    assert checksum(before, "sequencer") == checksum(after, "sequencer")


def test_halves_of_a_validator_share_a_zone_where_zones_are_kept_apart() -> None:
    values = network(4)
    values["maru"]["antiAffinity"] = values["sequencer"]["antiAffinity"] = "hard"
    affinity = template(of(values), "maru")["spec"]["affinity"]
    (term,) = affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "topology.kubernetes.io/zone"
    assert term["matchLabelKeys"] == ["apps.kubernetes.io/pod-index"]
    labels = template(of(values), "sequencer")["metadata"]["labels"]
    assert term["labelSelector"]["matchLabels"].items() <= labels.items()
    assert "podAffinity" not in template(of(values, "1.30"), "maru")["spec"]["affinity"]


@pytest.mark.parametrize(
    ("beside", "key"), [("zone", "topology.kubernetes.io/zone"), ("node", "kubernetes.io/hostname")]
)
@pytest.mark.parametrize("apart", ["none", "soft", "hard"])
def test_a_maru_is_kept_beside_its_sequencer_however_pods_are_spread(
    beside: str, key: str, apart: str
) -> None:
    values = network(4)
    values["maru"]["antiAffinity"] = values["sequencer"]["antiAffinity"] = apart
    values["maru"]["beside"] = beside
    made = of(values)
    affinity = template(made, "maru")["spec"]["affinity"]
    (term,) = affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == key
    assert term["matchLabelKeys"] == ["apps.kubernetes.io/pod-index"]
    assert ("podAntiAffinity" in affinity) is (apart != "none")
    assert "podAffinity" not in template(made, "sequencer")["spec"].get("affinity", {})


def test_by_default_a_maru_is_kept_nowhere() -> None:
    assert "affinity" not in template(of(network(4)), "maru")["spec"]


def test_the_fewest_zones_are_written_where_the_api_server_keeps_them() -> None:
    values = network(4)
    constraint = {
        "maxSkew": 1,
        "minDomains": 3,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
    }
    values["sequencer"]["topologySpreadConstraints"] = [constraint]
    for version, kept in (("1.26", False), ("1.27", True)):
        (made,) = template(of(values, version), "sequencer")["spec"]["topologySpreadConstraints"]
        assert ("minDomains" in made) is kept
        assert made["maxSkew"] == 1


# Numbers that are refused


def refused(values: Network) -> str:
    with pytest.raises(UserError) as caught:
        of(values)
    return "\n".join(f"{finding.message}\n{finding.fix}" for finding in caught.value.findings)


def with_replicas(values: Network, replicas: int) -> Network:
    for component in NODES:
        values[component]["replicas"] = replicas
    return values


@pytest.mark.parametrize(("validators", "replicas"), [(1, 4), (4, 5), (4, 7)])
def test_there_are_no_more_pods_than_keys(validators: int, replicas: int) -> None:
    told = refused(with_replicas(network(validators), replicas))
    assert f"network.validators has {validators}:" in told


@pytest.mark.parametrize("replicas", [2, 3])
def test_two_or_three_validators_are_refused_unless_meant(replicas: int) -> None:
    values = network(replicas)
    assert "acceptNoFaultTolerance" in refused(values)
    values["network"]["acceptNoFaultTolerance"] = True
    assert pod_names(of(values), "maru")[-1] == f"linea-stack-maru-{replicas - 1}"


@pytest.mark.parametrize(("validators", "replicas"), [(4, 1), (7, 4)])
def test_fewer_pods_than_a_quorum_are_refused(validators: int, replicas: int) -> None:
    assert "needed for a block" in refused(with_replicas(network(validators), replicas))


def test_each_maru_needs_its_sequencer() -> None:
    values = network(7)
    values["sequencer"]["replicas"] = 6
    assert "of its own ordinal" in refused(values)


def test_a_maru_without_any_sequencer_is_refused() -> None:
    assert "sequencer.enabled is false" in refused({"sequencer": {"enabled": False}})


def test_a_hundred_validators_fit_into_what_the_api_server_takes() -> None:
    for manifest in of(network(100)):
        assert len(json.dumps(manifest.object)) < 2**20, manifest.label


def test_a_validator_that_the_genesis_does_not_know_is_refused() -> None:
    values = network(4)
    values["network"]["validators"][2]["address"] = keys.Key.generate().address
    assert "network.validators.2.address" in refused(values)


@pytest.mark.parametrize("least", [4, 5, "100%"])
def test_a_budget_that_blocks_every_drain_is_refused(least: int | str) -> None:
    values = network(4)
    values["maru"]["podDisruptionBudget"] = {"minAvailable": least}
    assert "could be drained" in refused(values)


def test_validators_that_no_zone_is_left_for_are_refused() -> None:
    values = network(4)
    values["zones"] = ["a", "b", "c"]
    values["maru"]["antiAffinity"] = "hard"
    assert "zones has 3" in refused(values)


def test_what_a_node_waits_for_is_named_where_it_is_missing() -> None:
    objects = of(network(4))
    for component in (*NODES, "besu"):
        for volume in template(objects, component)["spec"]["volumes"]:
            for kind in ("secret", "configMap"):
                assert not volume.get(kind, {}).get("optional"), volume
    assert one(objects, "ConfigMap", "linea-stack-genesis")
