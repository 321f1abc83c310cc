"""Environment → what its cluster has without a manifest of it: declared, or by the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.core import paths
from scripts.environments import layout
from scripts.environments.environment import Environment, coalesce


@dataclass(frozen=True, slots=True)
class Given:
    """What a cluster has for an environment without a manifest of it; environment.yaml says so."""

    objects: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """Kind → name → keys, of what has keys."""
    node: Mapping[str, str] = field(default_factory=dict)
    """What the smallest node has for pods, as Kubernetes writes amounts; empty where not known."""
    registries: tuple[str, ...] = ()
    """Beginnings of the images' names that may run; none given, and all may."""


def given(found: Environment) -> Given:
    """Return what the environment declares, and what its values say is made by hand.

    Those are the certificates, a genesis that the chart does not make, and with
    `secrets.provider: existing` the Secrets of the contract: chart/README.md, Install.
    """
    declared = {
        kind: {name: tuple(keys) for name, keys in names.items()}
        if isinstance(names, dict)
        else dict.fromkeys(names, ())
        for kind, names in found.given.items()
    }
    values = coalesce(found.layers[0].data or {}, found.values)
    secrets = _certificates(values) | _by_hand(values) | declared.get("Secret", {})
    config_maps = _genesis(values) | declared.get("ConfigMap", {})
    objects = {**declared, "ConfigMap": config_maps, "Secret": secrets}
    return Given(objects, found.node, found.registries)


def _certificates(values: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the Secrets with the hosts' certificates, which no manifest makes."""
    hosts = paths.get(values, ["ingress"])
    named = [paths.get(host, ["tlsSecretName"]) for host in (hosts or {}).values()]
    return {name: ("tls.crt", "tls.key") for name in named if name}


def _genesis(values: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the ConfigMap of a genesis that is not in the values."""
    genesis = paths.get(values, ["genesis"]) or {}
    if genesis.get("besu") and genesis.get("maru"):
        return {}
    name = (
        genesis.get("configMapName")
        or f"{values.get('fullnameOverride') or layout.RELEASE}-genesis"
    )
    return {name: ("besu.json", "maru.json")}


def _by_hand(values: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the Secrets of the contract, name → keys, as far as no manifest makes them."""
    if paths.get(values, ["secrets", "provider"]) == "external":
        return {}
    validators = paths.get(values, ["network", "validators"]) or [None]
    keys = tuple(f"key-{index}" if index else "key" for index in range(len(validators)))
    access = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    contract = {
        ("engine", "jwtSecretName"): ("jwt",),
        ("sequencer", "p2pKeySecretName"): keys,
        ("maru", "p2pKeySecretName"): keys,
        ("ethstats", "secretName"): ("secret",),
        ("txSender", "secretName"): ("privateKey", "toAddress"),
        ("backup", "secretName"): access,
        ("restore", "secretName"): access,
    }
    named = {paths.get(values, path): keys for path, keys in contract.items()}
    return {name: keys for name, keys in named.items() if isinstance(name, str) and name}
