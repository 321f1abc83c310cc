"""What Besu and Maru are started with, against tables of what upstream knows.

A pod says it all: which program a container runs, with which arguments and variables, and which
files those name. A file is followed through the container's mounts and the pod's volumes to the
ConfigMap that holds it. Maru only warns of a key that it doesn't know, and goes on with a default
(loadConfigs in ConfigLoaderHelper.kt), so a typo would show as a chain that behaves otherwise.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from scripts import containers, files, origin, schema, tomlio, yamlio
from scripts.containers import EXPANDED, Container, Option, Text
from scripts.environment import Environment, merge
from scripts.findings import Finding, UserError
from scripts.manifest import Manifest, Where
from scripts.yamlio import Document

BESU = Path(__file__).with_name("besu.schema.json")
BESU_OPEN = Path(__file__).with_name("besu-open.schema.json")
"""What Besu knows, and would open to whoever reaches the port."""
MARU = Path(__file__).with_name("maru.schema.json")
BESU_GENESIS = Path(__file__).with_name("besu-genesis.schema.json")
MARU_GENESIS = Path(__file__).with_name("maru-genesis.schema.json")

MARU_OPTIONS = ("config", "genesis-file", "help", "maru-genesis-file", "network", "version")
"""Of its command line: maru/app/src/main/kotlin/maru/app/MaruAppCli.kt."""

BESU_VARIABLES = ("BESU_OPTS", "BESU_USER_NAME", "BESU_USING_JEMALLOC")
"""Read by its start scripts, app/src/main/scripts/; beside BESU_<OPTION>, which is read by
app/src/main/java/org/hyperledger/besu/cli/util/EnvironmentVariableDefaultProvider.java."""

OVERRIDE = "config.override."
"""How a variable that overrides a key begins once its __ are dots: Hoplite 2.9,
EnvironmentVariableOverridePropertySource."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong with one place in one object."""

    kind: str
    name: str
    path: Where
    """To the field; where that is a text of several lines, `line` says which."""
    line: int
    """1-based; 0 where the field has no lines."""
    text: str
    """The line itself."""
    rule: str
    message: str
    fix: str


def _problem(container: Container, path: Where, rule: str, message: str, fix: str) -> Problem:
    return Problem(container.kind, container.name, path, 0, "", rule, message, fix)


def check(manifests: Mapping[str, str]) -> list[Problem]:
    """Return what Besu and Maru would refuse, or ignore, in an environment's manifests; sorted.

    manifests: file → text, as render writes them.
    """
    by_name = {PurePosixPath(file).name: text for file, text in manifests.items()}
    found = set[Problem]()
    chains: dict[str, dict[Text, Document]] = {"Besu": {}, "Maru": {}}
    for container in containers.containers(by_name):
        program = containers.program(container)
        if program == "Maru":
            found.update(_maru(container, chains["Maru"]))
        elif program == "Besu":
            found.update(_besu(container, chains["Besu"]))
    found.update(_other_chain(chains["Besu"], chains["Maru"]))
    return sorted(found, key=lambda p: (p.kind, p.name, p.line, [*map(str, p.path)], p.message))


def _besu(container: Container, genesis: dict[Text, Document]) -> Iterator[Problem]:
    known = schema.read(BESU)["properties"]
    options = containers.options(container.words())
    for option in options:
        if option.name in known:
            yield from _besu_value(container, option.path, option.name, option.value, "--")
        elif not _of_plugin(container, option.name):
            message = f"--{option.name} is no option of Besu"
            fix = _nearest(f"--{option.name}", [f"--{name}" for name in known], BESU)
            yield _problem(container, option.path, "unknown-argument", message, fix)
    variables = {f"BESU_{name.replace('-', '_').upper()}": name for name in known}
    for path, variable, value in container.variables():
        if variable in variables:
            where = (*path, "value")
            yield from _besu_value(container, where, variables[variable], value, f"{variable}: ")
        elif variable.startswith("BESU_") and variable not in BESU_VARIABLES:
            named = variable.removeprefix("BESU_").lower().replace("_", "-")
            if _of_plugin(container, named):
                continue
            message = f"Besu does not read {variable}"
            fix = _nearest(variable, [*variables, *BESU_VARIABLES], BESU)
            yield _problem(container, (*path, "name"), "unknown-variable", message, fix)
    for option in options:
        if option.value and option.name == "config-file":
            yield from _besu_files(container, option)
        elif option.value and option.name == "genesis-file":
            yield from _genesis(container, option, BESU_GENESIS, genesis)


