"""Examples of what rules report, and of what they do not: tests/rules/<subject>/<rule>.yaml.

A file has two parts, `wrong` and `right`, with examples by name:

    wrong:
      misspelled-port:
        patches:
          - target: {kind: Service, name: linea-stack-besu}
            patch:
              - {op: test, path: /spec/ports/1/targetPort, value: ws}
              - {op: replace, path: /spec/ports/1/targetPort, value: wss}
        reported: |
          7:11  error  unknown-target-port  Service/linea-stack-besu in prod
            Service/linea-stack-besu forwards to port wss (TCP), but no container has that port
            → write ws

    right:
      ...

An example changes prod, or the environment that it names, by at least one of these:

- `environment`: what differs in environment.yaml; `name` is the environment's;
- `before`: objects that the base revision has, beside those that are committed;
- `values`: merged over the environment's values;
- `patches`: each like a file in patches/; they may also change the AppProject and the Application;
- `objects`: added to those of the chart.

`reported` is what `validate` prints for a wrong example, without the count at its end and without
the name of the example's own file: 7:11 is a line and column here, and `this file` means all of it.
`python -m tests.rules.examples [RULE…]` writes it, and leaves everything else as it is.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from unittest import mock

import yaml

from scripts.checks import run_rules, validation
from scripts.core import findings, json_schema, safe_files, yamlio
from scripts.core.findings import Finding, UserError
from scripts.core.yamlio import Document
from scripts.environments import environment, patches
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import applications, pipeline
from scripts.rendering.pipeline import Rendering
from scripts.rules import catalogue
from scripts.rules.rule import Problem, Rule
from scripts.rules.snapshot import Objects
from tests.conftest import EXAMPLE, ROOT
from tests.objects import ENVIRONMENTS

FOLDER = Path(__file__).parent
SCHEMA = Path(__file__).with_name("examples.schema.json")

_SETTINGS = ("AppProject", "Application")


@dataclass(frozen=True, slots=True)
class Example:
    """An example, as it is written in its rule's file."""

    rule: str
    part: str
    """wrong or right."""
    name: str
    document: Document
    """The example alone; its positions are those in the whole file."""
    in_files: bool = False
    """Whether each of its parts is taken for a file of its own, so that edits can name it."""

    @property
    def id(self) -> str:
        """Return what a test of it is called."""
        return f"{self.rule}/{self.part}/{self.name}"

    @property
    def reported(self) -> str:
        """Return what its file says is reported for it; nothing if that is not written yet."""
        return str(self.document.data.get("reported", ""))

    def parts(self, field: str) -> list[Document]:
        """Return the documents that it has in a field, each with its positions in the file."""
        if field not in self.document.data:
            return []
        found = _inside(self.document, field)
        if isinstance(found.data, list):
            parts = [_inside(found, index) for index in range(len(found.data))]
        else:
            parts = [found]
        if not self.in_files:
            return parts
        return [replace(part, file=f"{field}-{n}.yaml") for n, part in enumerate(parts)]


@dataclass(frozen=True, slots=True)
class Laid:
    """An environment with an example laid over it."""

    environment: Environment
    objects: Objects
    documents: dict[str, Document]
    """Kind/name → the document of an object that the example brings."""

    def findings(self, rule: str) -> list[Finding]:
        """Return what a rule finds in it, among the other environments as they are."""
        others = [objects(name) for name in ENVIRONMENTS if name != self.environment.name]
        found = catalogue.RULES[rule]
        among = [self.objects, *others]
        problems = [problem for _, problem in found.check(among)]
        if found.claims:
            _assert_claimed(found, among)
        made = [p for p in problems if p.manifest.label not in self.documents]
        told = self.located([(found, problem) for problem in made])
        return [*told, *(self._of_its_own(found, p) for p in problems if p not in made)]

    def located(self, problems: Sequence[tuple[Rule, Problem]]) -> list[Finding]:
        """Return problems of the chart's objects as findings."""
        with mock.patch.object(safe_files, "read", _read):
            return run_rules.located(EXAMPLE, self.environment, problems)

    def _of_its_own(self, rule: Rule, problem: Problem) -> Finding:
        """Return a problem of an object that the example brings, at its place there."""
        document = self.documents[problem.manifest.label]
        line, column = document.position(problem.path)
        return Finding(
            document.file,
            line,
            column,
            rule.id,
            problem.message,
            problem.fix,
            problem.manifest.label,
            self.environment.name,
            rule.severity,
        )


