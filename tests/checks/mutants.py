"""Mutants: dev and prod, each with one break in its real manifests.

A mutant is what a person could get by one wrong edit, and what then breaks: each operator names
that. Operators walk over all objects and know of no rule. An edit is no mutant where nothing would
behave otherwise, and only there. By this principle there are none of
- what only informs: descriptions, helm.sh/chart, app.kubernetes.io/version, part-of, managed-by,
  labels of objects that nothing selects by, log levels, comments, the order of keys;
- what stays the same: a headless Service's port (its names lead to pods, whose ports count), a
  selector without the labels that all pods have in common (instance, name) where it may change,
  a budget or a spread of a single pod, a node affinity to all zones, labels that nothing selects;
- what is a choice: more room in a quota, a lower priority of an alert, a longer interval, a
  dashboard less, an image by its tag outside of production, what environment.yaml says of syncs.

A ConfigMap's mutant comes with the checksum that the chart would have given its pods.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import yaml

from scripts.core import paths
from scripts.kubernetes.manifest import Manifest, Where, config_maps
from scripts.rules.snapshot import Objects
from tests.checks.tokens import token
from tests.objects import walk
from tests.rules import examples

OPERATORS = {"": 2, "-chain": 1, "-platform": 1, "-operations": 1}
"""What follows mutants in the names of files of operators → how many mutants of an operator in an
environment are tried each time: all of them are thousands."""
ENVIRONMENTS = ("dev", "prod")

GONE: Any = object()
"""In the place of a value: the field or item is not there."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A kind of break."""

    family: str
    """Of the rules that should find it, or schema."""
    name: str
    kinds: tuple[str, ...]
    """Of the objects it is for; none named, and it is for all."""
    left_out: re.Pattern[str]
    """Objects that it is not for, as environment: Kind/name."""
    where: re.Pattern[str]
    """Paths, their parts with slashes between them."""
    edits: tuple[str | dict[str, Any], ...]
    """Of EDITS and NEAR, with their arguments."""
    breaks: str
    """What comes of it."""
    most: int
    """How many of its mutants in an environment are tried each time."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """An environment with one break."""

    name: str
    operator: Operator
    objects: Objects
    changed: tuple[Manifest, ...]
    """The objects that are otherwise than before; none where one is gone."""


# What may stand instead


def misspelt(value: Any) -> Iterator[Any]:
    """Yield a name without its last letter but one."""
    if isinstance(value, str) and value:
        yield value[:-2] + value[-1] if len(value) > 2 else value + "x"


def misspelt_keys(value: Any) -> Iterator[Any]:
    """Yield a mapping with one of its keys misspelt, each in its turn."""
    if isinstance(value, dict):
        for wrong in value:
            (new,) = misspelt(wrong)
            yield {new if key == wrong else key: part for key, part in value.items()}


def text(value: Any) -> Iterator[Any]:
    """Yield a number as a text."""
    if isinstance(value, int):
        yield f"{value} or so"


def first(value: Any) -> Iterator[Any]:
    """Yield a list's first item in the place of the list."""
    if isinstance(value, list) and value:
        yield value[0]


def protocol(value: Any) -> Iterator[Any]:
    """Yield the other protocol."""
    yield "UDP" if value == "TCP" else "TCP"


def preferred(value: Any) -> Iterator[Any]:
    """Yield an affinity that is a wish only."""
    terms = value.get("requiredDuringSchedulingIgnoredDuringExecution")
    if terms:
        wishes = [{"weight": 100, "podAffinityTerm": term} for term in terms]
        yield {"preferredDuringSchedulingIgnoredDuringExecution": wishes}


def plain_text(value: Any) -> Iterator[Any]:
    """Yield a variable whose value stands here, in the place of a Secret's."""
    if paths.has(value, ["valueFrom", "secretKeyRef"]):
        yield {"name": value["name"], "value": "4f1c9d0be27a"}


def private_key(value: Any) -> Iterator[Any]:
    """Yield a ConfigMap's files with what looks like a private key; it is nobody's."""
    if "config.toml" in value:
        yield value | {"node.key": "0x" + hashlib.sha256(b"mutant").hexdigest()}


