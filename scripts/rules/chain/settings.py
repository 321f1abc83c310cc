"""How messages name the settings of Besu and Maru, and how fixes write them."""

from __future__ import annotations

import json
import re

from scripts.chain.node_config import MARU, Node, Setting
from scripts.core import advice
from scripts.core.edits import Action
from scripts.core.fixes import Change, Fix

_Value = str | int | bool | list[str]


def named(setting: Setting) -> str:
    """Return the name of a setting with its file: --p2p-port, or p2p-port in config.toml."""
    file, _, key = setting.called.rpartition(": ")
    return f"{key} in {file}" if file else key


def line(setting: Setting) -> int:
    """Return the line of a setting in its file, from 1; 0 if it is not in a file."""
    text = setting.manifest.get(*setting.path) if setting.manifest.kind == "ConfigMap" else None
    _, _, key = setting.called.rpartition(": ")
    pattern = re.compile(rf"\s*{re.escape(key.rpartition('.')[2])}\s*=")
    lines = enumerate(text.split("\n"), 1) if isinstance(text, str) else ()
    return next((number for number, own in lines if pattern.match(own)), 0)


def write(node: Node, setting: Setting | None, key: str, value: _Value) -> str:
    """Return how to write a setting where it is: an argument, a variable, or a line of TOML.

    setting: the existing one with this key, if any.
    """
    text = ",".join(value) if isinstance(value, list) else str(value)
    if isinstance(value, bool):
        text = str(value).lower()
    in_file = node.place(setting)[0].kind == "ConfigMap"
    if setting and setting.called.startswith("--"):
        return advice.write_value(f"--{key}={text}")
    if setting and not in_file:
        return advice.write_value(text, f'value: "{text}" for the variable {setting.called}')
    if not in_file and node.program != MARU:
        return f"write --{key}={text}"
    table, _, name = key.rpartition(".")
    return f"write {name} = {json.dumps(value)}{f' in [{table}]' if table else ''}"


def removed(words: str, setting: Setting) -> Fix:
    """Return the fix to remove a setting: an argument or a variable, not a line of TOML."""
    manifest, path = setting.manifest, setting.path
    if manifest.kind == "ConfigMap":
        return Fix(words)
    if path[-1] == "value":
        return Fix(words, [Change(Action.REMOVE, tuple(path[:-1]), is_whole=True)])
    following = manifest.get(*path[:-1], path[-1] + 1) if isinstance(path[-1], int) else ""
    word = str(manifest.get(*path))
    has_value = isinstance(following, str) and not following.startswith("-")
    is_alone = word.startswith("--") and ("=" in word or not has_value)
    return Fix(words, [Change(Action.REMOVE, ())] if is_alone else ())
