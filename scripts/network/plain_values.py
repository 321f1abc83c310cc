"""The private values of an environment with `secrets.provider: plain`: .secrets/<env>/values.yaml.

They are for development, and for the TX Sender alone. The files of its Secret are made from them;
for a new chain it is the other way round.
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.core import findings, json_schema, yamlio
from scripts.core.findings import Finding, UserError
from scripts.core.repository import PROGRAM
from scripts.core.yamlio import Document
from scripts.environments import plain_secrets
from scripts.environments.environment import Environment
from scripts.network import secret_files
from scripts.network.keys import Key
from scripts.network.plan import Secrets

FILE = "values.yaml"

SCHEMA = PROGRAM / "secret-values.schema.json"

_PARTS = ("privateKey", "toAddress")

_TEXT = """\
# Private values for development, which git ignores. nox -s network makes the TX Sender's Secret of
# them; for the chart alone, give helm this file with -f.
txSender:
  plain:
    privateKey: "{privateKey}"
    toAddress: "{toAddress}"
"""


def to_files(root: Path, loaded: Environment, names: Secrets) -> None:
    """Write the missing files of the TX Sender's Secret, from the private values, if there are any.

    Raises UserError if the values are invalid, or differ from a file: a key is never replaced.
    """
    top = secret_files.folder(root, loaded.name)
    if not (plain_secrets.is_plain(loaded.layers) and names.tx_sender):
        return
    findings.write(secret_files.inspect(root, loaded.name), "text", sys.stderr)
    if secret_files.read(top / FILE) is None:
        return
    document = yamlio.load(top / FILE, root)
    invalid = json_schema.check(document, SCHEMA)
    if invalid:
        raise UserError(*invalid)
    wanted = dict(document.data["txSender"]["plain"])
    try:
        wanted["privateKey"] = Key.parse(wanted["privateKey"]).hex
    except ValueError as error:
        raise UserError(_at(document, "privateKey", str(error), "write another key")) from None
    new = {}
    for part in _PARTS:
        file = f"{names.tx_sender}/{part}"
        existing = secret_files.read(top / file)
        if existing is None:
            new[file] = wanted[part]
        elif _normal(existing) != _normal(wanted[part]):
            message = f"this differs from {secret_files.TOP}/{loaded.name}/{file}"
            fix = "write the value of that file, or move the file away to make it again"
            raise UserError(_at(document, part, message, fix))
    if new:
        secret_files.write(root, loaded.name, new)


def from_files(root: Path, loaded: Environment, names: Secrets) -> list[str]:
    """Write the private values of the TX Sender's Secret, if they are missing; return their file.

    The list is empty if nothing was written.
    """
    top = secret_files.folder(root, loaded.name)
    if not (plain_secrets.is_plain(loaded.layers) and names.tx_sender):
        return []
    texts = {part: secret_files.read(top / names.tx_sender / part) for part in _PARTS}
    if secret_files.read(top / FILE) is not None or None in texts.values():
        return []
    shown = {part: str(text).strip() for part, text in texts.items()}
    secret_files.write(root, loaded.name, {FILE: _TEXT.format(**shown)})
    return [FILE]


def _normal(text: str) -> str:
    return text.strip().lower().removeprefix("0x")


def _at(document: Document, part: str, message: str, fix: str) -> Finding:
    return document.finding("invalid-network", ["txSender", "plain", part], message, fix)
