"""The difference between two objects, by meaning and without secrets."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.commands.impact import FORMATS
from scripts.impact import comparison, report
from scripts.impact.compare import difference
from scripts.impact.compare.difference import Change
from scripts.impact.compare.revisions import Pair
from scripts.kubernetes.manifest import Manifest
from scripts.rules.snapshot import Objects
from tests.objects import of_environment, seen, walk

PROD = tuple(of_environment("prod")[1])


def of(text: str, **more: Any) -> Manifest:
    return Manifest({**yaml.safe_load(text), **more}, "")


def changes(old: Manifest, new: Manifest) -> list[str]:
    """Return the changes as lines, as in a report."""
    lines = []
    for change in difference.between(old, new).changes:
        note = f" ({change.note})" if change.note else ""
        values = [*change.lines] if change.lines else [f"{change.old} → {change.new}"]
        lines += [f"{difference.shown(change.path)}{note}: {value}" for value in values]
    return lines


def pods(**container: Any) -> Manifest:
    spec = {"containers": [{"name": "besu", "image": "besu:1", **container}]}
    return of("kind: StatefulSet\napiVersion: apps/v1", spec={"template": {"spec": spec}})


def config(**files: str) -> Manifest:
    data = {name.replace("_", "."): text for name, text in files.items()}
    return of("kind: ConfigMap\napiVersion: v1", data=data)


A, B, C = ({"name": name, "value": name} for name in "ABC")
PORTS = "spec.template.spec.containers[besu]"

CASES: Mapping[str, tuple[Manifest, Manifest, list[str]]] = {
    "an item by its key": (
        pods(env=[A, B]),
        pods(env=[C, A, {**B, "value": "other"}]),
        [f"{PORTS}.env[B].value: B → other", f"{PORTS}.env[C]: None → {C}"],
    ),
    "items in another order": (
        pods(env=[A, B]),
        pods(env=[B, A]),
        [f"{PORTS}.env (order): ['A', 'B'] → ['B', 'A']"],
    ),
    "items without keys": (
        pods(args=["a", "b", "c"]),
        pods(args=["a", "x", "b", "c"]),
        [f"{PORTS}.args[1]: None → x"],
    ),
    "one port with two protocols": (
        pods(ports=[{"containerPort": 1}, {"containerPort": 1, "protocol": "UDP"}]),
        pods(ports=[{"containerPort": 1, "protocol": "UDP"}]),
        [f"{PORTS}.ports[1/TCP]: {{'containerPort': 1}} → None"],
    ),
    "two items with the same name": (
        pods(env=[A, A]),
        pods(env=[A, B]),
        [f"{PORTS}.env[1].name: A → B", f"{PORTS}.env[1].value: A → B"],
    ),
    "a key of TOML": (
        config(a_toml="[p2p]\nport = 1\n"),
        config(a_toml="[p2p]\nport = 2 # more\n"),
        ["data[a.toml].p2p.port: 1 → 2"],
    ),
    "a type of TOML": (
        config(a_toml="a = 1\nb = 1\nc = 1.0"),
        config(a_toml="a = true\nb = 1.0\nc = 1.00"),
        ["data[a.toml].a: 1 → True", "data[a.toml].b: 1 → 1.0"],
    ),
    "defaults of Kubernetes in a file": (
        config(a_json='{"ports": [{"name": "a"}], "limits": {"cpu": "1"}, "b": []}'),
        config(a_json='{"ports": [{"name": "a", "protocol": "TCP"}], "limits": {"cpu": "1000m"}}'),
        [
            "data[a.json].ports[0].protocol: None → TCP",
            "data[a.json].limits.cpu: 1 → 1000m",
            "data[a.json].b: [] → None",
        ],
    ),
    "a null of JSON": (
        config(a_json='{"a": null}'),
        config(a_json="{}"),
        ["data[a.json].a: null → None"],
    ),
    "a list of JSON": (
        config(a_json='["a", "b"]'),
        config(a_json='["b"]'),
        ["data[a.json][0]: a → None"],
    ),
    "TOML that differs only in form": (
        config(a_toml="a = 1\nb = 2\n"),
        config(a_toml="a = 1\n\nb = 2\n"),
        [
            "data[a.toml] (the same TOML):  a = 1",
            "data[a.toml] (the same TOML): +",
            "data[a.toml] (the same TOML):  b = 2",
        ],
    ),
    "invalid TOML": (
        config(a_toml="a = \n"),
        config(a_toml="a = 1\n"),
        ["data[a.toml]: -a = ", "data[a.toml]: +a = 1", "data[a.toml]:  "],
    ),
    "lines of a shell script": (
        config(a_sh="set -eu\n-- a\necho b\n\n\nexit\n"),
        config(a_sh="set -eu\necho b\n\n\nexit 0\n"),
        [f"data[a.sh]: {line}" for line in (" set -eu", "--- a", " echo b", " ", "-exit",
                                            "+exit 0", " ")],
    ),
    "line endings": (
        config(a_sh="a\r\nb\n"),
        config(a_sh="a\nb"),
        [f"data[a.sh]: {line}" for line in ("-a\\r", "+a", " b", "-")],
    ),
    "control characters": (
        config(a_sh="a\n"),
        config(a_sh="a\n\x1b[2J\n"),
        ["data[a.sh]:  a", "data[a.sh]: +\\x1b[2J", "data[a.sh]:  "],
    ),
    "another version of an API": (
        of("kind: PodDisruptionBudget\napiVersion: policy/v1beta1"),
        of("kind: PodDisruptionBudget\napiVersion: policy/v1"),
        ["apiVersion: policy/v1beta1 → policy/v1"],
    ),
    "an empty list in a custom resource": (
        of("kind: A\napiVersion: a.com/v1\nspec: {}"),
        of("kind: A\napiVersion: a.com/v1\nspec: {list: [], ports: [{protocol: TCP}]}"),
        ["spec.list: None → []", "spec.ports: None → [{'protocol': 'TCP'}]"],
    ),
    "a budget for all pods": (
        of("kind: PodDisruptionBudget\napiVersion: policy/v1\nspec: {}"),
        of("kind: PodDisruptionBudget\napiVersion: policy/v1\nspec: {selector: {}}"),
        ["spec.selector: None → {}"],
    ),
}  # fmt: skip
"""What differs → the old and new object, and the expected changes."""


@pytest.mark.parametrize("what", CASES)
def test_a_difference_has_exactly_these_changes(what: str) -> None:
    old, new, expected = CASES[what]
    assert changes(old, new) == expected


def test_an_object_is_identified_by_group_kind_namespace_and_name() -> None:
    beta = of("kind: PodDisruptionBudget\napiVersion: policy/v1beta1\nmetadata: {name: a}")
    assert (
        beta.identity == replace(beta, object={**beta.object, "apiVersion": "policy/v1"}).identity
    )


scalars = st.sampled_from(["a", "", "1", 1, 0, True, False, None, 1.5, "1Gi", "1024Mi"])
names = st.sampled_from(
    [
        "spec",
        "template",
        "env",
        "ports",
        "name",
        "value",
        "limits",
        "data",
        "port",
        "args",
        "labels",
    ]
)
any_data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
kinds = st.sampled_from(["StatefulSet", "Deployment", "Service", "ConfigMap", "Other"])
groups = st.sampled_from(["v1", "apps/v1", "networking.k8s.io/v1", "example.com/v1"])


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    data = draw(st.dictionaries(names, any_data, max_size=4))
    return Manifest({"apiVersion": draw(groups), "kind": draw(kinds), **data}, "")


@given(manifests())
def test_a_copy_of_an_object_has_no_difference(manifest: Manifest) -> None:
    assert changes(manifest, replace(manifest, object=copy.deepcopy(manifest.object))) == []


@given(manifests(), manifests())
def test_a_difference_is_symmetric(old: Manifest, new: Manifest) -> None:
    new = replace(new, object={**new.object, "kind": old.kind, "apiVersion": old.api_version})

    def described(changes: tuple[Change, ...], *, reverse: bool) -> set[Any]:
        pairs = [(change.old, change.new) for change in changes]
        values = [json.dumps(pair[::-1] if reverse else pair, default=str) for pair in pairs]
        return {
            (difference.shown(change.path), change.note, value)
            for change, value in zip(changes, values, strict=True)
        }

    forward = difference.between(old, new).changes
    backward = difference.between(new, old).changes
    assert bool(forward) == bool(backward)
    if not any(isinstance(part, int) for each in (*forward, *backward) for part in each.path):
        assert described(forward, reverse=False) == described(backward, reverse=True)


@given(manifests(), st.randoms(use_true_random=False))
def test_moved_items_with_names_change_only_their_order(manifest: Manifest, random: Any) -> None:
    data = copy.deepcopy(manifest.object)
    items = [{"name": f"N{index}", "value": "a"} for index in range(4)]
    for is_new in (False, True):
        if is_new:
            random.shuffle(items)
        data["spec"] = {"template": {"spec": {"containers": [{"name": "a", "env": [*items]}]}}}
        if not is_new:
            old = Manifest(copy.deepcopy(data), "")
    moved = difference.between(old, Manifest(data, "")).changes
    assert [change.note for change in moved] == ["order"] * len(moved)
    assert bool(moved) == (items != sorted(items, key=lambda item: item["name"]))


@st.composite
def edited(draw: st.DrawFn) -> tuple[Manifest, Manifest]:
    """Draw a committed object, and a copy in which one scalar differs."""
    old = draw(st.sampled_from(PROD))
    data = copy.deepcopy(old.object)
    places = [path for path, part in walk(data) if not isinstance(part, dict | list)]
    *above, last = draw(st.sampled_from(places))
    part: Any = data
    for key in above:
        part = part[key]
    part[last] = f"{part[last]}x" if isinstance(part[last], str) else 987_654
    return old, replace(old, object=data)


@given(edited())
def test_every_changed_value_is_a_change(pair: tuple[Manifest, Manifest]) -> None:
    assert difference.between(*pair).changes


Plant = Callable[[str], dict[str, Any]]


def in_config(name: str, text: str) -> Plant:
    return lambda secret: {"kind": "ConfigMap", "data": {name: text.replace("SECRET", secret)}}


def in_pod(container: str) -> Plant:
    """Return a function that puts a secret into a container, written as YAML."""

    def plant(secret: str) -> dict[str, Any]:
        fields = yaml.safe_load(container.replace("SECRET", secret))
        labels = {"app": "x"}
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "main", "image": "a:1", **fields}]},
        }
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        return {"kind": "Deployment", "apiVersion": "apps/v1", "spec": spec}

    return plant


def encoded(secret: str) -> str:
    return base64.b64encode(secret.encode()).decode()


PLACES: Mapping[str, Plant] = {
    "a Secret": lambda s: {"kind": "Secret", "stringData": {"any": s}},
    "a Secret, encoded": lambda s: {"kind": "Secret", "data": {"any": encoded(s)}},
    "a Secret, applied": lambda s: {
        "kind": "ConfigMap",
        "metadata": {
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": json.dumps(
                    {"kind": "Secret", "stringData": {"any": s}}
                )
            }
        },
    },
    "an annotation": lambda s: {
        "kind": "ConfigMap",
        "metadata": {"annotations": {"example.com/password": s}},
    },
    "an annotation of JSON": lambda s: {
        "kind": "ConfigMap",
        "metadata": {"annotations": {"example.com/a": json.dumps({"a": [{"password": s}]})}},
    },
    "a file": in_config("password", "SECRET"),
    "TOML": in_config("a.toml", 'a = 1\n[b]\nadmin-password = "SECRET"\n'),
    "TOML, a table": in_config("a.toml", "[[b]]\napi-token = 'SECRET'\n"),
    "TOML, broken": in_config("a.toml", "a = \npassword = 'SECRET'\n"),
    "JSON": in_config("a.json", '{"a": [{"jwtSecret": "SECRET"}]}'),
    "JSON in a text file": in_config("a.txt", '[{"a": 1, "clientPassword" : "SECRET"}]\n'),
    "YAML": in_config("a.yaml", "a: 1\nb:\n  password: SECRET\n"),
    "a shell script": in_config("a.sh", "set -eu\nexport PASSWORD='SECRET' # it\nrun\n"),
    "a variable of a shell script": in_config("a.sh", "set -eu\nDB_PASSWORD=SECRET exec run\n"),
    "an option in a shell script": in_config("a.sh", "run --user a --password SECRET --more\n"),
    "an address in a script": in_config("a.sh", "curl https://me:SECRET@example.com/\n"),
    "a private key": in_config(
        "a.pem", "-----BEGIN RSA PRIVATE KEY-----\na\nSECRET\nb\n-----END RSA PRIVATE KEY-----\n"
    ),
    "properties": in_config("a.properties", "a=1\nspring.datasource.password=SECRET\n"),
    "a variable": in_pod("env: [{name: API_TOKEN, value: SECRET}]"),
    "an address in a variable": in_pod("env: [{name: DB, value: 'postgres://me:SECRET@db/x'}]"),
    "a variable twice": in_pod("env: [{name: A_PASSWORD, value: SECRET}, {name: A_PASSWORD}]"),
    "an argument": in_pod("args: [run, --rpc-password=SECRET]"),
    "two arguments": in_pod("args: [run, --password, SECRET]"),
    "a command": in_pod("command: [sh, -c, 'PASSWORD=SECRET exec run']"),
    "a command of several lines": in_pod('command: [sh, -c, "set -e\\nexport TOKEN=SECRET\\nrun"]'),
    "a probe": in_pod("readinessProbe: {exec: {command: [curl, 'http://a:SECRET@localhost']}}"),
    "a header": in_pod(
        "readinessProbe: {httpGet: {port: 1, httpHeaders: [{name: X-Token, value: SECRET}]}}"
    ),
    "a custom resource": lambda s: {
        "kind": "Thing",
        "apiVersion": "example.com/v1",
        "spec": {"auth": {"password": s}, "list": [{"token": s}]},
    },
}

secrets = st.text(st.sampled_from("abcdefghkmnpqrstuvwxyz23456789"), min_size=20, max_size=30).map(
    lambda text: f"q7{text}"
)


def planted(place: str, secret: str) -> Manifest:
    data = {"apiVersion": "v1", **PLACES[place](secret)}
    metadata = {"name": "planted", "namespace": "linea", **data.get("metadata", {})}
    return Manifest({**data, "metadata": metadata}, "")


def without_secret(manifest: Manifest) -> Manifest:
    """Return the object without the place of the secret."""
    contents = ("data", "stringData")
    bare = {key: value for key, value in manifest.object.items() if key not in contents}
    bare["metadata"] = {"name": "planted", "namespace": "linea"}
    if manifest.kind == "Deployment":
        bare["spec"] = in_pod("{}")("")["spec"]
    return Manifest(bare, "")


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=6, suppress_health_check=list(HealthCheck))
@given(secrets, secrets)
def test_no_format_shows_a_secret(place: str, secret: str, other: str) -> None:
    old, new = planted(place, secret), planted(place, other)
    bare = without_secret(old)
    for before, after in ((old, new), (old, bare), (bare, new), (None, new), (old, None)):
        environments = [seen([*PROD[:6], *([each] if each else [])]) for each in (before, after)]
        for shown in written(*environments):
            assert secret not in shown and other not in shown, place
            assert encoded(secret) not in shown and encoded(other) not in shown, place


def written(old: Objects, new: Objects) -> list[str]:
    """Return the report of a change in all formats."""
    pair = Pair("test", old, new, ({}, {}))
    whole = report.report("main", "", 1, [comparison.environment_impact(pair)])
    return [form(whole) for form in FORMATS.values()]


def test_lines_next_to_a_secret_are_shown() -> None:
    old, new = (config(a_sh=f"set -eu\nPASSWORD={x}\nrun {x[:1]}\n") for x in ("abcd", "efgh"))
    assert [line.partition(": ")[2] for line in changes(old, new)] == [
        " set -eu",
        "-(not shown)",
        "-run a",
        "+(not shown)",
        "+run e",
        " ",
    ]


@pytest.mark.parametrize(
    "variable",
    [
        {"name": "SECRET_FILE", "value": "/keys/secret"},
        {"name": "PASSWORD", "value": "$(OTHER)"},
        {"name": "TOKEN_ADDRESS", "value": "0x" + "ab" * 20},
        {"name": "WITH_TOKEN", "value": "true"},
    ],
)
def test_a_value_that_only_refers_to_a_secret_is_shown(variable: dict[str, str]) -> None:
    (change,) = difference.between(pods(env=[A]), pods(env=[A, variable])).changes
    assert change.new == variable
