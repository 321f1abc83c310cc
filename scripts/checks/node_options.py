"""Check the options of Besu and Maru against tables of the options that upstream knows.

A pod names everything: the program of each container, its arguments and variables, and the files
that those name. A file is followed through the container's mounts and the pod's volumes to the
ConfigMap that contains it. Maru only warns about an unknown key and uses a default instead
(loadConfigs in ConfigLoaderHelper.kt), so without this check a typo changes how the chain behaves.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from scripts.chain import node_config
from scripts.chain.node_config import Option
from scripts.checks import genesis_files, option_tables
from scripts.checks.option_tables import BESU_GENESIS, BESU_OPEN, MARU, MARU_GENESIS
from scripts.core import advice, json_schema, paths, tomlio
from scripts.core.findings import Finding, Severity, UserError
from scripts.core.yamlio import Document
from scripts.environments import image_lock
from scripts.environments.environment import merge
from scripts.kubernetes import containers, volumes
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules import chart_values

MARU_OPTIONS = ("config", "genesis-file", "help", "maru-genesis-file", "network", "version")
"""Options of its command line: maru/app/src/main/kotlin/maru/app/MaruAppCli.kt."""

BESU_VARIABLES = ("BESU_OPTS", "BESU_USER_NAME", "BESU_USING_JEMALLOC")
"""Variables of its start scripts, app/src/main/scripts/. BESU_<OPTION> is read by
app/src/main/java/org/hyperledger/besu/cli/util/EnvironmentVariableDefaultProvider.java."""

OVERRIDE = "config.override."
"""Prefix of a variable that overrides a key, with its __ replaced by dots: Hoplite 2.9,
EnvironmentVariableOverridePropertySource."""


@dataclass(frozen=True, slots=True, order=True)
class InvalidOption:
    """An invalid option, in one place of one object."""

    kind: str
    name: str
    path: Where
    """To the field; in a text of several lines, `line` says which line."""
    line: int
    """1-based; 0 if the field has no lines."""
    text: str
    """The line itself."""
    rule: str
    message: str
    fix: str
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True)
class Text:
    """A file in a ConfigMap."""

    config_map: str
    key: str
    text: str

    @property
    def file(self) -> str:
        """Return the name of its document, by which a finding is assigned to it."""
        return f"{self.config_map}/{self.key}"


@dataclass(frozen=True, slots=True)
class _Program:
    """A container that runs Besu or Maru, and the files that it can read."""

    container: Container
    config_maps: Mapping[str, Manifest]
    genesis: dict[Text, Document]
    """The genesis files of all containers that run the program."""

    @property
    def tag(self) -> str:
        """Return the tag of its image; empty if it has none."""
        return image_lock.parse(str(self.container.get("image") or "")).tag

    @property
    def besu(self) -> Path:
        """Return the table of the options of Besu in this image."""
        return option_tables.BESU[option_tables.besu(self.tag)]

    def problem(self, path: Where, rule: str, message: str, fix: str) -> InvalidOption:
        """Return an invalid option at a path in the container's workload."""
        manifest = self.container.workload.manifest
        return InvalidOption(manifest.kind, manifest.name, path, 0, "", rule, message, fix)

    def text(self, path: Where) -> str:
        """Return the text at a path in the container's workload."""
        return str(self.container.workload.manifest.get(*path))

    def variables(self) -> Iterator[tuple[Where, str, str | None]]:
        """Yield path, name and value of each variable; None for a value that is not known here."""
        for path, variable in self.container.variables():
            if isinstance(name := variable.get("name"), str):
                yield path, name, containers.known_value(variable)