_of_files = safe_files.read


def _read(path: Path, root: Path) -> bytes:
    """Return a file of the example's environments, or of these examples, which lie over them."""
    own = ROOT / path.relative_to(EXAMPLE) if path.is_relative_to(EXAMPLE) else path
    return _of_files(path, root) if path.exists() else _of_files(own, ROOT)


@lru_cache
def loaded(name: str) -> Environment:
    """Return an environment of this repository as its files say it."""
    return environment.load(EXAMPLE, name)


@lru_cache
def rendering(name: str) -> Rendering:
    """Return an environment of this repository as it is committed."""
    return pipeline.render(EXAMPLE, name)


def _assert_claimed(rule: Rule, among: Sequence[Objects]) -> None:
    """Assert that only environments with a common claim, or each alone, decide what is found.

    validate looks at no others.
    """
    suspect = validation.conflicting({each.name: catalogue.claims(each) for each in among})
    suspect |= {each.name for each in among if any(True for _ in rule.check([each]))}
    some = [each for each in among if each.name in suspect]
    assert [*rule.check(some)] == [*rule.check(among)], rule.id


@lru_cache
def objects(name: str) -> Objects:
    """Return its objects, which are also what they were before."""
    return _objects(rendering(name))


def _objects(made: Rendering, earlier: Sequence[Manifest] = ()) -> Objects:
    (found,) = run_rules.objects(EXAMPLE, [made])
    committed = rendering(made.name)
    return replace(
        found,
        before=(*committed.manifests, *earlier),
        application_before=committed.settings[1],
        kubernetes_version_before=committed.kubernetes_version,
    )


def files() -> list[Path]:
    """Return the files with examples, sorted by subject and rule."""
    return sorted(FOLDER.rglob("*.yaml"))


def read(file: Path, root: Path = ROOT) -> list[Example]:
    """Return the examples of a file, in its order.

    Raises UserError for what is not written as this module says.
    """
    document = yamlio.load(file, root)
    wrong = json_schema.check(document, SCHEMA)
    if wrong:
        raise UserError(*wrong)
    examples = [
        Example(file.stem, part, name, _inside(_inside(document, part), name))
        for part in ("wrong", "right")
        for name in document.data[part]
    ]
    if unchanged := [one for one in examples if not one.document.data.keys() - {"reported"}]:
        message = "the example changes nothing"
        fix = "add environment, before, values, patches or objects"
        raise UserError(*(one.document.finding("no-change", [], message, fix) for one in unchanged))
    return examples


def _inside(document: Document, key: str | int) -> Document:
    """Return a part of a document as one of its own."""
    node = document.node
    if isinstance(node, yaml.MappingNode):
        (child,) = (value for name, value in node.value if name.value == key)
    else:
        assert isinstance(node, yaml.SequenceNode)
        child = node.value[key]
    return Document(document.file, document.data[key], child)


def laid(example: Example) -> Laid:
    """Return an example, laid over its environment."""
    own = example.parts("environment")
    committed = loaded(own[0].data["name"] if own else "prod")
    found = said(committed, own[0]) if own else committed
    if values := example.parts("values"):
        found = replace(found, layers=(*found.layers, *values))
    patched = tuple(_patches(example.parts("patches")))
    if patched:
        found = replace(found, patches=(*found.patches, *patched))
    return laid_over(found, example)


def laid_over(found: Environment, example: Example) -> Laid:
    """Return an environment with the objects that an example has beside those of the chart.

    found: with the patches of the example, also those of the AppProject and the Application.
    """
    brought = {
        f"{d.data['kind']}/{d.data['metadata']['name']}": d for d in example.parts("objects")
    }
    extra = [Manifest(document.data, document.file) for document in brought.values()]
    earlier = applications.arrange(
        [Manifest(d.data, d.file) for d in example.parts("before")], found
    )
    on_settings = [patch for patch in found.patches if patch.kind in _SETTINGS]
    on_objects = [patch for patch in found.patches if patch.kind not in _SETTINGS]
    committed = loaded(found.name)
    with_patches = replace(found, patches=tuple(on_objects))
    is_as_committed = with_patches == committed
    made = (
        rendering(found.name).manifests
        if is_as_committed
        else pipeline.objects(EXAMPLE, with_patches)
    )
    manifests = [*made, *applications.arrange(extra, found)]
    settings = patches.apply(pipeline.settings(with_patches, manifests), on_settings)
    return Laid(
        found,
        _objects(pipeline.without_files(found, manifests, settings), earlier),
        brought,
    )


