"""What an environment's chain is to be made of: asked for on the command line, or by its values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.chain.identity import is_address
from scripts.core import paths, safe_files
from scripts.core.findings import Finding, UsageError, UserError
from scripts.core.paths import ValuePath
from scripts.environments import environment
from scripts.environments.environment import Environment

MOST_CHAIN_ID = 2**32 - 1
"""Maru's is an unsigned number of 32 bits (JsonFriendlyForksSchedule.kt)."""

MOST_VALIDATORS = 100
"""As many as the chart's values.schema.json lets there be replicas."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for; None where it leaves it to the values."""

    validators: int | None = None
    chain_id: int | None = None
    to_address: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for what no chain can have."""
        if self.validators is not None and not 1 <= self.validators <= MOST_VALIDATORS:
            raise UsageError(f"--validators {self.validators}: write 1 to {MOST_VALIDATORS}")
        if self.chain_id is not None and not 1 <= self.chain_id <= MOST_CHAIN_ID:
            raise UsageError(f"--chain-id {self.chain_id}: write 1 to {MOST_CHAIN_ID}")
        if self.to_address is None:
            return
        if not is_address(self.to_address):
            raise UsageError(
                f"--to-address {self.to_address}: this is no address: write 0x and 40 hex digits, "
                "in small letters or with the right checksum (EIP-55)"
            )
        if not int(self.to_address, 16):
            raise UsageError(
                f"--to-address {self.to_address}: nobody has the key of this address: write "
                "another, or leave it out for a new account's"
            )


@dataclass(frozen=True, slots=True)
class Secrets:
    """The names of the Secrets to make; empty for a component that is off or needs none."""

    sequencer: str
    maru: str
    tx_sender: str
    engine: str
    ethstats: str

    def files(self, validators: int) -> dict[str, list[str]]:
        """Return the Secrets with the keys that each has."""
        ordinals = ["key", *(f"key-{ordinal}" for ordinal in range(1, validators))]
        every = {
            self.sequencer: ordinals,
            self.maru: ordinals,
            self.tx_sender: ["privateKey", "toAddress"],
            self.engine: ["jwt"],
            self.ethstats: ["secret"],
        }
        return {name: keys for name, keys in every.items() if name}

    def chain(self, validators: int) -> list[str]:
        """Return the files of the keys that the genesis or the validators' names come from."""
        every = self.files(validators)
        files = [f"{name}/{key}" for name in (self.sequencer, self.maru) for key in every[name]]
        return files + ([f"{self.tx_sender}/privateKey"] if self.tx_sender else [])


def secrets(found: Environment) -> Secrets:
    """Return the names of the Secrets; raises UserError where they can't be made as named."""
    if value(found, "secrets", "provider") == "plain":
        message = "the chain's private keys would be in git, for whoever reads it to take"
        raise wrong(found, ["secrets", "provider"], message, "write existing or external")
    for part in ("sequencer", "maru"):
        if not value(found, part, "enabled"):
            message = "a validator is a sequencer and a Maru, and this one is off"
            raise wrong(found, [part, "enabled"], message, "write true")
    places: dict[str, ValuePath] = {
        "sequencer": ("sequencer", "p2pKeySecretName"),
        "maru": ("maru", "p2pKeySecretName"),
        "engine": ("engine", "jwtSecretName"),
    }
    if value(found, "txSender", "enabled"):
        places["tx_sender"] = ("txSender", "secretName")
    if value(found, "ethstats", "enabled"):
        places["ethstats"] = ("ethstats", "secretName")
    names = dict.fromkeys(("sequencer", "maru", "tx_sender", "engine", "ethstats"), "")
    for part, path in places.items():
        name = str(value(found, *path) or "")
        if not name:
            raise wrong(found, path, "the Secret has no name", "write one")
        if name in names.values():
            message = f"{name} is another component's Secret, too"
            raise wrong(found, path, message, "give each its own")
        names[part] = name
    return Secrets(**names)


def replicas(found: Environment, part: str) -> int:
    """Return how many pods the values ask for, of sequencer or maru."""
    return int(value(found, part, "replicas"))


def value(found: Environment, *path: str | int) -> Any:
    """Return what the environment's values have at the path, with the chart's defaults."""
    defaults = found.layers[0].data or {}
    return paths.get(environment.coalesce(defaults, found.values), path)


def wrong(found: Environment, path: ValuePath, message: str, fix: str) -> UserError:
    """Return an error at the line that decides the value."""
    document, inside = found.locate(list(path))
    return UserError(document.finding("network", inside, message, fix, environment=found.name))


def at(root: Path, path: Path, rule: str, message: str, fix: str) -> Finding:
    """Return a finding about a whole file."""
    return Finding(safe_files.name(path, root), 0, 0, rule, message, fix)


def called(validators: int) -> str:
    """Return the number as a sentence says it."""
    return "1 validator" if validators == 1 else f"{validators} validators"