def check(manifests: Sequence[Manifest]) -> list[InvalidOption]:
    """Return the options in these manifests that Besu and Maru reject or ignore; sorted."""
    found = set[InvalidOption]()
    maps = {manifest.name: manifest for manifest in manifests if manifest.kind == "ConfigMap"}
    chains: dict[str, dict[Text, Document]] = {node_config.BESU: {}, node_config.MARU: {}}
    checks = {node_config.BESU: _besu, node_config.MARU: _maru}
    for container in (one for each in manifests for one in containers.of_object(each)):
        if runs := node_config.program(container):
            found.update(checks[runs](_Program(container, maps, chains[runs])))
    found.update(_other_chain(chains[node_config.BESU], chains[node_config.MARU]))
    return sorted(found, key=lambda p: (p.kind, p.name, p.line, [*map(str, p.path)], p.message))


def _without_table(program: _Program, found: tuple[str, str] | None) -> Iterator[InvalidOption]:
    """Yield a warning if the options are checked against the table of another version."""
    if found:
        path = (*program.container.path, "image")
        message, fix = found
        if key := chart_values.image_key(program.container):
            fix = fix.replace("tag:", f"{key}:", 1)
        problem = program.problem(path, "options-of-another-version", message, fix)
        yield replace(problem, severity=Severity.WARNING)


def _besu(program: _Program) -> Iterator[InvalidOption]:
    yield from _without_table(program, option_tables.besu_missing(program.tag))
    known = json_schema.read(program.besu)["properties"]
    options = node_config.options(program.container.words())
    for option in options:
        if option.name in known:
            yield from _besu_value(program, option.path, option.name, option.value, "--")
        elif other := option_tables.besu_with(option.name, program.tag):
            yield program.problem(option.path, "unknown-argument", *other)
        elif not _of_plugin(program, option.name):
            message = f"Besu has no option --{option.name}, and does not start"
            every = [f"--{name}" for name in known]
            fix = _nearest(f"--{option.name}", every, program.besu, program.text(option.path))
            bare, _, given = option.name.partition(" ")
            if bare in known and given:
                fix = advice.write_value(f"--{bare}={given.strip()}")
            yield program.problem(option.path, "unknown-argument", message, fix)
    several = [each for each, form in known.items() if "array" in form["type"]]
    yield from _without_option(program, program.container.words(), known, several)
    variables = {f"BESU_{name.replace('-', '_').upper()}": name for name in known}
    for path, variable, value in program.variables():
        if variable in variables:
            where = (*path, "value")
            yield from _besu_value(program, where, variables[variable], value, f"{variable}: ")
        elif variable.startswith("BESU_") and variable not in BESU_VARIABLES:
            named = variable.removeprefix("BESU_").lower().replace("_", "-")
            if _of_plugin(program, named):
                continue
            message = f"Besu ignores {variable}: it has no such option"
            fix = _nearest(variable, [*variables, *BESU_VARIABLES], program.besu, variable)
            yield program.problem((*path, "name"), "unknown-variable", message, fix)
    for option in options:
        if option.value and option.name == "config-file":
            yield from _besu_files(program, option)
        elif option.value and option.name == "genesis-file":
            yield from _genesis(program, option, BESU_GENESIS)


_DASHES = re.compile("^[\u2010-\u2015\u2212]-?")
"""What a word processor writes for --."""


def _without_option(
    program: _Program, words: Sequence[tuple[Where, str]], known: Iterable[str], several: list[str]
) -> Iterator[InvalidOption]:
    """Yield the arguments that are neither options nor values; several options take more values."""
    before = ""
    for path, word in words:
        is_value = before.startswith("--") and "=" not in before
        if "args" in path and word and not word.startswith("-") and not is_value:
            bare = _DASHES.sub("", word)
            name = bare.partition("=")[0].split()[0]
            message = f"the argument {word} does not begin with --, and is not the value of the"
            message += " option before it, so the program does not start"
            fix = "write one argument per item, beginning with --, for example --logging=INFO"
            if name in known:
                fix, word = advice.write_value(f"--{bare}"), f"--{bare}"
            yield program.problem(path, "unknown-argument", message, fix)
        if word.startswith("-") or not is_value or before.removeprefix("--") not in several:
            before = word