def _of_plugin(container: Container, name: str) -> bool:
    """Return whether an option may belong to a plugin, which another image than Besu's brings."""
    return name.startswith("plugin-") and container.image != "besu"


def _besu_value(
    container: Container, path: Where, name: str, value: str | None, prefix: str
) -> Iterator[Problem]:
    """Yield why an option can't have the value; a switch needs none, and is then on."""
    types = schema.read(BESU)["properties"][name]["type"]
    if value is None and types == "boolean":
        value = "true"
    if value is None or EXPANDED.search(value):
        return
    document = Document("", {name: _typed(value, types)}, None)
    for finding in schema.check(document, BESU) + schema.check(document, BESU_OPEN):
        # What stands in an argument or a variable has no quotes.
        fix = finding.fix.removesuffix(" without quotes")
        yield _problem(container, path, finding.rule, f"{prefix}{finding.message}", fix)


def _typed(value: str, types: str | list[str]) -> Any:
    """Return a text as the first of the types that it can have, else as it is."""
    for type_ in [types] if isinstance(types, str) else types:
        if type_ == "array":
            return value.split(",")
        if type_ == "boolean" and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if type_ == "integer" and re.fullmatch("-?[0-9]{1,30}", value):
            return int(value)
        if type_ == "number" and re.fullmatch(r"-?[0-9]{1,30}(\.[0-9]+)?", value):
            return float(value)
    return value


def _besu_files(container: Container, option: Option) -> Iterator[Problem]:
    known = schema.read(BESU)["properties"]
    texts, problems = _read(container, option.path, option.value or "")
    yield from problems
    for text in texts:
        try:
            # Besu looks at the keys alone, whatever table they are in.
            document = tomlio.flat(tomlio.toml(text.text, text.file))
        except UserError as error:
            yield from _in_text(error.findings, [text])
            continue
        data = {
            key: value
            for key, value in document.data.items()
            if key in known or not _of_plugin(container, key)
        }
        document = replace(document, data=data)
        findings = schema.check(document, BESU) + schema.check(document, BESU_OPEN)
        yield from _in_text(findings, [text])


def _maru(container: Container, genesis: dict[Text, Document]) -> Iterator[Problem]:
    words = container.words()
    jar = next(i for i, (_, w) in enumerate(words) if PurePosixPath(w).name == "maru.jar")
    options = containers.options(words[jar + 1 :])
    names = {option.name for option in options}
    for option in options:
        if option.name not in MARU_OPTIONS:
            message = f"--{option.name} is no option of Maru"
            fix = _nearest(f"--{option.name}", [f"--{name}" for name in MARU_OPTIONS], MARU)
            yield _problem(container, option.path, "unknown-argument", message, fix)
    if not names & {"genesis-file", "maru-genesis-file", "network"}:
        message = "Maru has neither a genesis file nor a network: it would join Linea's mainnet"
        fix = "write --genesis-file=/genesis/maru.json"
        yield _problem(container, words[jar][0], "missing-argument", message, fix)
    if "config" not in names:
        message, fix = "Maru has no configuration", "write --config=/config/config.toml"
        yield _problem(container, words[jar][0], "missing-argument", message, fix)
    for path, variable, value in container.variables():
        yield from _override(container, path, variable, value)
    yield from _maru_files(container, options)
    for option in options:
        if option.value and option.name in ("genesis-file", "maru-genesis-file"):
            yield from _genesis(container, option, MARU_GENESIS, genesis)


