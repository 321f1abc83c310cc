"""Accounts: genesis gives the TX Sender enough money for its transfers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from scripts.core.edits import Action
from scripts.core.findings import Severity
from scripts.core.fixes import Change, Fix
from scripts.kubernetes import containers
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Where
from scripts.rules.chain.genesis_files import Genesis, number, of_besu
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_SCRIPT = "chart/files/tx-sender/tx-sender.sh"
_RESERVED = 100_000 * 10**9
"""In wei: what an account needs beside the amount, the script's gas limit for its lowest maximum
price. The fee itself is far lower."""
_FEE = 21_000 * 8
"""In wei: the fee of a transfer at the lowest base fee, 7 wei, and a tip of 1."""
_LASTS_DAYS = 90
_ETHER = 10**18
_EXACT = 2**53


@rule(_SCRIPT)
def invalid_tx_sender_number(objects: Objects) -> Iterator[Problem]:
    """The amount and the interval of the TX Sender are whole numbers, in wei and in seconds.

    The script passes them on: with a unit, a sign or an exponent, it makes no transfer.
    """
    for container in objects.containers:
        for name, unit in (("AMOUNT_WEI", "wei"), ("INTERVAL_SECONDS", "seconds")):
            path, text = _variable(container, name)
            if path and text and not (text.isascii() and text.isdecimal()):
                message = f"{name} is {text}, not a whole number of {unit}: no transfer is made"
                fix = f"write the number of {unit} in digits only"
                if right := _digits(text):
                    fix = f'write value: "{right}"'
                yield Problem(container.workload.manifest, path, message, fix, text)


@rule(_SCRIPT)
def unfunded_tx_sender(objects: Objects) -> Iterator[Problem]:
    """An account in the genesis has enough money for a transfer of the TX Sender.

    Besu rejects a transfer if the account cannot pay the amount and the maximum fee. Balances are
    in wei: 1 ether is 10^18.
    """
    for genesis, address, balance in _richest(objects):
        for container, path, amount in _senders(objects):
            needed = amount + _RESERVED
            if balance >= needed:
                continue
            message = (
                f"no account has the {needed} wei that a transfer of {amount} wei needs with its "
                f"maximum fee; the largest balance is {balance} wei: Besu rejects each transfer"
            )
            if balance >= _ETHER:
                fix: str = _lasting(container, balance)
                yield Problem(container.workload.manifest, path, message, fix, str(amount))
                continue
            wanted = f'"balance": "{hex(10**6 * _ETHER)}", which is a million ether in wei'
            if address:
                yield genesis.problem(["alloc", address, "balance"], message, f"write {wanted}")
            else:
                fix = f"add the address of the TX Sender to alloc, with {wanted}"
                yield genesis.problem(["alloc"], message, fix)


@rule(_SCRIPT, Severity.WARNING)
def tx_sender_empties_account(objects: Objects) -> Iterator[Problem]:
    """The transfers of the TX Sender do not use up the largest balance in the genesis soon.

    Once the account is empty, Besu rejects each transfer, and a chain without other transactions
    makes no blocks.
    """
    for _, address, balance in _richest(objects):
        for container, path, amount in _senders(objects) if address else ():
            interval = _interval(container)
            if balance < amount + _RESERVED:
                continue
            seconds = balance // (amount + _FEE) * interval
            if seconds < _LASTS_DAYS * 86400:
                message = (
                    f"the TX Sender sends {amount} wei every {interval}s, and the largest balance "
                    f"in the genesis is {balance} wei: it is used up after {_duration(seconds)}"
                )
                fix = _lasting(container, balance)
                yield Problem(container.workload.manifest, path, message, fix, str(amount))


def _richest(objects: Objects) -> Iterator[tuple[Genesis, str, int]]:
    """Yield the genesis files, with address and balance of the richest account without code.

    Nothing here knows the address of the TX Sender. A file with a balance that is not valid is
    left out, as checks/node_options reports it.
    """
    for genesis in of_besu(objects):
        alloc = genesis.get("alloc")
        accounts = alloc if isinstance(alloc, dict) else {}
        balances = {
            address: number(account.get("balance", "0"))
            for address, account in accounts.items()
            if isinstance(account, dict) and not account.get("code")
        }
        known = {address: wei for address, wei in balances.items() if wei is not None}
        if isinstance(alloc, dict) and len(known) == len(balances):
            richest = max(known, key=lambda address: known[address], default="")
            yield genesis, richest, known.get(richest, 0)


def _senders(objects: Objects) -> Iterator[tuple[Container, Where, int]]:
    """Yield the containers of the TX Sender, with the path of the amount and the amount in wei."""
    for container in objects.containers:
        path, text = _variable(container, "AMOUNT_WEI")
        if text.isdecimal():
            yield container, path, int(text)


def _variable(container: Container, name: str) -> tuple[Where, str]:
    """Return the path and the value of a variable; an empty value if it is not known here."""
    for path, variable in container.variables():
        if variable.get("name") == name:
            return (*path, "value"), containers.known_value(variable) or ""
    return (), ""


def _digits(text: str) -> str:
    """Return a number such as 1e18, 10 wei or 5s in digits; an empty text if it is not clear."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?(?:e\+?[0-9]{1,2})?) ?(?:wei|s)?", text.lower())
    number = Decimal(found[1]) if found else Decimal("0.5")
    return str(int(number)) if number == number.to_integral_value() else ""


def _interval(container: Container) -> int:
    """Return the seconds between two transfers."""
    return number(_variable(container, "INTERVAL_SECONDS")[1]) or 1


def _lasting(container: Container, balance: int) -> Fix:
    """Return how to write an amount with which a balance lasts a year."""
    most = max(balance * _interval(container) // (365 * 86400) - _FEE, 0)
    digits = 10 ** max(len(str(most)) - 2, 0)
    amount = most // digits * digits
    words = f"write txSender.amount: {_quoted(amount)}, which lasts a year"
    # Helm rounds numbers above 2^53, but not strings. A smaller amount is right, too.
    value = amount if amount <= _EXACT else str(amount)
    change = Change(Action.WRITE, ("txSender", "amount"), value)
    return Fix(words, (), [change], is_safe=False)


def _duration(seconds: int) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}" + ("" if count == 1 else "s")
    return "0 seconds"


def _quoted(amount: int) -> str:
    """Return an amount as YAML has it: Helm rounds numbers above 2^53, but not strings."""
    return str(amount) if amount <= _EXACT else f'"{amount}"'
