"""Messages about data that a JSON Schema rejects: what is wrong, and what to write instead.

The words come from the schema: `title` is the name of a value, `errorMessage` says what may be
written (editors show it, too), `examples` has valid values.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import yaml

from scripts.core import advice as wording
from scripts.core import schedules
from scripts.core.edits import Action
from scripts.core.findings import may_be_secret
from scripts.core.fixes import Change, Fix
from scripts.core.paths import ValuePath
from scripts.core.schema_paths import ITEM, Schema
from scripts.core.sentences import joined
from scripts.core.yamlio import flow

HIDDEN = "hidden, as it may be a secret"

_CREDENTIALS = re.compile(r"//[^/@\s]*@")
_MOST_SHOWN = 40
_WITHOUT_EXAMPLE = ("Remove", "Restore")
"""First words of instructions to write nothing."""

_MOST_LISTED = 30
"""Keys in one message."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NOUNS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "a boolean",
}


def nouns(types: Sequence[str]) -> str:
    """Return JSON Schema's types in words: a string or a number."""
    return joined([_NOUNS[name] for name in types if name != "null"], "or")


def label(path: Sequence[str | int]) -> str:
    """Return a path as messages show it, for example besu.extraEnv[0].value."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not text or _PLAIN.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text or "the file"


def shown(value: Any, path: ValuePath) -> str:
    """Return a value as messages show it: short, and not if it may be a secret."""
    if may_be_secret(path):
        return HIDDEN
    text = _CREDENTIALS.sub("//…@", json.dumps(value, ensure_ascii=False))
    if len(text) <= _MOST_SHOWN:
        return text
    return f"{text[: _MOST_SHOWN - 2]}…" + ('"' if isinstance(value, str) else "")


def first(parts: Iterable[Schema], keyword: str) -> Any:
    """Return the keyword's value in the first subschema that has it; None if none has it."""
    return next((part[keyword] for part in parts if keyword in part), None)


def noun(parts: Sequence[Schema]) -> str:
    """Return the name of the value that the subschemas describe."""
    return str(first(parts, "title") or "value")


# What is wrong


def wrong_type(value: Any, path: ValuePath, types: Sequence[str]) -> str:
    """Return the message for a value that has none of the types."""
    wanted = nouns(types)
    if value is None:
        return f"{label(path)} is empty"
    if isinstance(value, dict | list):
        what = _NOUNS["object" if isinstance(value, dict) else "array"]
        return f"{label(path)} is {what}, not {wanted}"
    if isinstance(value, bool):
        what = "a boolean" if may_be_secret(path) else f"the boolean {json.dumps(value)}"
        return f"{label(path)} is {what}, not {wanted}"
    name = "string" if isinstance(value, str) else "number"
    what = f"a {name}" if may_be_secret(path) else f"the {name} {shown(value, path)}"
    return f"{label(path)} is {what}, not {wanted}"


BOUNDS = {
    "Minimum": "less than {}",
    "ExclusiveMinimum": "not more than {}",
    "Maximum": "more than {}",
    "ExclusiveMaximum": "not less than {}",
    "MinLength": "fewer than {}",
    "MaxLength": "more than {}",
    "MinItems": "fewer than {}",
    "MaxItems": "more than {}",
    "MinProperties": "fewer than {}",
    "MaxProperties": "more than {}",
}
"""Error of a keyword with a limit → what the value is."""


def invalid(value: Any, path: ValuePath, parts: Sequence[Schema]) -> str:
    """Return the message for a value that is not what its title says."""
    if value in ("", [], {}):
        return f"{label(path)} is empty"
    if may_be_secret(path):
        return f"{label(path)} is not a valid {noun(parts)} (the value is {HIDDEN})"
    return f"{label(path)} is {shown(value, path)}, which is not a valid {noun(parts)}"


def forbidden(value: Any, path: ValuePath) -> str:
    """Return the message for a value that is excluded."""
    if value in ("", [], {}):
        return f"{label(path)} is empty"
    if may_be_secret(path):
        return f"{label(path)} has a value that is not allowed here, and {HIDDEN}"
    return f"{label(path)} is {shown(value, path)}, which is not allowed"


