"""Forks: Besu and Maru have the same ones at the same times, in seconds, and in their order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from scripts.core import clock
from scripts.rules.chain.genesis_files import FORKS, Genesis, number, of_besu, of_maru
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_ENGINE = (
    "https://github.com/besu-eth/besu/blob/26.8.0/ethereum/api/src/main/java/org/hyperledger/besu/"
    "ethereum/api/jsonrpc/internal/methods/engine/EngineGetPayloadV4.java"
)
_SCHEDULE = (
    "https://github.com/besu-eth/besu/blob/26.8.0/ethereum/core/src/main/java/org/hyperledger/besu/"
    "ethereum/mainnet/ProtocolScheduleBuilder.java"
)
_GENESIS = "https://besu.hyperledger.org/public-networks/concepts/genesis-file"
_REQUESTS = (
    "https://github.com/besu-eth/besu/blob/26.8.0/ethereum/core/src/main/java/org/hyperledger/besu/"
    "ethereum/mainnet/requests/RequestContractAddresses.java"
)
_CONTRACTS = {
    "depositContractAddress": ("0x00000000219ab540356cBB839Cbe05303d7705Fa", False),
    "withdrawalRequestContractAddress": ("0x00000961Ef480Eb55e80D19ad83579A64c007002", True),
    "consolidationRequestContractAddress": ("0x0000BBdDc7CE488642fb579F8B00f3a590007251", True),
}
"""Key → the address that EIP-6110, EIP-7002 or EIP-7251 names, and whether each block calls it
(SystemCallProcessor.java)."""
_MILLISECONDS = 10**11
"""As seconds, this is the year 5138; as milliseconds, 1973."""
_FIRST = 1_438_269_973
"""The first block of Ethereum. No chain is older."""
_ORDER = (*FORKS[1:5], "bpo1", "bpo2", "bpo3", "bpo4", "bpo5", "amsterdam", "futureEips")
"""The forks that Besu starts at a time: MilestoneDefinitions.java of Besu 26.8.0."""
_MARU_KNOWS = FORKS[:5]


@rule(_ENGINE)
def el_fork_mismatch(objects: Objects) -> Iterator[Problem]:
    """At each time, elFork of Maru's genesis is the fork that Besu's genesis has then.

    Maru calls the Engine API of its elFork, and Besu answers only the one of its own fork:
    otherwise no block is built from that time on.
    """
    for maru in of_maru(objects):
        own = _el_forks(maru)
        besu = next((one for one in of_besu(objects) if _is_readable(one)), None)
        if not own or max(own) >= _MILLISECONDS:
            continue
        if not of_besu(objects):
            yield from _back(maru, own)
            continue
        if besu is None:
            continue
        starts = {0, *own, *(at for fork, at in besu.forks.items() if fork in FORKS)}
        reported = set[int]()
        for at in sorted(starts):
            begun = max((start for start in own if start <= at), default=None)
            wanted = _fork_at(besu, at)
            if begun is None or begun in reported or own[begun] == wanted:
                continue
            reported.add(begun)
            yield _mismatch(maru, besu, own, begun, at)


def _mismatch(maru: Genesis, besu: Genesis, own: dict[int, str], begun: int, at: int) -> Problem:
    """Return the problem that Besu has another fork at a time than Maru's, which begun earlier."""
    has, wanted = own[begun].capitalize(), _fork_at(besu, at)
    since = besu.forks.get(wanted, 0)
    path = ["config", str(begun), "elFork"]
    message = (
        f"elFork is {has} from {_shown(begun)} on, but {besu.key} has {wanted.capitalize()} "
        f"{'then' if at == begun else f'from {_shown(at)} on'}: Besu rejects Maru's requests, and "
        "no block is built"
    )
    fix = f'write "elFork": "{wanted.capitalize()}"'
    if wanted not in _MARU_KNOWS:
        message = (
            f"{wanted}Time is {_shown(since)}, a fork that Maru does not have: from then on, Besu "
            "rejects Maru's requests, and no block is built"
        )
        fix = f"remove {wanted}Time"
        return besu.problem(["config", f"{wanted}Time"], message, fix)
    later = besu.forks.get(own[begun])
    if at == begun and later is not None and later > at:
        if begun == 0:
            fix = f'write "{own[begun]}Time": 0 in {besu.key}; to start the fork later, {fix}'
            fix += f' here, and add a fork "{later}" with "elFork": "{has}"'
        else:
            fix += f', and add a fork "{later}" with "elFork": "{has}"'
    if at != begun:
        fix = f'add a fork "{since}" to config of {maru.key}, with "elFork": '
        fix += f'"{wanted.capitalize()}" and the other values of the fork "{begun}"'
    return maru.problem(path, message, fix)


def _back(maru: Genesis, own: dict[int, str]) -> Iterator[Problem]:
    """Yield the forks of Maru that are older than the fork before them."""
    times = sorted(own)
    for before, at in itertools.pairwise(times):
        if FORKS.index(own[at]) < FORKS.index(own[before]):
            message = (
                f"elFork is {own[at].capitalize()} from {_shown(at)} on, which is older than "
                f"{own[before].capitalize()} before: Besu never goes back, rejects Maru's "
                "requests, and no block is built"
            )
            fix = f'write "elFork": "{own[before].capitalize()}"'
            yield maru.problem(["config", str(at), "elFork"], message, fix)


