"""`secrets.provider: plain` in an environment: the chart's mode for development.

The TX Sender's key then comes from .secrets/<env>/values.yaml, which git ignores: `nox -s network`
makes the files of its Secret from that file. What is rendered is the same as with `existing`, so it
depends on no private file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.core import paths
from scripts.core.findings import Finding
from scripts.core.yamlio import Document

_PROVIDER = ["secrets", "provider"]
_KEY = ["txSender", "plain", "privateKey"]


def is_plain(layers: Sequence[Document]) -> bool:
    """Return whether the strongest file of values that has a provider has this one."""
    providers = [paths.get(layer.data, _PROVIDER) for layer in layers]
    return [provider for provider in providers if provider is not None][-1:] == ["plain"]


def as_existing(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with the provider `existing` instead of `plain`."""
    if paths.get(values, _PROVIDER) != "plain":
        return values
    return values | {"secrets": values["secrets"] | {"provider": "existing"}}


def findings(name: str, layers: Sequence[Document], *, is_production: bool) -> Iterator[Finding]:
    """Yield a finding for `plain` in production, and for each private key in a committed file.

    layers: the environment's files of values, all of which are in git.
    """
    top = f".secrets/{name}"
    for layer in layers:
        if is_production and paths.get(layer.data, _PROVIDER) == "plain":
            message = (
                "secrets.provider is plain, which is for development: everyone who can read a file "
                "of values could spend the TX Sender's money"
            )
            fix = "write external, for a store of secrets, or existing"
            yield layer.finding("plain-secrets-in-production", _PROVIDER, message, fix)
        if paths.get(layer.data, _KEY):
            message = "the private key of the TX Sender would be committed to git"
            fix = (
                f"write secrets.provider: plain, and move txSender.plain to {top}/values.yaml, "
                f"which git ignores; nox -s network -- {name} and sh {top}/create-secrets.sh "
                "--context NAME make the Secret of it; if the key was ever pushed, replace it"
            )
            if is_production:
                fix = "remove it; if it was ever pushed, replace it"
            yield layer.finding("secret-in-git", _KEY, message, fix)