def out_of_bounds(value: Any, path: ValuePath, keyword: str, limit: Any) -> str:
    """Return the message for a number that is too small or large, or a value with that size."""
    words = BOUNDS[keyword].format(limit)
    if isinstance(value, str | list | dict):
        if not value:
            return f"{label(path)} is empty"
        unit = {str: "character", list: "item", dict: "key"}[type(value)]
        count = f"{len(value)} {unit}" + ("s" if len(value) > 1 else "")
        return f"{label(path)} has {count}, which is {words}"
    if may_be_secret(path):
        return f"{label(path)} is {words}"
    return f"{label(path)} is {shown(value, path)}, which is {words}"


def none_or_several(value: dict[str, Any], path: ValuePath, keys: Sequence[str]) -> str:
    """Return the message for a mapping that needs exactly one of the keys."""
    there = [key for key in keys if key in value]
    if there:
        return f"{label(path)} has both {joined(there)}, and needs only one of them"
    return f"{label(path)} has neither {joined(keys, 'nor')}"


def missing(path: ValuePath, names: Sequence[str]) -> str:
    """Return the message for a mapping without keys that it needs."""
    if len(names) == 1 or not path:
        return f"{joined([label([*path, name]) for name in names])} {_are(names)} missing"
    return f"{label(path)} needs {joined(names)}"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


# What may be written


def advice(parts: Sequence[Schema]) -> str:
    """Return what may be written, as an instruction with an example."""
    message = str(first(parts, "errorMessage") or f"Write {_described(parts)}.")
    if message.startswith(_WITHOUT_EXAMPLE):
        return as_fix(message)
    return _with_example(as_fix(message), parts)


def example(parts: Sequence[Schema]) -> Any:
    """Return a valid value; None if the schema has no example."""
    if examples := first(parts, "examples"):
        return examples[0]
    of_keys = {
        key: part["examples"][0]
        for key, part in (first(parts, "properties") or {}).items()
        if "examples" in part
    }
    simple = [key for key, value in of_keys.items() if not isinstance(value, dict | list)]
    key = next(iter([*simple, *of_keys]), None)
    return {key: of_keys[key]} if key is not None else None


def of_type(value: Any, types: Sequence[str], parts: Sequence[Schema]) -> str:
    """Return what to write instead of a value of a wrong type."""
    if "array" in types and isinstance(value, dict):
        return _with_example('write a list, with "- " before each item', parts)
    if "object" in types and isinstance(value, list):
        return _with_example('write a mapping of keys to values, without "- "', parts)
    return advice(parts)


def another_item(parts: Sequence[Schema], of_item: Sequence[Schema]) -> str:
    """Return what to add to a list that has too few items."""
    if first(parts, "errorMessage"):
        return advice(parts)
    what = f"add {_article(first(of_item, 'title') or 'item')}"
    options = first(of_item, "enum")
    return f"{what}, for example {flow(options[0])}" if options else _with_example(what, of_item)


def choose(
    value: dict[str, Any], path: ValuePath, keys: Sequence[str], examples: Sequence[Any]
) -> str:
    """Return what to do with a mapping that needs exactly one of the keys."""
    there = [key for key in keys if key in value]
    if there:
        first_key, *others = there
        rest = joined(others)
        changes = [Change(Action.REMOVE, (key,)) for key in others]
        fix = Fix(f"remove {rest} from {label(path)}", changes)
        return fix.unless(f"; or remove {first_key} if {rest} is meant")
    lines = [f'"{k}: {flow(e)}"' for k, e in zip(keys, examples, strict=True) if e is not None]
    for_example = f", for example {lines[0]}" if lines else ""
    return f"add {joined(keys, 'or')} to {label(path)}{for_example}"


def repaired(value: str, parts: Sequence[Schema], valid: Callable[[Any], bool]) -> str | None:
    """Return the instruction to write a similar value that is valid, if there is one."""
    for other in _repairs(value):
        if other != value and valid(other):
            if not isinstance(other, str):
                return wording.write_value(other, f"{other} without quotes")
            words = as_fix(str(first(parts, "errorMessage") or ""))
            what = words.partition(". ")[0].removeprefix("write ") if words else ""
            return wording.write_value(other, flow(other)) + (f": {what}" if what else "")
    return None