def plus(number: int, value: Any) -> Iterator[Any]:
    """Yield the number that stands there, with so many more."""
    if isinstance(value, int):
        yield value + number


def times(factor: float, value: Any) -> Iterator[Any]:
    """Yield so many times the amount that stands there."""
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(value))
    if found:
        number = float(found[1]) * factor
        yield int(number) if isinstance(value, int) else f"{number:g}{found[2]}"


def merged(fields: dict[str, Any], value: Any) -> Iterator[Any]:
    """Yield the mapping with other fields, without those that are null."""
    if isinstance(value, dict):
        yield {key: part for key, part in (value | fields).items() if part is not None}


def replaced(patterns: Mapping[str, str], value: Any) -> Iterator[Any]:
    """Yield a text with one of the places that fit a pattern, each in its turn, replaced."""
    if not isinstance(value, str):
        return
    for pattern, replacement in patterns.items():
        for match in re.finditer(pattern, value, re.MULTILINE):
            yield value[: match.start()] + match.expand(replacement) + value[match.end() :]


def split_peer(value: Any) -> Iterator[Any]:
    """Yield peers, the first of which has become two: one by each of its selectors."""
    if len(value[0]) > 1:
        yield [*({key: part} for key, part in value[0].items()), *value[1:]]


def replaced_everywhere(patterns: Mapping[str, str], value: str) -> Iterator[Any]:
    """Yield a text with all places that fit a pattern replaced."""
    for pattern, replacement in patterns.items():
        yield re.sub(pattern, replacement, value)


EDITS: dict[str, Callable[..., Iterator[Any]]] = {
    "without": lambda _: iter([GONE]),
    "misspelt": misspelt,
    "misspelt-keys": misspelt_keys,
    "text": text,
    "first": first,
    "protocol": protocol,
    "preferred": preferred,
    "plain-text": plain_text,
    "private-key": private_key,
    "to": lambda values, _: iter(values),
    "plus": plus,
    "times": times,
    "merge": merged,
    "append": lambda item, value: iter([[*value, item]]),
    "instead": replaced,
    "all": replaced_everywhere,
    "split-peer": split_peer,
    "token-append": lambda parts, value: iter([[*value, token(parts)]]),
    "token-item": lambda parts, value: iter(
        [[*value, {"name": parts[0], "value": token(parts[1:])}]]
    ),
    "token-key": lambda parts, value: iter([value | {parts[0]: token(parts[1:])}]),
    "token-line": lambda parts, value: iter([f"{value}{token(parts)}\n"]),
}
"""By what an operator calls it; those with an argument have it before the value that is there."""


def other_port(data: Any, path: Where, value: Any) -> Iterator[Any]:
    """Yield the name of another port of the same container, or of the same Service."""
    near = path[: path.index("containers") + 2] if "containers" in path else ("spec",)
    named = "targetPort" if path[-1] == "targetPort" else "name"
    known = [port.get(named) for port in paths.get(data, (*near, "ports")) or ()]
    if value in known and (named == "name" or _counts(data, value)):
        yield from [name for name in known if name not in (None, value)][:1]


def without_port(data: Any, _: Where, value: Any) -> Iterator[Any]:
    """Yield nothing in the place of a Service's port, where that counts."""
    if _counts(data, value["targetPort"]):
        yield GONE


def service_port(data: Any, _: Where, value: Any) -> Iterator[Any]:
    """Yield another port of a Service with an address of its own."""
    if not _is_headless(data):
        yield value + 1


def _counts(service: Any, port: str) -> bool:
    """Return whether a port of a Service is used: of a headless one, Prometheus' only."""
    return not _is_headless(service) or port.endswith("metrics")


def _is_headless(service: Any) -> bool:
    return bool(paths.get(service, ["spec", "clusterIP"]) == "None")


NEAR: dict[str, Callable[[Any, Where, Any], Iterator[Any]]] = {
    "other-port": other_port,
    "service-port": service_port,
    "without-port": without_port,
}
"""Edits that look at what is around: at the object, the path and the value there."""


# The operators

