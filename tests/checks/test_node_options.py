"""The tables of the options of Besu and Maru, and the check of pods against them."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from scripts.checks import node_options
from scripts.kubernetes.manifest import Manifest
from tests.conftest import ROOT
from tests.objects import ENVIRONMENTS, of_environment

GENESIS = {
    "chainId": 1337,
    "config": {
        "0": {
            "type": "qbft",
            "validatorSet": ["0x" + "00" * 20],
            "blockTimeSeconds": 1,
            "elFork": "Osaka",
        }
    },
}

FOLLOWER = """
[persistence]
data-path = "/data"
[observability]
port = 9545
[api]
port = 8080
[syncing]
peer-chain-height-polling-interval = "1 seconds"
sync-target-selection = "Highest"
"""

VALIDATOR = """
[qbft]
fee-recipient = "0x0000000000000000000000000000000000000000"
"""

ENDPOINT = """
[payload-validator]
engine-api-endpoint = { endpoint = "http://127.0.0.1:8550" }
"""


@dataclass(frozen=True, slots=True)
class Pod:
    """A StatefulSet with one container, and the files that are mounted at /config and /genesis."""

    image: str
    command: list[str]
    args: list[str]
    files: dict[str, Any]
    env: list[Any] = field(default_factory=list)
    volume: dict[str, Any] = field(default_factory=lambda: {"configMap": {"name": "files"}})
    mount: dict[str, Any] = field(default_factory=lambda: {"mountPath": "/config"})

    def messages(self) -> list[str]:
        """Return the rule and message of each problem."""
        return [f"{p.rule}: {p.message}" for p in self.problems()]

    def problems(self) -> list[node_options.InvalidOption]:
        container = {
            "name": "main",
            "image": self.image,
            "command": self.command,
            "args": self.args,
            "env": self.env,
            "volumeMounts": [{"name": "files", **self.mount}],
        }
        spec = {"containers": [container], "volumes": [{"name": "files", **self.volume}]}
        template = {"spec": {"template": {"spec": spec}}}
        node = {"kind": "StatefulSet", "metadata": {"name": "node"}, **template}
        files = {"kind": "ConfigMap", "metadata": {"name": "files"}, "data": self.files}
        return node_options.check([Manifest(one, "") for one in (node, files)])


def besu(text: str = "", *args: str, **more: Any) -> Pod:
    """Return a pod of Besu with a configuration."""
    arguments = ["--config-file=/config/config.toml", *args]
    return Pod(
        "hyperledger/besu:25.11.0", ["/opt/besu/bin/besu"], arguments, {"config.toml": text}, **more
    )


def maru(*args: str, env: list[Any] | None = None, **files: str) -> Pod:
    """Return a pod of Maru; files: name without .toml → text."""
    command = ["java", "-Xmx1g", "-jar", "maru.jar"]
    texts = {f"{name.replace('_', '-')}.toml": text for name, text in files.items()}
    arguments = [*args] or ["--genesis-file=/config/maru.json", "--config=/config/config.toml"]
    mounted = {"maru.json": json.dumps(GENESIS), **texts}
    return Pod("consensys/maru:v1-d326b73", command, arguments, mounted, env or [])


def test_valid_options_have_no_problem() -> None:
    assert besu('data-path = "/data"\nXdns-enabled = true\n', "--logging", "INFO").messages() == []
    assert maru(config=FOLLOWER).messages() == []
    assert maru(config=FOLLOWER + VALIDATOR + ENDPOINT).messages() == []


@pytest.mark.parametrize(
    ("text", "argument"),
    [
        ('rpc-http-api = ["ETH", "ADMIN"]', "--rpc-http-api=ETH,ADMIN"),
        ('rpc-ws-apis = ["DEBUG"]', "--rpc-ws-apis=DEBUG"),
        ("engine-jwt-disabled = true", "--engine-jwt-disabled"),
    ],
)
def test_an_option_that_opens_a_node_to_everybody_is_invalid(text: str, argument: str) -> None:
    assert [problem.rule for problem in besu(text).problems()] == ["wrong-value"]
    assert [problem.rule for problem in besu("", argument).problems()] == ["wrong-value"]
    assert besu('rpc-http-api = ["ETH", "NET"]', "--engine-jwt-disabled=false").messages() == []


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_configuration_of_each_environment_is_read_and_valid(name: str) -> None:
    _, manifests = of_environment(name)
    assert node_options.check(manifests) == []
    # Each configuration is really read: an unknown key is reported in every one.
    files = {
        (m.name, key)
        for m in manifests
        if m.kind == "ConfigMap"
        for key in m.object.get("data", {})
        if key.endswith(".toml")
    }
    for index, manifest in enumerate(manifests):
        for key in manifest.object.get("data", {}) if manifest.kind == "ConfigMap" else ():
            if key.endswith(".toml"):
                text = manifest.object["data"][key]
                data = manifest.object["data"] | {key: f"nobody-knows = 1\n{text}"}
                changed = replace(manifest, object=manifest.object | {"data": data})
                told = node_options.check([*manifests[:index], changed, *manifests[index + 1 :]])
                assert [(p.name, p.path[1], p.line) for p in told] == [(manifest.name, key, 1)]
                files.remove((manifest.name, key))
    assert not files


@pytest.mark.parametrize(
    "line",
    [
        "[p2p.gossiping]\nfanout-ttl = '120 seconds'\nd-low = 10\ngossip-factor = 0.5",
        "[p2p.reputation]\nsmall-change = 1\ndisconnect-score-threshold = -20",
        "[p2p.status-update]\nrefresh-interval-leeway = '10 seconds'",
        "[p2p]\nip-address = '10.11.12.13'\nreconnect-delay = '500 ms'",
        "[p2p.discovery]\nrefresh-interval = '2 minutes'\nadvertised-ip = '::1'",
        "[syncing.download]\nuse-unconditional-random-download-peer = true",
        "[fork-transition]\nprotocol-transition-polling-interval = '2s'",
        "[follower-engine-apis]\nf1 = { endpoint = 'http://f:1', timeout = '25 seconds' }",
        "[defaults]\nl2-eth-endpoint = { endpoint = 'http://localhost:8545' }",
        "[linea]\ncontract-address = '0xdead000000000000000000000000000000000000'",
    ],
)
def test_the_table_of_maru_accepts_the_configurations_of_its_own_tests(line: str) -> None:
    assert maru(config=f"{FOLLOWER}\n{line}\n").messages() == []


def test_the_table_of_maru_knows_the_sync_target_most_frequent() -> None:
    choice = '{ _type = "MostFrequent", peer-chain-height-granularity = 10 }'
    assert maru(config=FOLLOWER.replace('"Highest"', choice)).messages() == []
    wrong = choice.replace("Frequent", "Recent")
    (message,) = maru(config=FOLLOWER.replace('"Highest"', wrong)).messages()
    place = "config.toml: syncing.sync-target-selection._type"
    assert message == f'wrong-value: {place} is "MostRecent", which is not allowed'


def test_besu_ignores_the_tables_of_toml() -> None:
    text = '[rpc]\nrpc-http-enabled = true\n[other]\nrpc-http-prt = 1\ndata-path = "/data"\n'
    (problem,) = besu(text).problems()
    assert (problem.message, problem.line) == ("config.toml: rpc-http-prt is an unknown key", 4)
    assert problem.fix == "write rpc-http-port"


def test_a_later_file_of_maru_overrides_an_earlier_one() -> None:
    args = ["--genesis-file=/config/maru.json", "--config=/config/a.toml,/config/b.toml"]
    assert maru(*args, a=FOLLOWER + VALIDATOR, b=ENDPOINT).messages() == []
    assert maru(*args[:1], "--config", "/config/a.toml", "--config=/config/b.toml",
                a=FOLLOWER + VALIDATOR, b=ENDPOINT).messages() == []  # fmt: skip
    (problem,) = maru(*args, a=FOLLOWER, b='[api]\nport = "x"\n').problems()
    assert (problem.path, problem.line) == (("data", "b.toml"), 2)
    # A mistake in the earlier file has no effect if the later one overrides it.
    assert maru(*args, a=FOLLOWER.replace("8080", '"x"'), b="[api]\nport = 1\n").messages() == []


def test_the_files_of_all_pods_are_checked() -> None:
    name = {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    args = ["--genesis-file=/config/maru.json", "--config=/config/config.toml,/config/$(ME).toml"]
    files = {"config": FOLLOWER + VALIDATOR, "node_0": ENDPOINT}
    assert maru(*args, env=[name], **files, node_1=ENDPOINT).messages() == []
    assert maru(*args, env=[name], **files, node_1="").messages() == [
        "missing-key: config.toml: qbft needs payload-validator"
    ]


@pytest.mark.parametrize(
    ("key", "without"),
    [
        ("persistence", '[persistence]\ndata-path = "/data"\n'),
        ("persistence.data-path", 'data-path = "/data"\n'),
        ("observability", "[observability]\nport = 9545\n"),
        ("api", "[api]\nport = 8080\n"),
        ("syncing.sync-target-selection", 'sync-target-selection = "Highest"\n'),
        (
            "syncing.peer-chain-height-polling-interval",
            'peer-chain-height-polling-interval = "1 seconds"\n',
        ),
    ],
)
def test_a_missing_key_of_maru_is_reported(key: str, without: str) -> None:
    text = FOLLOWER.replace(without, "")
    assert maru(config=text).messages() == [f"missing-key: config.toml: {key} is missing"]


def test_maru_must_not_join_the_mainnet_by_accident() -> None:
    (message,) = maru("--config=/config/config.toml", config=FOLLOWER).messages()
    assert message.startswith("missing-argument: Maru has no genesis file and no network")
    assert (
        maru("--network=linea-sepolia", "--config=/config/config.toml", config=FOLLOWER).messages()
        == []
    )
    assert maru("--network=linea-sepolia").messages() == [
        "missing-argument: Maru has no configuration file, and does not start"
    ]


@pytest.mark.parametrize(
    ("mount", "volume"),
    [
        ({"mountPath": "/config"}, {"configMap": {"name": "files"}}),
        ({"mountPath": "/config/"}, {"projected": {"sources": [{"configMap": {"name": "files"}}]}}),
        (
            {"mountPath": "/config/config.toml", "subPath": "config.toml"},
            {"configMap": {"name": "files"}},
        ),
        (
            {"mountPath": "/config"},
            {
                "configMap": {
                    "name": "files",
                    "items": [{"key": "config.toml", "path": "config.toml"}],
                }
            },
        ),
    ],
)
def test_a_file_is_followed_through_mounts_and_volumes(
    mount: dict[str, Any], volume: dict[str, Any]
) -> None:
    pod = besu("sync-mod = 'FULL'\n", mount=mount, volume=volume)
    assert pod.messages() == ["unknown-key: config.toml: sync-mod is an unknown key"]


def test_a_missing_file_is_reported() -> None:
    pod = replace(besu(), args=["--config-file", "/config/confg.toml"])
    (problem,) = pod.problems()
    assert problem.rule == "missing-file"
    assert problem.fix == "write config.toml"
    assert problem.path[-2:] == ("args", 0)


def test_files_of_the_cluster_or_the_image_are_not_checked() -> None:
    elsewhere = {"configMap": {"name": "made-on-the-cluster"}}
    assert besu("x = 1\n", volume=elsewhere).messages() == []
    assert replace(besu("x = 1\n"), args=["--config-file=/etc/besu/x.toml"]).messages() == []


def test_besu_behind_a_script_is_detected_by_its_image() -> None:
    pod = replace(besu("sync-mod = 'FULL'\n"), command=["/bin/sh", "/config/start.sh"])
    assert pod.messages() == ["unknown-key: config.toml: sync-mod is an unknown key"]
    assert replace(pod, args=[]).messages() == []


@pytest.mark.parametrize(
    ("argument", "messages"),
    [
        ("--rpc-http-enabled", []),
        ("--rpc-http-enabled=false", []),
        (
            "--rpc-http-enabled=no",
            ['wrong-type: --rpc-http-enabled is the string "no", not a boolean'],
        ),
        ("--p2p-host=$(POD_IP)", []),
        ("--p2p-port=$(PORT)", []),
        ("--p2p-port=1e4", ['wrong-type: --p2p-port is the string "1e4", not a whole number']),
        ("--sync-mode=snap", []),
        (
            "--sync-mode=fastest",
            ['wrong-value: --sync-mode is "fastest", which is not a valid value'],
        ),
        ("--min-gas-price=1000000000000000000000", []),
        ("--rpc-http-api=ETH,NET", []),
        (
            "--plugin-linea-x=1",
            ["unknown-argument: Besu has no option --plugin-linea-x, and does not start"],
        ),
        (
            "--Xdns-enable=true",
            ["unknown-argument: Besu has no option --Xdns-enable, and does not start"],
        ),
    ],
)
def test_an_argument_of_besu_is_checked_against_the_table(
    argument: str, messages: list[str]
) -> None:
    assert besu('data-path = "/data"\n', argument).messages() == messages


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--tx-pool-price-bump", "20"], []),
        (["--rpc-http-enabled", "true", "--logging", "INFO"], []),
        (["--bootnodes=", "--rpc-http-enabled"], []),
        (["--tx-pool-price-bump 20"], ["write --tx-pool-price-bump=20"]),
        (["--rpc-http-max-batch-size", "many"], ["write a whole number"]),
        (["--tx-pool-price-bump", "--logging=INFO"], ["write --tx-pool-price-bump=VALUE, or rem"]),
        (["logging=INFO"], ["write --logging=INFO"]),
        (["--logging=INFO", "WARN"], ["write one argument per item, beginning with --, for ex"]),
    ],
)
def test_an_option_and_its_value_may_be_two_arguments(
    arguments: list[str], messages: list[str]
) -> None:
    pod = besu('data-path = "/data"\n', *arguments)
    fixes = [problem.fix for problem in pod.problems()]
    assert len(fixes) == len(messages)
    assert all(fix.startswith(start) for fix, start in zip(fixes, messages, strict=True)), fixes


def test_the_tag_of_the_image_says_which_table_is_used() -> None:
    pod = besu("rpc-max-active-filters = 1000\n", "--miner-enabled=false")
    new = replace(pod, image="hyperledger/besu:26.8.0")
    assert [problem.rule for problem in pod.problems()] == ["unknown-key"]
    assert [problem.rule for problem in new.problems()] == ["unknown-argument"]
    between = replace(pod, image="hyperledger/besu:26.1.0").problems()
    assert [problem.rule for problem in between] == ["unknown-key", "options-of-another-version"]
    assert [problem.severity for problem in between] == ["error", "warning"]


def test_an_image_with_plugins_may_have_their_options() -> None:
    pod = besu("plugin-linea-x = 1\n", "--plugin-linea-y=1")
    assert len(pod.messages()) == 2
    with_plugins = replace(pod, image="consensys/linea-besu-package:beta-v6").problems()
    # Which version of Besu it contains is unknown.
    assert {problem.rule for problem in with_plugins} == {"options-of-another-version"}


@pytest.mark.parametrize(
    ("variable", "value", "rules"),
    [
        ("BESU_OPTS", "-Xmx2g", []),
        ("BESU_SYNC_MODE", "FULL", []),
        ("BESU_XDNS_ENABLED", "true", []),
        ("BESU_SYNC_MOD", "FULL", ["unknown-variable"]),
        ("BESU_P2P_PORT", "x", ["wrong-type"]),
        ("BESU", "/opt/besu/bin/besu", []),
        ("JAVA_OPTS", "-Xmx2g", []),
    ],
)
def test_a_variable_of_besu_is_checked_against_the_table(
    variable: str, value: str, rules: list[str]
) -> None:
    pod = besu('data-path = "/data"\n', env=[{"name": variable, "value": value}])
    assert [problem.rule for problem in pod.problems()] == rules


@pytest.mark.parametrize(
    ("variable", "value", "rules"),
    [
        ("config__override__p2p__discovery__bootnodes", "enr:-a,enr:-b", []),
        ("config__override__p2p__static-peers", "/ip4/127.0.0.1", []),
        ("config__override__p2p__staticPeers", "/ip4/127.0.0.1", []),
        ("config.override.p2p.max_peers", "5", []),
        ("config__override__follower-engine-apis__f1__endpoint", "http://f:1", []),
        ("config__override__p2p__discovery", None, []),
        ("config__override__p2p__peers", "x", ["unknown-variable"]),
        ("config__override__p2p__port__x", "1", ["unknown-variable"]),
        ("config__override__follower-engine-apis__f1__endpont", "x", ["unknown-variable"]),
        ("config__override__api__port", "high", ["wrong-type"]),
        ("config__override__syncing__sync-target-selection", "Lowest", ["wrong-value"]),
        ("CONFIG__OVERRIDE__api__port", "1", ["unknown-variable"]),
        ("config_override_api_port", "high", []),
    ],
)
def test_a_variable_that_overrides_a_key_of_maru_is_checked_against_the_table(
    variable: str, value: str | None, rules: list[str]
) -> None:
    pod = maru(config=FOLLOWER, env=[{"name": variable, "value": value}])
    assert [problem.rule for problem in pod.problems()] == rules


def test_no_message_shows_a_secret() -> None:
    pod = besu("engine-jwt-secret = 12345\n", "--rpc-ws-ssl-keystore-password=")
    assert pod.messages() == [
        "wrong-type: config.toml: engine-jwt-secret is a number, not a string"
    ]


@pytest.mark.parametrize("kind", [None, 1, "text", [], [1], {}, {"name": 1}])
def test_an_object_of_a_wrong_form_is_left_to_the_schemas(kind: Any) -> None:
    besu_image, maru_image = "besu:25.11.0", "maru:v1-d326b73"
    unnamed = {"name": kind, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    pods = [
        {"containers": kind, "volumes": kind},
        {"containers": [kind, {"image": kind, "command": kind, "args": kind, "env": kind}]},
        {
            "containers": [
                {"args": ["--config-file=/x/y"], "image": besu_image, "volumeMounts": kind}
            ]
        },
        {
            "containers": [
                {
                    "image": maru_image,
                    "args": ["maru.jar", "--config=/x/$(ME)", "--genesis-file=/x"],
                    "volumeMounts": [{"mountPath": kind, "name": "x", "subPath": kind}],
                    "env": [kind, {"name": kind, "value": kind, "valueFrom": kind}, unnamed],
                }
            ],
            "volumes": [{"name": "x", "configMap": kind, "projected": {"sources": kind}}],
        },
    ]
    for pod in pods:
        assert (
            node_options.check([Manifest({"kind": "Pod", "metadata": kind, "spec": pod}, "")]) == []
        )


def test_a_date_is_not_a_valid_value() -> None:
    assert besu("identity = 2020-01-01\n").messages() == [
        "wrong-type: config.toml: identity is a date, which no option takes"
    ]


@pytest.mark.parametrize("component", ["besu", "sequencer"])
def test_no_client_can_take_up_a_besu(component: str) -> None:
    """Without limits, 80 idle connections or 16 posts of 128 MiB stop it for all."""
    text = (ROOT / "chart" / "files" / component / "config.toml").read_text("utf-8")
    config = tomllib.loads(text)
    assert config["rpc-http-max-active-connections"] > 80
    assert config["rpc-http-max-request-content-length"] <= 2**21
    assert config["rpc-http-max-batch-size"] <= 100
    assert config["rpc-ws-max-active-connections"] > 80
