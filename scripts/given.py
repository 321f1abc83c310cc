"""Environment → what its cluster has without a manifest of it: declared, or by the contract."""

from __future__ import annotations

from scripts import yamlio
from scripts.environment import Environment, coalesce
from scripts.rules.objects import Given


def given(found: Environment) -> Given:
    """Return what the environment declares, and the Secrets that its values say are made by hand.

    With `secrets.provider: existing` those are the contract's: chart/README.md, Secrets.
    """
    declared = {
        kind: {name: tuple(keys) for name, keys in names.items()}
        if isinstance(names, dict)
        else dict.fromkeys(names, ())
        for kind, names in found.given.items()
    }
    secrets = _by_hand(found) | declared.get("Secret", {})
    return Given({**declared, "Secret": secrets}, found.node, found.registries)


def _by_hand(found: Environment) -> dict[str, tuple[str, ...]]:
    """Return the Secrets of the contract, name → keys, as far as no manifest makes them."""
    values = coalesce(found.layers[0].data or {}, found.values)
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