@rule(_SCHEDULE)
def unordered_forks(objects: Objects) -> Iterator[Problem]:
    """Each fork in Besu's genesis starts with the one before it, or later.

    Otherwise Besu does not start.
    """
    for genesis in of_besu(objects):
        last = ""
        for fork in (fork for fork in _ORDER if fork in genesis.forks):
            at = genesis.forks[fork]
            if last and at < genesis.forks[last]:
                message = (
                    f"{fork}Time is {at}, before {last}Time, which is {genesis.forks[last]}: Besu "
                    "does not start"
                )
                fix = f'write "{fork}Time": {genesis.forks[last]}, or a later time'
                wrong = fork
                if _is_ordered({**genesis.forks, last: at}) and not _is_ordered(
                    {**genesis.forks, fork: genesis.forks[last]}
                ):
                    wrong, fix = last, f'write "{last}Time": {at}'
                yield genesis.problem(["config", f"{wrong}Time"], message, fix)
                break
            last = fork


def _is_ordered(forks: Mapping[str, int]) -> bool:
    times = [forks[fork] for fork in _ORDER if fork in forks]
    return times == sorted(times)


@rule(_REQUESTS)
def missing_system_contract(objects: Objects) -> Iterator[Problem]:
    """From Prague on, Besu's genesis names the system contracts, and has those that blocks call.

    Besu does not start without their addresses, and rejects each block of Prague if one of the
    contracts has no code.
    """
    for genesis in of_besu(objects):
        if genesis.forks.keys().isdisjoint(FORKS[3:]) or not isinstance(genesis.get("alloc"), dict):
            continue
        with_code = {
            address.lower().removeprefix("0x")
            for address, account in genesis.get("alloc").items()
            if isinstance(account, dict) and account.get("code") not in (None, "", "0x")
        }
        for key, (usual, is_called) in _CONTRACTS.items():
            address = genesis.get("config", key)
            if address is None:
                message = f"{key} is missing, but Prague needs it: Besu does not start"
                yield genesis.problem(["config"], message, f'write "{key}": "{usual}" in config')
            elif is_called and str(address).lower().removeprefix("0x") not in with_code:
                message = (
                    f"alloc has no code at {address} ({key}): Besu rejects each block from Prague "
                    "on"
                )
                fix = (
                    f"copy the account {address} with its code from genesis.besu in the "
                    "network.yaml of another environment"
                )
                if str(address).lower() != usual.lower():
                    fix = f'write "{key}": "{usual}" in config'
                yield genesis.problem(["alloc"], message, fix)


@rule(_GENESIS)
def fork_time_in_milliseconds(objects: Objects) -> Iterator[Problem]:
    """The times of forks are in seconds since 1970.

    A time in milliseconds is thousands of years from now: the fork never starts.
    """
    for genesis in of_besu(objects):
        for fork, at in genesis.forks.items():
            if at >= _MILLISECONDS:
                message = f"{fork}Time is {at}, which is in milliseconds: the fork never starts"
                fix = f'write "{fork}Time": {_seconds(at)}'
                yield genesis.problem(["config", f"{fork}Time"], message, fix)
    for genesis in of_maru(objects):
        for at in _el_forks(genesis):
            if at >= _MILLISECONDS:
                message = f"the fork {at} is in milliseconds: it never starts"
                yield genesis.problem(["config", str(at)], message, f'write "{_seconds(at)}"')


@rule(_GENESIS)
def first_block_in_future(objects: Objects) -> Iterator[Problem]:
    """The first block of Besu's genesis is in the past.

    A block must be later than the one before it, so until that time no block is valid.
    """
    for genesis in of_besu(objects):
        at = number(genesis.get("timestamp"))
        if at is not None and not clock.has_passed(at):
            message = f"timestamp is {_shown(at)}: until then no block is valid"
            fix = 'run printf \'0x%x\\n\' "$(date +%s)", and write its output as "timestamp"'
            if at >= _MILLISECONDS:
                message = f"timestamp is {at}, thousands of years from now: no block is ever valid"
                if (seconds := _seconds(at)) >= _FIRST and clock.has_passed(seconds):
                    fix = f'write "timestamp": "{hex(seconds)}": the time is in seconds'
            yield genesis.problem(["timestamp"], message, fix)


def _seconds(at: int) -> int:
    """Return a time in milliseconds, microseconds or nanoseconds in seconds."""
    while at >= _MILLISECONDS:
        at //= 1000
    return at


def _el_forks(maru: Genesis) -> dict[int, str]:
    """Return time → elFork in lower case, of the forks of a genesis of Maru with valid values."""
    forks, found = maru.get("config"), dict[int, str]()
    for at, fork in forks.items() if isinstance(forks, dict) else ():
        later = fork.get("postTtdConfig", fork) if isinstance(fork, dict) else {}
        name = str(later.get("elFork")).lower() if isinstance(later, dict) else ""
        if str(at).isdecimal() and name in _MARU_KNOWS:
            found[int(at)] = name
    return found


def _is_readable(besu: Genesis) -> bool:
    """Return whether all times of a genesis are valid; otherwise another check reports them."""
    config = besu.get("config")
    times = [key for key in config if key.endswith("Time")] if isinstance(config, dict) else []
    known = {f"{fork}Time" for fork in (*_ORDER, "experimentalEips")}
    is_in_seconds = all(at < _MILLISECONDS for at in besu.forks.values())
    return len(times) == len(besu.forks) and known.issuperset(times) and is_in_seconds


def _fork_at(besu: Genesis, at: int) -> str:
    """Return the newest fork that has begun at a time."""
    begun = [fork for fork in FORKS if fork in besu.forks and besu.forks[fork] <= at]
    return begun[-1] if begun else FORKS[0]


def _shown(at: int) -> str:
    """Return a time with its date: 1900000000 (2030-03-17)."""
    if not 0 < at < _MILLISECONDS:
        return str(at)
    return f"{at} ({datetime.fromtimestamp(at, UTC):%Y-%m-%d})"