def _of_plugin(program: _Program, name: str) -> bool:
    """Return whether an option may belong to a plugin, which Besu's own image does not contain."""
    return name.startswith("plugin-") and program.container.image != "besu"


def _besu_value(
    program: _Program, path: Where, name: str, value: str | None, prefix: str
) -> Iterator[InvalidOption]:
    """Yield why a value of an option is invalid; a switch without a value is on."""
    types = json_schema.read(program.besu)["properties"][name]["type"]
    if value is None and types == "boolean":
        value = "true"
    if value is None and "array" not in types:
        message = f"--{name} has no value, and Besu does not start"
        fix = f"write --{name}=VALUE, or remove --{name}"
        yield program.problem(path, "unknown-argument", message, fix)
    if value is None or containers.references(value):
        return
    document = Document("", {name: _typed(value, types)}, None)
    for finding in _besu_findings(program, document):
        # The value of an argument or a variable has no quotes.
        fix = finding.fix.removesuffix(" without quotes")
        if path[-1] == "value":  # of a variable, which is always a string
            fix = _SCALAR.sub(r'write "\1"', fix)
        yield program.problem(path, finding.rule, f"{prefix}{finding.message}", fix)


def _typed(value: str, types: str | list[str]) -> Any:
    """Return a text as the first of the types that it matches; otherwise unchanged."""
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


def _besu_files(program: _Program, option: Option) -> Iterator[InvalidOption]:
    known = json_schema.read(program.besu)["properties"]
    texts, problems = _read(program, option.path, option.value or "")
    yield from problems
    for text in texts:
        try:
            # Besu reads the keys only, and ignores the tables they are in.
            document = tomlio.flat(tomlio.toml(text.text, text.file))
        except UserError as error:
            yield from _in_text(error.findings, [text])
            continue
        data, findings = {}, list[Finding]()
        for key, value in document.data.items():
            other = None if key in known else option_tables.besu_with(key, program.tag)
            if other:
                findings.append(document.finding("unknown-key", [key], *other))
            elif key in known or not _of_plugin(program, key):
                data[key] = value
        findings += _besu_findings(program, replace(document, data=data))
        yield from _in_text(findings, [text], program.besu)


def _besu_findings(program: _Program, document: Document) -> list[Finding]:
    """Return which options in a document Besu does not know, or would open the node with."""
    return [*json_schema.check(document, program.besu), *json_schema.check(document, BESU_OPEN)]


def _maru(program: _Program) -> Iterator[InvalidOption]:
    yield from _without_table(program, option_tables.maru_missing(program.tag))
    words = program.container.words()
    jar = next(i for i, (_, w) in enumerate(words) if PurePosixPath(w).name == "maru.jar")
    options = node_config.options(words[jar + 1 :])
    names = {option.name for option in options}
    for option in options:
        if option.name not in MARU_OPTIONS:
            message = f"Maru has no option --{option.name}, and does not start"
            every = [f"--{name}" for name in MARU_OPTIONS]
            fix = _nearest(f"--{option.name}", every, MARU, program.text(option.path))
            yield program.problem(option.path, "unknown-argument", message, fix)
    yield from _without_option(program, words[jar + 1 :], MARU_OPTIONS, ["config"])
    if not names & {"genesis-file", "maru-genesis-file", "network"}:
        message = "Maru has no genesis file and no network, so it joins Linea's mainnet"
        fix = "add the argument --genesis-file=/genesis/maru.json"
        yield program.problem(words[jar][0], "missing-argument", message, fix)
    if "config" not in names:
        message, fix = (
            "Maru has no configuration file, and does not start",
            "add the argument --config=/config/config.toml",
        )
        yield program.problem(words[jar][0], "missing-argument", message, fix)
    for path, variable, value in program.variables():
        yield from _override(program, path, variable, value)
    yield from _maru_files(program, options)
    for option in options:
        if option.value and option.name in ("genesis-file", "maru-genesis-file"):
            yield from _genesis(program, option, MARU_GENESIS)