def said(found: Environment, document: Document) -> Environment:
    """Return an environment with what an environment.yaml says."""
    data = document.data
    return replace(
        found,
        document=document,
        kubernetes_version=data.get("kubernetesVersion", found.kubernetes_version),
        namespace=data.get("namespace", found.namespace),
        zones=tuple(data.get("zones", found.zones)),
        cluster=data.get("cluster", found.cluster),
        sync=found.sync | data.get("sync", {}),
        application=data.get("application", found.application),
        given=found.given | data.get("given", {}),
        node=data.get("node", found.node),
        registries=tuple(data.get("registries", found.registries)),
    )


def _patches(documents: Sequence[Document]) -> Iterator[patches.Patch]:
    for document in documents:
        target, operations = document.data["target"], document.data["patch"]
        yield patches.Patch(target["kind"], target["name"], tuple(operations), document)


def findings_of(example: Example) -> list[Finding]:
    """Return what the example's rule finds in it."""
    return laid(example).findings(example.rule)


def shown(found: Sequence[Finding], file: str) -> str:
    """Return findings as `reported` has them, of examples in the file."""
    stream = io.StringIO()
    findings.write(found, "text", stream)
    text = "".join(stream.getvalue().splitlines(keepends=True)[:-1])
    text = re.sub(rf"^{re.escape(file)}:", "", text, flags=re.MULTILINE)
    return re.sub(rf"^{re.escape(file)} ", "this file ", text, flags=re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Block:
    """The lines of `reported`, from `start` (counted from 0) up to `end`, and what they become."""

    start: int
    end: int
    indent: str
    found: list[Finding]

    def lines(self, file: str) -> list[str]:
        text = [f"{self.indent}  {line}" for line in shown(self.found, file).splitlines()]
        return [f"{self.indent}reported: |", *text]


def written(text: str, found: Sequence[tuple[Example, list[Finding]]]) -> str:
    """Return the text of a file with what is reported for its wrong examples.

    found: each of them with what its rule finds in it, at the lines that the text has.
    """
    if not found:
        return text
    lines, file = text.splitlines(), found[0][0].document.file
    blocks = [_block(lines, example, own) for example, own in found]
    growths = [(b.start, len(b.lines(file)) - (b.end - b.start)) for b in blocks]

    def moved(finding: Finding) -> Finding:
        above = sum(growth for start, growth in growths if start < finding.line)
        return replace(finding, line=finding.line + above) if finding.file == file else finding

    for block in sorted(blocks, key=lambda block: block.start, reverse=True):
        now = replace(block, found=[moved(finding) for finding in block.found])
        lines[block.start : block.end] = now.lines(file)
    return "\n".join(lines) + "\n"


def _block(lines: Sequence[str], example: Example, found: list[Finding]) -> _Block:
    """Return where `reported` of an example stands, or is to stand: at its end."""
    first, column = example.document.position([])
    indent = " " * (column - 1)
    if "reported" not in example.document.data:
        end = _end(lines, first - 1, column - 1)
        return _Block(end, end, indent, found)
    line, column = example.document.position(["reported"])
    return _Block(line - 1, _end(lines, line - 1, column), indent, found)


def _end(lines: Sequence[str], first: int, indent: int) -> int:
    """Return where that ends which begins in a line and is indented so far in all later ones."""
    last = first
    for index in range(first + 1, len(lines)):
        code = lines[index].lstrip()
        if code and len(lines[index]) - len(code) < indent:
            break
        if code:
            last = index
    return last + 1


def main(rules: Sequence[str]) -> int:
    """Write what is reported for the wrong examples of some rules, or of all."""
    by_rule = {file.stem: file for file in files()}
    unknown = [rule for rule in rules if rule not in by_rule]
    silent = list[str]()
    for rule in [rule for rule in rules or by_rule if rule in by_rule]:
        every = [(one, findings_of(one)) for one in read(by_rule[rule]) if one.part == "wrong"]
        silent += [one.id for one, found in every if not found]
        text = by_rule[rule].read_text("utf-8")
        by_rule[rule].write_text(written(text, [one for one in every if one[1]]), "utf-8")
    for rule in unknown:
        print(f"{rule}: no file in tests/rules/ has this name", file=sys.stderr)
    for name in silent:
        print(f"{name}: nothing is reported; change the example, or the rule", file=sys.stderr)
    return 1 if unknown or silent else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
