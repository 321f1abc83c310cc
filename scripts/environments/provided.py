"""The resources that a cluster provides: objects and nodes that no manifest here makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.core import paths
from scripts.environments import layout
from scripts.environments.environment import Environment, coalesce


@dataclass(frozen=True, slots=True)
class Given:
    """The provided resources of an environment, which environment.yaml declares as `given`."""

    objects: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """Kind → name → keys; no keys for kinds without data."""
    node: Mapping[str, str] = field(default_factory=dict)
    """The allocatable resources of the smallest node, as quantities; empty if unknown."""
    registries: tuple[str, ...] = ()
    """Allowed prefixes of image names; empty allows all."""


def given(environment: Environment) -> Given:
    """Return the resources that the environment declares, and those that its values imply.

    Implied are the certificates of hosts, a genesis that is not in the values, and with
    `secrets.provider: existing` the Secrets of the chart: chart/README.md, Install.
    """
    declared = {
        kind: {name: tuple(keys) for name, keys in names.items()}
        if isinstance(names, dict)
        else dict.fromkeys(names, ())
        for kind, names in environment.given.items()
    }
    values = coalesce(environment.layers[0].data or {}, environment.values)
    secrets = _certificates(values) | _by_hand(values) | declared.get("Secret", {})
    config_maps = _genesis(values) | declared.get("ConfigMap", {})
    objects = {**declared, "ConfigMap": config_maps, "Secret": secrets}
    return Given(objects, environment.node, environment.registries)


def _certificates(values: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the Secrets with the certificates of hosts, which no manifest makes."""
    hosts = paths.get(values, ["ingress"])
    names = [paths.get(host, ["tlsSecretName"]) for host in (hosts or {}).values()]
    return {name: ("tls.crt", "tls.key") for name in names if name}


def _genesis(values: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the ConfigMap with the genesis if it is not in the values."""
    genesis = paths.get(values, ["genesis"]) or {}
    if genesis.get("besu") and genesis.get("maru"):
        return {}
    name = (
        genesis.get("configMapName")
        or f"{values.get('fullnameOverride') or layout.RELEASE}-genesis"
    )
    return {name: ("besu.json", "maru.json")}


def _by_hand(values: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the Secrets that people make, name → keys; none if External Secrets makes them."""
    if paths.get(values, ["secrets", "provider"]) == "external":
        return {}
    validators = paths.get(values, ["network", "validators"]) or [None]
    keys = tuple(f"key-{index}" if index else "key" for index in range(len(validators)))
    access = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    secrets = {
        ("engine", "jwtSecretName"): ("jwt",),
        ("sequencer", "p2pKeySecretName"): keys,
        ("maru", "p2pKeySecretName"): keys,
        ("ethstats", "secretName"): ("secret",),
        ("txSender", "secretName"): ("privateKey", "toAddress"),
        ("backup", "secretName"): access,
        ("restore", "secretName"): access,
    }
    names = {paths.get(values, path): keys for path, keys in secrets.items()}
    return {name: keys for name, keys in names.items() if isinstance(name, str) and name}
