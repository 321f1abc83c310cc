"""Two genesis files of one chain → in what they differ, as far as a chain that runs must not.

Besu's: https://besu.hyperledger.org/public-networks/concepts/genesis-file. Maru's has the forks by
their times (docs/network.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from scripts.core import paths

_THERE = "blocks made by the old rules are there already"
_MOST_SHOWN = 24
_TIME = re.compile(r"(\w+)Time")
_BLOCK = re.compile(r"\w+Block")
_MARK = re.compile('"(alloc|validatorSet)"')


@lru_cache(maxsize=256)
def read(text: str) -> dict[str, Any] | None:
    """Return the genesis in a text, with its hex in lower case; None where it holds none."""
    if not _MARK.search(text):
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _lower(data) if isinstance(data, dict) else None


def is_besu(genesis: dict[str, Any]) -> bool:
    """Return whether it is Besu's, which has accounts; else it is Maru's."""
    return "alloc" in genesis


def first_block(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Yield what makes another chain: the fields of the first block that differ, and the id."""
    ids = [paths.get(one, ("config", "chainId")) or one.get("chainId") for one in (old, new)]
    if ids[0] != ids[1]:
        yield f"the chain id from {ids[0]} to {ids[1]}"
    for key in sorted((old.keys() | new.keys()) - {"config", "chainId"}):
        was, now = old.get(key), new.get(key)
        if was == now:
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            names = [
                name for name in sorted(was.keys() | now.keys()) if was.get(name) != now.get(name)
            ]
            several = f" and {len(names) - 1} more" if len(names) > 1 else ""
            yield f"{key} of {names[0]}{several}"
        else:
            yield f"{key} from {_short(was)} to {_short(now)}"


def past_forks(old: dict[str, Any], new: dict[str, Any], now: float) -> Iterator[tuple[str, str]]:
    """Yield what changes among the rules that are in force: message and fix.

    now: seconds since 1970. The validators of a fork are validators()'s.
    """
    of = _besu if is_besu(old) else _maru
    before, after = (one.get("config") for one in (old, new))
    if isinstance(before, dict) and isinstance(after, dict):
        yield from of(before, after, now)


def validators(genesis: dict[str, Any]) -> dict[str, set[str]]:
    """Return the time of each fork of Maru's genesis → its validators' addresses."""
    config = genesis.get("config")
    found = {}
    for at, fork in config.items() if isinstance(config, dict) else ():
        listed = fork.get("validatorSet") if isinstance(fork, dict) else None
        if isinstance(listed, list) and str(at).isdecimal():
            found[str(at)] = {str(address) for address in listed}
    return found


def _besu(old: dict[str, Any], new: dict[str, Any], now: float) -> Iterator[tuple[str, str]]:
    """Additions are free, and what begins later than now; a fork goes by its time."""
    for key in sorted(old.keys() | new.keys()):
        was, is_ = old.get(key), new.get(key)
        fork = _TIME.fullmatch(key)
        if was == is_ or key == "chainId":
            continue
        if fork:
            if any(_begun(time, now) for time in (was, is_)):
                move = f"begins at {is_}" if was is None else f"moves from {was} to {_short(is_)}"
                yield f"the fork {fork[1]} {move}, and {_THERE}", _fix(key, was)
        elif key == "blobSchedule" and isinstance(was, dict) and isinstance(is_, dict):
            for name in sorted(was):
                if was[name] != is_.get(name) and _begun(old.get(f"{name}Time"), now):
                    yield f"{key}.{name} changes, and {_THERE}", _fix(f"{key}.{name}", was)
        elif was is not None:
            kind = "the fork" if _BLOCK.fullmatch(key) else "the rule"
            message = f"{kind} {key} changes from {_short(was)} to {_short(is_)}, and {_THERE}"
            yield message, _fix(key, was)


def _maru(old: dict[str, Any], new: dict[str, Any], now: float) -> Iterator[tuple[str, str]]:
    for at in sorted(old.keys() | new.keys()):
        if not _begun(at, now):
            continue
        was, is_ = (_but_validators(one.get(at)) for one in (old, new))
        if was == is_:
            continue
        if was is None:
            yield f"a new fork of Maru begins at {at}, and {_THERE}", "write a time to come"
        elif is_ is None:
            yield f"the fork of Maru at {at} is gone, and {_THERE}", "bring it back"
        else:
            keys = sorted(key for key in was.keys() | is_.keys() if was.get(key) != is_.get(key))
            changed = [
                f"{key} from {_short(was.get(key))} to {_short(is_.get(key))}" for key in keys
            ]
            message = f"the fork of Maru at {at} changes, {', '.join(changed)}, and {_THERE}"
            yield message, "leave it; add a fork at a time to come that has the new value"


def _but_validators(fork: Any) -> dict[str, Any] | None:
    if not isinstance(fork, dict):
        return None
    return {key: value for key, value in fork.items() if key != "validatorSet"}


def _begun(time: Any, now: float) -> bool:
    """Return whether a fork's time, as a number or its text, has come."""
    return str(time).isdecimal() and int(time) <= now


def _fix(key: str, was: Any) -> str:
    if was is None:
        return f"write a time for {key} that is still to come, when all nodes have the new genesis"
    return f"leave {key} as it was"


def _short(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def _lower(value: Any) -> Any:
    """Return JSON with its hex in lower case, by which case it makes no difference."""
    if isinstance(value, dict):
        return {
            key.lower() if key.startswith("0x") else key: _lower(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_lower(inner) for inner in value]
    return value.lower() if isinstance(value, str) and value.startswith("0x") else value
