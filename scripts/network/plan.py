"""The requested chain of an environment, from the command line and its values."""

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
"""Maru's chain id is an unsigned number of 32 bits (JsonFriendlyForksSchedule.kt)."""

MOST_VALIDATORS = 100
"""The maximum of replicas in the chart's values.schema.json."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of the command line; None if not given."""

    validators: int | None = None
    chain_id: int | None = None
    to_address: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for invalid options."""
        if self.validators is not None and not 1 <= self.validators <= MOST_VALIDATORS:
            raise UsageError(f"--validators {self.validators}: write 1 to {MOST_VALIDATORS}")
        if self.chain_id is not None and not 1 <= self.chain_id <= MOST_CHAIN_ID:
            raise UsageError(f"--chain-id {self.chain_id}: write 1 to {MOST_CHAIN_ID}")
        if self.to_address is None:
            return
        if not is_address(self.to_address):
            raise UsageError(
                f"--to-address {self.to_address} is not an address: write 0x and 40 hex digits, in "
                "lower case or with a valid checksum (EIP-55)"
            )
        if not int(self.to_address, 16):
            raise UsageError(
                f"--to-address {self.to_address}: no one has the key of the zero address, so the "
                "money would be lost: write another, or omit the option for a new account"
            )


@dataclass(frozen=True, slots=True)
class Secrets:
    """The names of the chain's Secrets; empty for a disabled component."""

    sequencer: str
    maru: str
    tx_sender: str
    engine: str
    ethstats: str

    def files(self, validators: int) -> dict[str, list[str]]:
        """Return Secret → its keys."""
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
        """Return the files of the private keys that determine the genesis and the validators."""
        every = self.files(validators)
        files = [f"{name}/{key}" for name in (self.sequencer, self.maru) for key in every[name]]
        return files + ([f"{self.tx_sender}/privateKey"] if self.tx_sender else [])


def secrets(loaded: Environment) -> Secrets:
    """Return the names of the Secrets; raises UserError if a value does not allow a chain."""
    for part in ("sequencer", "maru"):
        if not value(loaded, part, "enabled"):
            message = f"{part} is disabled, but a validator consists of a sequencer and a Maru"
            raise wrong(loaded, [part, "enabled"], message, f"write {part}.enabled: true")
    places: dict[str, ValuePath] = {
        "sequencer": ("sequencer", "p2pKeySecretName"),
        "maru": ("maru", "p2pKeySecretName"),
        "engine": ("engine", "jwtSecretName"),
    }
    if value(loaded, "txSender", "enabled"):
        places["tx_sender"] = ("txSender", "secretName")
    if value(loaded, "ethstats", "enabled"):
        places["ethstats"] = ("ethstats", "secretName")
    names = dict.fromkeys(("sequencer", "maru", "tx_sender", "engine", "ethstats"), "")
    for part, path in places.items():
        name, key = str(value(loaded, *path) or ""), ".".join(map(str, path))
        if not name:
            raise wrong(loaded, path, f"{key} is empty", f"write the name of a Secret in {key}")
        if name in names.values():
            message = f"{key} is {name}, but another component has a Secret with this name, too"
            raise wrong(loaded, path, message, f"write another name of a Secret in {key}")
        names[part] = name
    return Secrets(**names)


def replicas(loaded: Environment, part: str) -> int:
    """Return the number of pods in the values, of sequencer or maru."""
    return int(value(loaded, part, "replicas"))


def value(loaded: Environment, *path: str | int) -> Any:
    """Return the environment's value at the path, or the chart's default."""
    defaults = loaded.layers[0].data or {}
    return paths.get(environment.coalesce(defaults, loaded.values), path)


def wrong(loaded: Environment, path: ValuePath, message: str, fix: str) -> UserError:
    """Return an error at the line that decides the value."""
    document, inside = loaded.locate(list(path))
    rule = "invalid-network"
    return UserError(document.finding(rule, inside, message, fix, environment=loaded.name))


def at(root: Path, path: Path, rule: str, message: str, fix: str) -> Finding:
    """Return a finding about a whole file."""
    return Finding(safe_files.name(path, root), 0, 0, rule, message, fix)


def called(validators: int) -> str:
    """Return the number for a sentence: 1 validator, 4 validators."""
    return "1 validator" if validators == 1 else f"{validators} validators"
