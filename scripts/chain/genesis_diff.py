"""Compare two genesis files of a chain: report changes that a running chain does not allow.

Besu's genesis: https://besu.hyperledger.org/public-networks/concepts/genesis-file. Maru's maps
times to forks (docs/network.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from scripts.core import clock, paths

HasPassed = Callable[[float], bool]

_REJECTED = "nodes would reject existing blocks, which follow the old rules"
_LATER = "in the future, at which all nodes will have the new genesis"
_MOST_SHOWN = 24
_MOST_KEPT = 100
_TIME = re.compile(r"(\w+)Time")
_MARK = re.compile('"(alloc|validatorSet)"')


@lru_cache(maxsize=256)
def read(text: str) -> dict[str, Any] | None:
    """Return the genesis in a text, with hex in lower case; None if the text has none."""
    if not _MARK.search(text):
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _lower(data) if isinstance(data, dict) else None


def is_besu(genesis: dict[str, Any]) -> bool:
    """Return whether it is Besu's genesis, which has accounts, and not Maru's."""
    return "alloc" in genesis


def first_block(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Yield the changes that make another chain: to the chain id, and to the first block."""
    old_id, new_id = (
        paths.get(genesis, ("config", "chainId")) or genesis.get("chainId")
        for genesis in (old, new)
    )
    if old_id != new_id:
        yield f"the chain id from {old_id} to {new_id}"
    for key in sorted((old.keys() | new.keys()) - {"config", "chainId"}):
        was, now = old.get(key), new.get(key)
        if was == now:
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            names = [
                name for name in sorted(was.keys() | now.keys()) if was.get(name) != now.get(name)
            ]
            several = f" and of {len(names) - 1} more" if len(names) > 1 else ""
            yield f"{key} of {names[0]}{several}"
        else:
            yield f"{key} from {_short(was)} to {_short(now)}"


def past_forks(
    old: dict[str, Any], new: dict[str, Any], has_passed: HasPassed = clock.has_passed
) -> Iterator[tuple[str, str]]:
    """Yield message and fix for each change to rules that are in force.

    has_passed: whether a time, in seconds since 1970, has passed. For the validators of a fork, see
    validators().
    """
    compare = _besu if is_besu(old) else _maru
    before, after = old.get("config"), new.get("config")
    if isinstance(before, dict) and isinstance(after, dict):
        yield from compare(before, after, has_passed)


def validators(genesis: dict[str, Any]) -> dict[str, set[str]]:
    """Return the time of each fork in Maru's genesis → the addresses of its validators."""
    config = genesis.get("config")
    by_time = {}
    for at, fork in config.items() if isinstance(config, dict) else ():
        listed = fork.get("validatorSet") if isinstance(fork, dict) else None
        if isinstance(listed, list) and str(at).isdecimal():
            by_time[str(at)] = {str(address) for address in listed}
    return by_time


def _besu(
    old: dict[str, Any], new: dict[str, Any], has_passed: HasPassed
) -> Iterator[tuple[str, str]]:
    """Yield changes that are not allowed; additions and future forks are."""
    for key in sorted(old.keys() | new.keys()):
        was, is_ = old.get(key), new.get(key)
        fork = _TIME.fullmatch(key)
        if was == is_ or key == "chainId":
            continue
        if fork:
            if _begun(was, has_passed):
                move = "is removed" if is_ is None else f"moves from {was} to {_short(is_)}"
                yield f"the active fork {fork[1]} {move}: {_REJECTED}", _keep(key, was)
            elif _begun(is_, has_passed):
                move = f"{key} is {is_}, which is in the past"
                yield f"{move}: {_REJECTED}", f"write a value of {key} {_LATER}"
        elif key == "blobSchedule" and isinstance(was, dict) and isinstance(is_, dict):
            for name in sorted(was):
                if was[name] != is_.get(name) and _begun(old.get(f"{name}Time"), has_passed):
                    change = f"from {_short(was[name])} to {_short(is_.get(name))}"
                    message = f"{name} in {key}, which is active, changes {change}: {_REJECTED}"
                    yield message, _keep(name, was[name])
        elif was is not None:
            change = "is removed" if is_ is None else f"changes from {_short(was)} to {_short(is_)}"
            yield f"{key} in Besu's genesis {change}: {_REJECTED}", _keep(key, was)


def _maru(
    old: dict[str, Any], new: dict[str, Any], has_passed: HasPassed
) -> Iterator[tuple[str, str]]:
    for at in sorted(old.keys() | new.keys()):
        if not _begun(at, has_passed):
            continue
        was, is_ = _without_validators(old.get(at)), _without_validators(new.get(at))
        if was == is_:
            continue
        if was is None:
            message = f"the time of Maru's new fork, {at}, is in the past: {_REJECTED}"
            yield message, f"write a time {_LATER}, instead of {at}"
        elif is_ is None:
            message = f"Maru's active fork at time {at} is removed: {_REJECTED}"
            yield message, f'restore the fork "{at}" in config'
        else:
            keys = sorted(key for key in was.keys() | is_.keys() if was.get(key) != is_.get(key))
            changed = [
                f"{key} from {_short(was.get(key))} to {_short(is_.get(key))}" for key in keys
            ]
            message = f"Maru's active fork at time {at} changes {', '.join(changed)}: {_REJECTED}"
            kept = " and ".join(_keep(key, was.get(key)) for key in keys)
            yield message, f"{kept}; for another value, add a fork with a time in the future"


def _without_validators(fork: Any) -> dict[str, Any] | None:
    if not isinstance(fork, dict):
        return None
    return {key: value for key, value in fork.items() if key != "validatorSet"}


def _begun(time: Any, has_passed: HasPassed) -> bool:
    """Return whether a fork's time, a number or a string, is in the past."""
    return str(time).isdecimal() and has_passed(int(time))


def _keep(key: str, was: Any) -> str:
    """Return how to restore an old value, which is written out if it is short."""
    if was is None:
        return f"remove {key}"
    text = json.dumps(was)
    return f'keep "{key}": {text}' if len(text) <= _MOST_KEPT else f"restore the old {key}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def _lower(value: Any) -> Any:
    """Return JSON with hex in lower case, as its case has no meaning."""
    if isinstance(value, dict):
        return {
            key.lower() if key.startswith("0x") else key: _lower(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_lower(inner) for inner in value]
    return value.lower() if isinstance(value, str) and value.startswith("0x") else value