_TYPED = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019", "'"),
        **dict.fromkeys("\u201c\u201d\u201e", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),
        "\u2014": "--",
        "\u00a0": " ",
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad"),
    }
)
"""What word processors and web pages write → what a keyboard writes."""


def _typed(text: str) -> str:
    """Return a text without the characters of word processors: dashes, spaces, quotes."""
    plain = text.translate(_TYPED).strip()
    return re.sub("^-{3,}", "--", plain)


def _repairs(value: str) -> Iterable[str | int]:
    """Yield the value without a scheme, with a unit, in lower case and the like."""
    text = value.strip()
    yield text
    yield text.lower()
    yield text.lower().replace("_", "-")
    yield text.rstrip("/")
    yield text.strip("/")
    yield re.sub(r"^[a-z0-9+]+://([^/:?#]+).*$", r"\1", text)
    yield re.sub(r"^([0-9.]+) *([kKMGTP])[iI]?[bB]?$", lambda m: f"{m[1]}{m[2].upper()}i", text)
    yield re.sub(r"^([0-9]+)$", r"\1s", text)
    yield re.sub(r"^([0-9]+) *d(?:ays?)?$", lambda m: f"{int(m[1]) * 24}h", text)
    yield _typed(text)
    yield from schedules.candidates(text)
    yield re.sub(r"^([a-z]+(-[a-z]+)+-[0-9])[a-z]$", r"\1", text)
    yield re.sub(r"^v?([0-9]+\.[0-9]+)(\.[0-9]+)?$", r"\1", text)
    yield re.sub(r"^-{0,1}([A-Za-z][A-Za-z-]*=)", r"--\1", text)
    yield re.sub(r"^([^/]+)$", lambda m: "/" + m[1].replace(".", "/"), text)
    yield re.sub(r"^([0-9a-f]{64})$", r"sha256:\1", text)
    yield re.sub(r"^([a-z0-9.-]+\.[a-z]+/.+)$", r"https://\1", text)
    if text.isdecimal() and len(text) < 6:
        yield int(text)


def retyped(
    value: Any, written: str | None, path: ValuePath, valid: Callable[[Any], bool]
) -> str | None:
    """Return the instruction to write the same value in another type, if that is valid.

    written: the value as it is in the file: 1.10 is the number 1.1.
    """
    hidden = may_be_secret(path)
    if isinstance(value, str):
        try:
            plain = yaml.safe_load(value.strip())
        except (yaml.YAMLError, ValueError):
            plain = None
        if isinstance(plain, bool | int | float) and valid(plain):
            shown = json.dumps(plain)
            if hidden:
                return "write it without quotes"
            return wording.write_value(plain, f"{shown} without quotes")
    if isinstance(value, bool | int | float):
        text = written if written is not None else json.dumps(value)
        if valid(text):
            if hidden:
                return "write it in quotes"
            return wording.write_value(text, f'it in quotes: "{text}"')
    if not isinstance(value, dict | list | None) and valid([value]):
        if hidden:
            return "write it as a list"
        return wording.write_value([value], f"a list: {flow([value])}")
    return None


def nearest(value: Any, options: Sequence[Any]) -> str:
    """Return the instruction to write the most similar option, or one of all if none is similar."""
    by_letters = {str(option).lower(): option for option in options}
    near = difflib.get_close_matches(str(value).lower(), by_letters, 1)
    chosen = [by_letters[near[0]]] if near else options
    if len(chosen) == 1:
        fix = wording.write_value(chosen[0], flow(chosen[0]))
        return fix.if_slip(str(value), str(chosen[0])) if near else fix
    return "write " + joined([flow(option) for option in chosen], "or")


def adding(path: ValuePath, examples: dict[str, Any]) -> str:
    """Return the instruction to add keys to the mapping at the path.

    examples: the keys, each with a valid value, or with None.
    """
    where = f" to {label(path)}" if path else ""
    good = {name: value for name, value in examples.items() if value is not None}
    lines = flow(good) if len(good) > 1 else _line(good)
    return f"add {joined(examples)}{where}" + (f", for example {lines}" if lines else "")