def _maru_files(container: Container, options: Iterable[Option]) -> Iterator[Problem]:
    """Yield what is wrong in the files of --config, of which a later one overrides an earlier."""
    groups, complete = list[Sequence[Text]](), True
    for option in options:
        if option.name != "config" or not option.value:
            continue
        for file in option.value.split(","):
            texts, problems = _read(container, option.path, file)
            yield from problems
            complete = complete and bool(texts)
            if texts:
                groups.append(texts)
    for together in itertools.product(*groups) if groups else ():
        try:
            documents = [tomlio.toml(text.text, text.file) for text in together]
        except UserError as error:
            yield from _in_text(error.findings, together)
            continue
        merged: dict[str, Any] = {}
        for document in documents:
            merged = merge(merged, document.data)

        def locate(
            path: list[str | int], documents: Sequence[Document] = documents
        ) -> tuple[Document, list[str | int]]:
            for length in range(len(path), 0, -1):
                for document in reversed(documents):
                    if yamlio.has(document.data, path[:length]):
                        return document, path
            return documents[0], path

        findings = schema.check_merged(merged, MARU, locate)
        # A file that is not in git may have what is missing here.
        yield from _in_text((f for f in findings if complete or f.rule != "missing-key"), together)


def _override(
    container: Container, path: Where, variable: str, value: str | None
) -> Iterator[Problem]:
    """Yield what is wrong with a variable that is to override a key of Maru's."""
    dotted = variable.replace("__", ".")
    if not dotted.lower().startswith(OVERRIDE):
        return
    if not dotted.startswith(OVERRIDE):
        right = OVERRIDE.replace(".", "__") + dotted[len(OVERRIDE) :].replace(".", "__")
        message = f"Maru does not read {variable}: the beginning must be in small letters"
        yield _problem(container, (*path, "name"), "unknown-variable", message, f"write {right}")
        return
    table, names = schema.read(MARU), list[str]()
    for part in dotted.removeprefix(OVERRIDE).split("."):
        table = _resolved(table)
        known = {_normal(name): name for name in table.get("properties", {})}
        free = table.get("additionalProperties")
        if _normal(part) in known:
            names.append(known[_normal(part)])
            table = table["properties"][names[-1]]
        elif isinstance(free, dict):
            names.append(part)
            table = free
        else:
            where = ".".join([*names, part])
            message = f"{variable}: {where} is no key of Maru's configuration"
            near = _nearest(part, known.values(), MARU)
            yield _problem(container, (*path, "name"), "unknown-variable", message, near)
            return
    table = _resolved(table)
    if value is None or "type" not in table:
        return
    data: Any = _typed(value, table["type"])
    for name in reversed(names):
        data = {name: data}
    for finding in schema.check(Document("", data, None), MARU):
        if finding.rule != "missing-key":
            message = f"{variable}: {finding.message}"
            fix = finding.fix.removesuffix(" without quotes")
            yield _problem(container, (*path, "value"), finding.rule, message, fix)


def _resolved(table: dict[str, Any]) -> dict[str, Any]:
    """Return the part of Maru's schema that a part refers to, or the part itself."""
    reference = table.get("$ref")
    if not isinstance(reference, str):
        return table
    found = schema.read(MARU)
    for key in reference.removeprefix("#/").split("/"):
        found = found[key]
    return found


def _normal(name: str) -> str:
    """Return a key as Hoplite compares keys."""
    return name.replace("-", "").replace("_", "").lower()


def _genesis(
    container: Container, option: Option, form: Path, chains: dict[Text, Document]
) -> Iterator[Problem]:
    texts, problems = _read(container, option.path, option.value or "")
    yield from problems
    for text in texts:
        try:
            document = tomlio.from_json(text.text, text.file)
        except UserError as error:
            yield from _in_text(error.findings, [text])
            continue
        chains[text] = document
        yield from _in_text(schema.check(document, form), [text])