def _maru_files(program: _Program, options: Iterable[Option]) -> Iterator[InvalidOption]:
    """Yield what is wrong in the files of --config; a later file overrides an earlier one."""
    groups, complete = list[Sequence[Text]](), True
    for option in options:
        if option.name != "config" or not option.value:
            continue
        for file in option.value.split(","):
            texts, problems = _read(program, option.path, file)
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
                    if paths.has(document.data, path[:length]):
                        return document, path
            return documents[0], path

        findings = json_schema.check_merged(merged, MARU, locate)
        # A file that is not in git may have the missing key.
        yield from _in_text((f for f in findings if complete or f.rule != "missing-key"), together)


def _override(
    program: _Program, path: Where, variable: str, value: str | None
) -> Iterator[InvalidOption]:
    """Yield what is wrong with a variable that overrides a key of Maru's configuration."""
    dotted = variable.replace("__", ".")
    if not dotted.lower().startswith(OVERRIDE):
        return
    if not dotted.startswith(OVERRIDE):
        right = OVERRIDE.replace(".", "__") + dotted[len(OVERRIDE) :].replace(".", "__")
        message = f"Maru ignores {variable}: its prefix must be in lower case"
        yield program.problem((*path, "name"), "unknown-variable", message, f"write {right}")
        return
    table, names = json_schema.read(MARU), list[str]()
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
            message = f"Maru ignores {variable}: its configuration has no key {where}"
            fix = _nearest(part, known.values(), MARU)
            if fix.startswith("write "):
                end = fix.removeprefix("write ").replace("-", "_")
                begin = "__".join([*OVERRIDE.rstrip(".").split("."), *names]).replace("-", "_")
                fix = f"write {begin}__{end}"
            yield program.problem((*path, "name"), "unknown-variable", message, fix)
            return
    table = _resolved(table)
    if value is None or "type" not in table:
        return
    data: Any = _typed(value, table["type"])
    for name in reversed(names):
        data = {name: data}
    for finding in json_schema.check(Document("", data, None), MARU):
        if finding.rule != "missing-key":
            message = f"{variable}: {finding.message}"
            fix = finding.fix.removesuffix(" without quotes")
            yield program.problem((*path, "value"), finding.rule, message, fix)


def _resolved(table: dict[str, Any]) -> dict[str, Any]:
    """Return the part of Maru's schema that a $ref points to; without a $ref, the part itself."""
    reference = table.get("$ref")
    if not isinstance(reference, str):
        return table
    found = json_schema.read(MARU)
    for key in reference.removeprefix("#/").split("/"):
        found = found[key]
    return found


def _normal(name: str) -> str:
    """Return a key in the form in which Hoplite compares keys."""
    return name.replace("-", "").replace("_", "").lower()


def _genesis(program: _Program, option: Option, form: Path) -> Iterator[InvalidOption]:
    texts, problems = _read(program, option.path, option.value or "")
    yield from problems
    for text in texts:
        try:
            document = tomlio.from_json(text.text, text.file)
        except UserError as error:
            yield from _in_text(error.findings, [text])
            continue
        program.genesis[text] = document
        yield from _in_text(genesis_files.check(document, form), [text], form)


def _other_chain(
    besu: Mapping[Text, Document], maru: Mapping[Text, Document]
) -> Iterator[InvalidOption]:
    """Yield the genesis files of Maru with another chain id than Besu's."""
    for theirs, document in besu.items():
        other = paths.get(document.data, ["config", "chainId"])
        for text, own in maru.items():
            chain = paths.get(own.data, ["chainId"])
            if isinstance(chain, int) and isinstance(other, int) and chain != other:
                message = f"chainId is {chain}, but {other} in {theirs.key}: they must be the same"
                fix = (
                    f"write {other} in {text.key}, too; if the chain has run with {chain}, write "
                    f"{chain} in {theirs.key}"
                )
                yield from _in_text([own.finding("other-chain", ["chainId"], message, fix)], [text])