def replacing(path: ValuePath, old: str, new: str, good: Any) -> str:
    """Return the instruction to write one key instead of another; good: a valid value of it."""
    for_example = f", for example {_line({new: good})}" if good is not None else ""
    return f"write {new} instead of {old} in {label(path)}{for_example}"


def _line(values: dict[str, Any]) -> str:
    return next((f'"{key}: {flow(value)}"' for key, value in values.items()), "")


def moving(path: ValuePath, key: str, targets: Sequence[ValuePath], known: Sequence[str]) -> str:
    """Return what to do with an unknown key of the mapping at the path.

    targets: where it could belong. known: the keys of that mapping.
    """
    if not targets:
        if key.partition(".")[0] in known:
            return "write one key below the other, without dots"
        remove = wording.remove("it")
        if not 0 < len(known) <= _MOST_LISTED:
            return remove.unless("")
        of = f" of {label(path)}" if path else ""
        return remove.unless(f"; known keys{of}: {', '.join(known)}")
    if len(targets) > 1:
        return f"did you mean {joined([_target(target) for target in targets], 'or')}?"
    (target,) = targets
    above = target[:-1]
    if "." in key and target[-1] != key:
        nested = " and below it ".join(f'"{part}:"' for part in target)
        return Fix(f"write {nested}, without dots", [Change(Action.MOVE, (), tuple(target))])
    if list(above) == list(path):
        fix = Fix(f"write {target[-1]}", [Change(Action.RENAME, (), target[-1])])
        return fix.if_slip(key, str(target[-1]))
    if above and isinstance(above[-1], int):
        items = label(above[:-1])
        return f"did you mean a key of an item of {items}? Indent it as far as the item's keys"
    where = f"below {label(above)}" if above else "to the top level"
    words = f"did you mean {_target(target)}? Move it {where}"
    move = Fix(words, [Change(Action.MOVE, (), tuple(target))] if ITEM not in target else ())
    return move.if_slip(key, str(target[-1]))


def _target(path: ValuePath) -> str:
    return label(path).replace(f"[{ITEM}]", "[]")


def as_fix(sentence: str) -> str:
    """Return a sentence without its capital letter and period, as the fix of a finding."""
    small = sentence[1:2].islower() or sentence[1:2] == " "
    head = sentence[:1].lower() if small else sentence[:1]
    return (head + sentence[1:]).removesuffix(".")


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _with_example(text: str, parts: Sequence[Schema]) -> str:
    """Return an instruction with the first example at the end of its first sentence, if new."""
    good = example(parts)
    if good is None or isinstance(good, bool):
        return text
    head, stop, tail = text.partition(". ")
    if isinstance(good, str) and re.search(rf"(?<![\w.-]){re.escape(good)}(?![\w-])", head):
        return text
    return f"{head}, for example {flow(good)}{stop}{tail}"


def _described(parts: Sequence[Schema]) -> str:
    """Return what may be written, from keywords like type and minimum."""
    if options := first(parts, "enum"):
        return joined([flow(option) for option in options], "or")
    types = first(parts, "type")
    types = [types] if isinstance(types, str) else list(types or ())
    described = first(parts, "description")
    pattern = first(parts, "pattern")
    if described and (pattern or not types):
        return as_fix(str(described))
    words = []
    for name in types:
        if name == "boolean":
            words.append("true or false")
        elif name in ("integer", "number"):
            words.append(_NOUNS[name] + _range(parts))
        elif name == "string" and first(parts, "minLength"):
            words.append("a string that is not empty")
        elif name != "null":
            words.append(_NOUNS[name])
    return joined(words, "or") if words else "another value"


def _range(parts: Sequence[Schema]) -> str:
    least, most = first(parts, "minimum"), first(parts, "maximum")
    above = first(parts, "exclusiveMinimum")
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if above is not None:
        return f" above {above}" + (f", at most {most}" if most is not None else "")
    if least is not None:
        return f" of at least {least}"
    return f" of at most {most}" if most is not None else ""