KINDS = {"pods": ("CronJob", "Deployment", "StatefulSet"), "sets": ("Deployment", "StatefulSet")}
PLACES = {
    "{template}": r"spec/(jobTemplate/spec/)?template",
    "{pod}": r"spec/(jobTemplate/spec/)?template/spec",
    "{container}": r"spec/(jobTemplate/spec/)?template/spec/containers/\d+",
    "{any container}": r"spec/(jobTemplate/spec/)?template/spec/(containers|initContainers)/\d+",
    "{component}": "app.kubernetes.io/component",
    "{label}": r"app\.kubernetes\.io/(component|instance|name)",
}
"""What operators may write for a part of a path, which otherwise is a regular expression."""


@lru_cache
def operators() -> list[Operator]:
    """Return all operators."""
    return [
        operator(family, name, found, most)
        for file, most in OPERATORS.items()
        for family, group in read(file).items()
        for name, found in group.items()
    ]


def read(name: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Return family → operator → its fields, of a file of operators."""
    text = Path(__file__).with_name(f"mutants{name}.yaml").read_text("utf-8")
    families: dict[str, dict[str, dict[str, Any]]] = yaml.load(text, yaml.CSafeLoader)
    return families


def operator(family: str, name: str, found: dict[str, Any], most: int) -> Operator:
    kinds = [KINDS.get(kind, (kind,)) for kind in found.get("of", "").split()]
    where = found["at"]
    for place, pattern in PLACES.items():
        where = where.replace(place, pattern)
    edit = found["edit"]
    edits = edit if isinstance(edit, list) else [edit]
    return Operator(
        family=family,
        name=name,
        kinds=tuple(chain(*kinds)),
        left_out=re.compile(found.get("not", "")),
        where=re.compile(where),
        edits=tuple(edits),
        breaks=found["breaks"],
        most=most,
    )


def others(operator: Operator, data: Any, path: Where, value: Any) -> Iterator[Any]:
    """Yield what may stand at a path instead, by an operator."""
    for edit in operator.edits:
        for name, argument in edit.items() if isinstance(edit, dict) else [(edit, None)]:
            if name in NEAR:
                found = NEAR[name](data, path, value)
            else:
                found = EDITS[name](*(() if argument is None else (argument,)), value)
            yield from (other for other in found if other != value)


# From an environment and the operators to its mutants


def mutants(environment: str, most: int | None = None) -> list[Mutant]:
    """Return the mutants of an environment, in the order of the operators, of each no more.

    most: of each operator; by default what its file says. Which ones, their names' digests say:
    nobody chooses, and a new object changes few.
    """
    unbroken = examples.objects(environment)
    breaks = _breaks(unbroken)
    chosen = list[str]()
    for operator, group in groupby(breaks, key=lambda name: breaks[name][0]):
        by_digest = sorted(group, key=lambda name: hashlib.sha256(name.encode()).digest())
        chosen += sorted(by_digest[: most or operator.most])
    return [_mutant(unbroken, name, *breaks[name]) for name in chosen]


def _breaks(unbroken: Objects) -> dict[str, tuple[Operator, Manifest, Where, Any]]:
    """Return all mutants' names, with the operator, and what stands instead, and where."""
    objects = (*unbroken.manifests, unbroken.project, unbroken.application)
    places = {manifest.label: _places(manifest) for manifest in objects}
    found: dict[str, tuple[Operator, Manifest, Where, Any]] = {}
    for operator in operators():
        for manifest in objects:
            if operator.kinds and manifest.kind not in operator.kinds:
                continue
            if operator.left_out.fullmatch(f"{unbroken.name}: {manifest.label}"):
                continue
            for where, path, value in places[manifest.label]:
                if operator.where.fullmatch(where):
                    for other in others(operator, manifest.object, path, value):
                        change = _change(manifest.object, path, other)
                        name = f"{unbroken.name}: {manifest.label}: {change}"
                        found.setdefault(name, (operator, manifest, path, other))
    return found


def _places(manifest: Manifest) -> list[tuple[str, Where, Any]]:
    return [("/".join(map(str, path)), path, value) for path, value in walk(manifest.object)]


def _mutant(
    unbroken: Objects, name: str, operator: Operator, manifest: Manifest, path: Where, other: Any
) -> Mutant:
    if not path and other is GONE:
        left = tuple(one for one in unbroken.manifests if one is not manifest)
        return Mutant(name, operator, replace(unbroken, manifests=left), ())
    after = replace(manifest, object=changed(manifest.object, path, other))
    if manifest is unbroken.project:
        return Mutant(name, operator, replace(unbroken, project=after), (after,))
    if manifest is unbroken.application:
        return Mutant(name, operator, replace(unbroken, application=after), (after,))
    made = {manifest.label: after, **_restarted(unbroken, after)}
    everything = tuple(made.get(one.label, one) for one in unbroken.manifests)
    return Mutant(name, operator, replace(unbroken, manifests=everything), tuple(made.values()))


def changed(data: Any, path: Where, other: Any) -> Any:
    """Return the data with another value at the path; what is not on the way is shared."""
    if not path:
        return other
    first, rest = path[0], path[1:]
    if isinstance(data, list):
        assert isinstance(first, int)
        there = [] if not rest and other is GONE else [changed(data[first], rest, other)]
        return [*data[:first], *there, *data[first + 1 :]]
    if not rest and other is GONE:
        return {key: value for key, value in data.items() if key != first}
    return data | {first: changed(data[first], rest, other)}


def _restarted(unbroken: Objects, config: Manifest) -> dict[str, Manifest]:
    """Return the workloads that get a new checksum with a changed ConfigMap."""
    if config.kind != "ConfigMap":
        return {}
    found = {}
    text = hashlib.sha256(json.dumps(config.object, sort_keys=True).encode()).hexdigest()
    for workload in unbroken.workloads:
        manifest = workload.manifest
        path = (*workload.template, "metadata", "annotations")
        there = workload.get(*path) or {}
        sums = {key: text for key in there if key.startswith("checksum/")}
        if sums and config.name in config_maps(manifest.object):
            new = changed(manifest.object, path, there | sums)
            found[manifest.label] = replace(manifest, object=new)
    return found


# How mutants are called


def _change(data: Any, path: Where, other: Any) -> str:
    """Return what is otherwise, in words that fit on a line."""
    place, old = _called(data, path), paths.get(data, path)
    if other is GONE:
        return f"without {place or 'the object'}"
    if isinstance(old, str) and isinstance(other, str) and "\n" in old:
        return f"{place}: {_lines(old, other)}"
    if isinstance(old, Mapping) and isinstance(other, Mapping):
        parts = [f"{key} {_short(other[key])}" for key in other if old.get(key) != other[key]]
        parts += [f"no {key}" for key in old if key not in other]
        return f"{place}: {', '.join(parts)}"
    if isinstance(old, list) and isinstance(other, list) and other[: len(old)] == old:
        return f"{place}: and {_short(other[-1])}"
    return f"{place} {_short(old)} → {_short(other)}"


def _called(data: Any, path: Where) -> str:
    """Return a path with the names of what is in lists, without what is the same for all."""
    parts = list[str]()
    for part in path:
        data = data[part]
        if isinstance(part, int):
            named = data.get("name") or data.get("key") if isinstance(data, dict) else None
            parts[-1] += f"[{named or part}]"
        else:
            parts.append(part)
    words = ".".join(parts)
    return re.sub(r"^spec\.(jobTemplate\.spec\.)?(template\.(spec\.)?)?", "", words)


def _lines(old: str, new: str) -> str:
    """Return the lines of a text that are otherwise."""
    before, after = old.split("\n"), new.split("\n")
    start = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
    end = next(
        (i for i, (a, b) in enumerate(zip(before[::-1], after[::-1], strict=False)) if a != b), 0
    )
    was = " ".join(line.strip() for line in before[start : len(before) - end])
    is_ = " ".join(line.strip() for line in after[start : len(after) - end])
    one = f"line {start + 1}, "
    if not is_:
        return f"{one}without {_short(was)}"
    common = next((i for i, (a, b) in enumerate(zip(was, is_, strict=False)) if a != b), 0)
    since = _start_of_name(was, max(0, common - 24))
    return f"{one}{_short(was[since:])} → {_short(is_[since:])}"


def _start_of_name(line: str, place: int) -> int:
    """Return where the name at a place begins. A longer text, such as a hash, may stay cut."""
    begun = re.search(r"[\w-]{0,32}$", line[:place])
    return begun.start() if begun else place


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 72 else f"{text[:71]}…"