def _other_chain(besu: Mapping[Text, Document], maru: Mapping[Text, Document]) -> Iterator[Problem]:
    """Yield the genesis files of Maru that are of another chain than Besu's."""
    for theirs, document in besu.items():
        other = yamlio.get(document.data, ["config", "chainId"])
        for text, own in maru.items():
            chain = yamlio.get(own.data, ["chainId"])
            if isinstance(chain, int) and isinstance(other, int) and chain != other:
                message = f"chainId is {chain}, and {other} in {theirs.key}"
                fix = "write the same in both"
                yield from _in_text([own.finding("other-chain", ["chainId"], message, fix)], [text])


def _nearest(name: str, known: Iterable[str], table: Path) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"write {near[0]}" if near else _listed(table)


def _listed(table: Path) -> str:
    return f"remove it; those that there are stand in scripts/{table.name}"


def _in_text(findings: Iterable[Finding], texts: Iterable[Text]) -> Iterator[Problem]:
    """Yield findings in documents as problems of the ConfigMaps that hold them."""
    by_file = {text.file: text for text in texts}
    for finding in findings:
        text = by_file[finding.file]
        lines = text.text.split("\n")
        line = lines[finding.line - 1] if 0 < finding.line <= len(lines) else ""
        fix = _listed(BESU) if finding.fix == "remove it" else finding.fix
        message = f"{text.key}: {finding.message}"
        path = ("data", text.key)
        yield Problem(
            "ConfigMap", text.config_map, path, finding.line, line, finding.rule, message, fix
        )


def _read(container: Container, path: Where, file: str) -> tuple[list[Text], list[Problem]]:
    """Return what a container sees at a path, as far as the environment's ConfigMaps hold it."""
    config_map, key, texts = containers.look(container, file)
    if config_map is None or texts:
        return texts, []
    message = f"there is no {file}: ConfigMap/{config_map} has no {key}"
    near = difflib.get_close_matches(key, containers.keys(container, config_map), 1)
    fix = f"write {near[0]}" if near else "write a file that is mounted"
    return [], [_problem(container, path, "missing-file", message, fix)]


def located(
    root: Path, found: Environment, manifests: Iterable[Manifest], problem: Problem
) -> Finding:
    """Return the problem as a finding on the input to change.

    That is a patch that touches it, else the file of the chart that has the line, else what origin
    finds out.
    """
    manifest = next(m for m in manifests if (m.kind, m.name) == (problem.kind, problem.name))
    place, message = None, problem.message
    if problem.line and not _patched(found, manifest, problem.path):
        place = _in_chart(root, yamlio.get(manifest.object, problem.path), problem)
    if problem.line and not place:
        # What follows is the place of the whole text.
        key = str(problem.path[-1])
        message = f"{key}, line {problem.line}{message.removeprefix(key)}"
    file, line, column = place or origin.of_field(root, found, manifest, problem.path)
    return Finding(
        file, line, column, problem.rule, message, problem.fix, manifest.label, found.name
    )


def _patched(found: Environment, manifest: Manifest, path: Where) -> bool:
    pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
    return any(
        operation["op"] != "test" and pointer.startswith(operation["path"])
        for patch in found.patches
        if patch.document.file in manifest.patches
        for operation in patch.operations
    )


def _in_chart(root: Path, text: Any, problem: Problem) -> tuple[str, int, int] | None:
    """Return the place of the problem's line in the file of the chart most like the text."""
    lines = {line.strip() for line in str(text).splitlines()}
    best, most = None, 0
    for path in sorted((root / "chart" / "files").rglob("*")):
        if path.suffix not in (".toml", ".json") or not path.is_file():
            continue
        own = files.read(path, root).decode("utf-8", "replace").splitlines()
        alike = sum(line.strip() in lines for line in own if line.strip())
        if alike > most and problem.text in own:
            column = len(problem.text) - len(problem.text.lstrip()) + 1
            best, most = (files.name(path, root), own.index(problem.text) + 1, column), alike
    return best
