"""Environment → what its cluster has without a manifest of it: declared, or by the contract."""

from __future__ import annotations

from typing import Any

from scripts import helm, yamlio
from scripts.environment import Environment, coalesce
from scripts.rules.objects import Given


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
    hosts = yamlio.get(values, ["ingress"])
    named = [yamlio.get(host, ["tlsSecretName"]) for host in (hosts or {}).values()]
    return {name: ("tls.crt", "tls.key") for name in named if name}


def _genesis(values: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the ConfigMap of a genesis that is not in the values."""
    genesis = yamlio.get(values, ["genesis"]) or {}
    if genesis.get("besu") and genesis.get("maru"):
        return {}
    name = (
        genesis.get("configMapName") or f"{values.get('fullnameOverride') or helm.RELEASE}-genesis"
    )
    return {name: ("besu.json", "maru.json")}


def _by_hand(values: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the Secrets of the contract, name → keys, as far as no manifest makes them."""
    if yamlio.get(values, ["secrets", "provider"]) == "external":
        return {}
    validators = yamlio.get(values, ["network", "validators"]) or [None]
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
    named = {yamlio.get(values, path): keys for path, keys in contract.items()}
    return {name: keys for name, keys in named.items() if isinstance(name, str) and name}