def _nearest(name: str, known: Iterable[str], table: Path, whole: str = "") -> str:
    """Return the fix for an unknown name; whole: the text in which it is."""
    near = difflib.get_close_matches(name, list(known), 1)
    return advice.in_text(f"write {near[0]}", whole, name, near[0]) if near else _listed(table)


def _listed(table: Path) -> str:
    return f"remove it; scripts/checks/{table.name} lists all valid names"


_UNQUOTED = re.compile(r"^write (?!true$|false$)([A-Za-z][A-Za-z0-9_-]*)$")
"""A fix with a string as YAML has it, which needs quotes in TOML and JSON."""


_SCALAR = re.compile(r"^write (true|false|-?[0-9.]+)$")
"""A fix with a boolean or a number as YAML has it, which needs quotes in a string."""


def _in_text(
    findings: Iterable[Finding], texts: Iterable[Text], table: Path = MARU
) -> Iterator[InvalidOption]:
    """Yield findings in documents as problems of the ConfigMaps that contain them."""
    by_file = {text.file: text for text in texts}
    for finding in findings:
        text = by_file[finding.file]
        lines = text.text.split("\n")
        line = lines[finding.line - 1] if 0 < finding.line <= len(lines) else ""
        fix = _listed(table) if finding.fix == "remove it" else finding.fix
        if finding.rule == "wrong-value":
            fix = _UNQUOTED.sub(r'write "\1"', fix)
        message = f"{text.key}: {finding.message}"
        path = ("data", text.key)
        yield InvalidOption(
            "ConfigMap", text.config_map, path, finding.line, line, finding.rule, message, fix
        )


def _read(program: _Program, path: Where, file: str) -> tuple[list[Text], list[InvalidOption]]:
    """Return the texts that a container reads at a path, if the environment has its ConfigMap."""
    found = volumes.mounted(program.container, file)
    volume = volumes.of_mount(program.container.workload, found.mount) if found else None
    missing: tuple[Manifest, str] | None = None
    for source in reversed(volumes.sources(volume) if volume else []):
        manifest = program.config_maps.get(source.name)
        if found is None or source.kind != "ConfigMap" or manifest is None:
            continue
        keys = volumes.keys(manifest) or frozenset()
        pattern = _pattern(program.container, found.inner)
        own = source.files({("ConfigMap", source.name): keys}) or {}
        wanted = [key for name, key in own.items() if re.fullmatch(pattern, name)]
        if keys.intersection(wanted):
            data = ((key, manifest.get("data", key)) for key in wanted)
            return [Text(source.name, key, one) for key, one in data if isinstance(one, str)], []
        if wanted or source.items is None:
            missing = manifest, wanted[0] if wanted else found.inner
    if missing is None:
        return [], []
    config_map, key = missing
    message = f"{file} does not exist in the container: {config_map.label} has no {key}"
    near = difflib.get_close_matches(key, sorted(volumes.keys(config_map) or ()), 1)
    fix = f"write {near[0]}" if near else f"add {key} to {config_map.label}, or write another path"
    return [], [program.problem(path, "missing-file", message, fix)]


def _pattern(container: Container, file: str) -> str:
    """Return a regular expression for a path after Kubernetes has expanded its variables."""
    parts = re.split(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", file)
    pods = [one.get("name") for _, one in container.variables() if containers.is_pod_name(one)]
    pod = re.escape(container.workload.manifest.name) + "-[-a-z0-9]+"
    return "".join(
        re.escape(part) if index % 2 == 0 else pod if part in pods else ".+"
        for index, part in enumerate(parts)
    )
