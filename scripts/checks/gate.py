"""The gate: what a pull request must pass runs in CI, and its failure stops the merge.

Sources: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax (on,
permissions, if, continue-on-error, strategy.matrix.exclude), and
https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
(the last pattern that matches decides; one without an owner leaves the files to everyone).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from scripts.core import paths, yamlio
from scripts.core.findings import Finding
from scripts.core.yamlio import Document

_FOLDER = ".github/workflows"
_OWNERS = ".github/CODEOWNERS"
_NOXFILE = "noxfile.py"
_ID = "weakened-gate"
_OWNED = (
    "argocd/root.yaml",
    "argocd/projects/prod.yaml",
    "base/values.yaml",
    "base/profiles/production.yaml",
    "chart/values.yaml",
    "chart/files/besu/start.sh",
    "chart/templates/besu/statefulset.yaml",
    "overlays/prod/values.yaml",
    "overlays/prod/network.yaml",
    ".github/CODEOWNERS",
    ".github/workflows/pull-request.yaml",
    _NOXFILE,
    "scripts/__main__.py",
    "tools/python/pipeline.txt",
)
"""A file of each part that decides what production or CI runs."""
_CASE = re.compile(r"matrix\.(\w+)\s*(==|!=)\s*'([^']*)'")
_EVENT = re.compile(r"github\.event_name\s*(==|!=)\s*'([^']*)'")
_COMPARED = re.compile(r"\$\{(\w+):\+(?:--changed )?--against")
"""A script that compares with the base only if a variable is set."""
_IGNORED = re.compile(r"\|\|\s*(true|:|exit 0|echo\b)|^\s*set \+e|;\s*(true|:|exit 0)\s*$", re.M)


class _Loader(yaml.CSafeLoader):
    """Reads YAML 1.2 as GitHub does: on is a text, not true."""


_Loader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0] != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of a job that a pull request starts, for one value of the matrix."""

    document: Document
    path: tuple[str | int, ...]
    run: str
    excuse: str
    """Why its failure, or the step itself, does not count; empty if it counts."""
    field: tuple[str | int, ...]
    """The field with the excuse."""


def check(root: Path, _: Sequence[Any] = ()) -> list[Finding]:
    """Return what weakens the gate in workflows and CODEOWNERS; nothing without workflows."""
    files = sorted((root / _FOLDER).glob("*.y*ml"))
    if not files:
        return []
    documents, findings = list[Document](), list[Finding]()
    for file in files:
        name, text = file.relative_to(root).as_posix(), file.read_text("utf-8", "replace")
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            documents.append(Document(name, loader.construct_document(node), node))
        except yaml.MarkedYAMLError as error:
            findings.append(yamlio.syntax(error, name, text))
    workflows = [each for each in documents if isinstance(each.data, dict)]
    if not findings:
        findings += _sessions(root, workflows)
        findings += _closing(workflows)
    findings += [found for each in workflows for found in _permissions(each)]
    return findings + list(_owners(root))


def _sessions(root: Path, workflows: Sequence[Document]) -> Iterator[Finding]:
    """Yield a finding for each session of bare nox that no pull request has to pass."""
    gates = [each for each in workflows if "pull_request" in _triggers(each)]
    for session in _wanted(root):
        steps = [step for each in gates for step in _steps(each, session)]
        counted = [step for step in steps if not step.excuse]
        if counted:
            yield from _unjoined(gates, session, counted)
            continue
        if steps:
            step = min(steps, key=lambda each: _is_on_purpose(each, session))
            message = f"a pull request can be merged without nox -s {session}: {step.excuse}"
            fix = f"remove {step.field[-1]} here"
            if step.field[-1] == "run":
                fix = "write only the command, so that its exit code is that of the step"
                if "--against" in step.excuse:
                    fix = f'write nox -s {session} -- --format github ${{BASE:+--against "$BASE"}}'
                elif "is not set" in step.excuse:
                    fix = f"add env: {{BASE: {_BASE}}} to the step"
            yield step.document.finding(_ID, list(step.field), message, fix)
            continue
        document, path = _place(gates, workflows)
        message = (
            f"no workflow of pull requests runs nox -s {session}: a pull request can be merged"
        )
        message += " without it"
        fix = f"add {session} to strategy.matrix.session"
        if not path:
            fix = f"restore {_FOLDER}/pull-request.yaml from git"
        if document not in gates:
            fix = "add pull_request to on in this workflow"
        yield document.finding(_ID, list(path), message, fix)


_SHARD = re.compile(r"\s--shard\b")


def _unjoined(gates: Sequence[Document], session: str, steps: Sequence[_Step]) -> Iterator[Finding]:
    """Yield a finding if a session runs in shards only, and no job joins what they find."""
    joins = [step for each in gates for step in _steps(each, "join") if not step.excuse]
    named = re.compile(rf"\b{re.escape(session)}\b")
    if all(_SHARD.search(step.run) for step in steps) and not any(
        named.search(step.run) for step in joins
    ):
        step = steps[0]
        message = (
            f"a pull request can be merged without what nox -s {session} finds across environments:"
            " no job joins its shards"
        )
        fix = f"add a step that runs nox -s join on the reports of {session}, or remove --shard"
        yield step.document.finding(_ID, [*step.path, "run"], message, fix)


def _closing(workflows: Sequence[Document]) -> Iterator[Finding]:
    """Yield a finding if the job that branch protection names may be green after a failure."""
    for each in workflows:
        jobs = each.data.get("jobs")
        for name, job in jobs.items() if isinstance(jobs, dict) else ():
            if not isinstance(job, dict) or "toJSON(needs)" not in str(job.get("steps")):
                continue
            if job.get("continue-on-error") not in (None, False):
                message = f"the failure of the job {name} is ignored, so that it always passes"
                path = ["jobs", name, "continue-on-error"]
                yield each.finding(_ID, path, message, "remove continue-on-error here")
            elif str(job.get("if")).strip("${} ") != "always()":
                message = f"GitHub skips the job {name} if another one fails, and a skipped job"
                message += " counts as passed"
                yield each.finding(_ID, ["jobs", name, "if"], message, "write if: always()")


_BASE = "${{ github.event_name == 'pull_request' && 'HEAD^1' || '' }}"
"""The base of a pull request, which the checkout of its merge commit has as the first parent."""


def _is_on_purpose(step: _Step, session: str) -> bool:
    """Return whether a condition that leaves out a session names other sessions."""
    named = [match[2] for match in _CASE.findall(step.excuse)]
    return step.field[-1] == "if" and bool(named) and session not in named


def _wanted(root: Path) -> list[str]:
    """Return the sessions that nox runs without arguments."""
    try:
        tree = ast.parse((root / _NOXFILE).read_text("utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return []
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "nox.options.sessions":
            chosen = [str(name) for name in ast.literal_eval(node.value)]
            return [*chosen, *(name for name in _defined(tree) if name not in chosen)]
    return []


_ALWAYS = ("check", "validate", "admission", "policy")
"""Sessions that a pull request must pass, also if bare nox does not run them."""


def _defined(tree: ast.Module) -> list[str]:
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return [name for name in _ALWAYS if name in functions]


def _triggers(document: Document) -> dict[str, Any]:
    """Return event → its filters."""
    on = document.data.get("on")
    if isinstance(on, str):
        return {on: {}}
    if isinstance(on, list):
        return {str(event): {} for event in on}
    return {str(event): value or {} for event, value in (on or {}).items()}


def _place(
    gates: Sequence[Document], workflows: Sequence[Document]
) -> tuple[Document, tuple[str | int, ...]]:
    """Return where a session is missing: a matrix of sessions, or the first workflow."""
    for document in (*gates, *workflows):
        for name, job in _jobs(document):
            path = ("jobs", name, "strategy", "matrix", "session")
            if paths.get(job, path[2:]) is not None:
                return document, path
    return (gates or workflows)[0], ()


def _jobs(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    jobs = document.data.get("jobs")
    for name, job in jobs.items() if isinstance(jobs, dict) else ():
        if isinstance(job, dict):
            yield str(name), job


def _steps(document: Document, session: str) -> Iterator[_Step]:
    """Yield the steps that run a session, each with why it does not count."""
    filters = _triggers(document)["pull_request"]
    shared = document.data.get("env")
    for name, own in _jobs(document):
        job = own | {"env": {**(shared or {}), **(own.get("env") or {})}}
        case = _case(job, session)
        steps = job.get("steps")
        for index, step in enumerate(steps if isinstance(steps, list) else ()):
            if not isinstance(step, dict):
                continue
            run = str(step.get("run", ""))
            if not _runs(run, step, session, case):
                continue
            top: tuple[str | int, ...] = ("jobs", name)
            path = (*top, "steps", index)
            excuse, field = _excuse(filters, job, step, session, case)
            place = {"on": ("on", "pull_request"), "job": top, "step": path}
            yield _Step(
                document, path, run, excuse, (*place[field[0]], *field[1:]) if excuse else path
            )


def _case(job: dict[str, Any], session: str) -> str:
    """Return the key of the matrix that has a session as a value; empty if none has it."""
    matrix = paths.get(job, ["strategy", "matrix"])
    for key, values in matrix.items() if isinstance(matrix, dict) else ():
        if isinstance(values, list) and session in values:
            excluded = matrix.get("exclude")
            gone = [each.get(key) for each in excluded or () if isinstance(each, dict)]
            return "" if session in gone else str(key)
    return ""


_NOX = r"^\s*(?:python[0-9.]* -m )?nox"
"""A line of a script that is the command: after `if !`, its failure would not count."""
_CODE = re.compile(rf"{_NOX}\b|\b(git clone|gh pr checkout|gh repo clone)\b", re.M)


def _runs(run: str, step: dict[str, Any], session: str, case: str) -> bool:
    """Return whether a step runs a session."""
    if not case and _CASE.search(str(step.get("if", ""))):
        return False  # the matrix never has the value
    named = rf"{_NOX}\b[^\n]*\s(-s|--sessions?|-e)[= ]+[\"']?"
    if re.search(rf"{named}{re.escape(session)}\b", run, re.M):
        return True
    variables = step.get("env")
    of_matrix = [
        key
        for key, value in (variables if isinstance(variables, dict) else {}).items()
        if case and re.fullmatch(rf"\${{{{\s*matrix\.{case}\s*}}}}", str(value))
    ]
    names = "|".join(map(re.escape, of_matrix))
    if re.search(rf"{_NOX}\s*$", run, re.M):
        return True
    return bool(names and re.search(rf"{named}\$\{{?({names})\b", run, re.M))


def _excuse(
    filters: Any, job: dict[str, Any], step: dict[str, Any], session: str, case: str
) -> tuple[str, tuple[str, ...]]:
    """Return why a step does not count, and the field that says so, below on, job or step."""
    for field in ("paths", "paths-ignore", "branches-ignore"):
        if isinstance(filters, dict) and field in filters:
            return f"the filter {field} leaves out pull requests", ("on", field)
    types = filters.get("types") if isinstance(filters, dict) else None
    if isinstance(types, list) and "synchronize" not in types:
        return "a later push to the pull request does not start the workflow", ("on", "types")
    for where, part in (("job", job), ("step", step)):
        if part.get("continue-on-error") not in (None, False):
            return f"the failure of the {where} is ignored", (where, "continue-on-error")
        if not _is_true(part.get("if"), session, case):
            return f"the {where} runs only on the condition {part.get('if')}", (where, "if")
    run = str(step.get("run", ""))
    if found := _IGNORED.search(run):
        return f"its script goes on after a failure ({found[0].strip()})", ("step", "run")
    if session in ("validate", "admission"):
        if "--against" not in run:
            return "it does not compare with the base (--against)", ("step", "run")
        variable = _COMPARED.search(run)
        if variable and not any(variable[1] in (part.get("env") or {}) for part in (job, step)):
            return f"it does not compare with the base: {variable[1]} is not set", ("step", "run")
    return "", ()


def _is_true(condition: Any, session: str, case: str) -> bool:
    """Return whether a condition is true in a pull request, for a session of the matrix."""
    if condition is None or condition is True:
        return True
    text = str(condition).strip().removeprefix("${{").removesuffix("}}").strip()
    return any(_are_true(part, session, case) for part in text.split("||"))


def _are_true(text: str, session: str, case: str) -> bool:
    """Return whether conditions that && joins are true in a pull request."""
    for part in text.split("&&"):
        atom = part.strip()
        if match := _CASE.fullmatch(atom):
            key, operator, value = match.groups()
            if key != case or (value == session) is (operator == "!="):
                return False
        elif match := _EVENT.fullmatch(atom):
            if (match[2] == "pull_request") is (match[1] == "!="):
                return False
        elif atom not in ("true", "always()", "success()", "!cancelled()"):
            return False
    return True


def _permissions(document: Document) -> Iterator[Finding]:
    """Yield a finding where code of a pull request may get a token that writes."""
    triggers = _triggers(document)
    if "pull_request_target" in triggers:
        message = "pull_request_target runs with the secrets of this repository and a token that"
        message += " may write: a pull request from a fork could use them"
        place: paths.ValuePath = ["on", "pull_request_target"]
        yield document.finding(_ID, place, message, "write pull_request instead")
    rights = document.data.get("permissions")
    if rights is None:
        message = "the workflow has no permissions: its token may write if the repository's default"
        message += " is to write"
        yield document.finding(_ID, [], message, "add permissions: {contents: read}")
    elif wide := _writing(rights):
        message = f"the token of all jobs may write ({wide}): code of a pull request could use it"
        fix = "write permissions: {contents: read}, and the right in the job that needs it"
        yield document.finding(_ID, ["permissions"], message, fix)
    for name, job in _jobs(document):
        wide = _writing(job.get("permissions"))
        if wide and _runs_code(job):
            message = f"the job {name} runs code of this repository with a token that may write"
            message += f" ({wide}): a pull request could change what it does"
            fix = "write permissions: {contents: read}, and give the right to a job of its own that"
            fix += " checks out nothing"
            yield document.finding(_ID, ["jobs", name, "permissions"], message, fix)


def _writing(rights: Any) -> str:
    """Return the rights to write as a list in words; empty if there are none."""
    if isinstance(rights, str):
        return rights if rights == "write-all" else ""
    if not isinstance(rights, dict):
        return ""
    return ", ".join(f"{key}: write" for key, value in rights.items() if value == "write")


def _runs_code(job: dict[str, Any]) -> bool:
    steps = job.get("steps")
    return any(
        isinstance(step, dict)
        and (
            str(step.get("uses", "")).startswith(("actions/checkout@", "./"))
            or _CODE.search(str(step.get("run")))
        )
        for step in (steps if isinstance(steps, list) else ())
    )


def _owners(root: Path) -> Iterator[Finding]:
    """Yield a finding for each part that decides what runs, and has no code owner."""
    try:
        text = (root / _OWNERS).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        message = "the file is missing: anyone with write access may approve a change of production"
        yield Finding(_OWNERS, 0, 0, _ID, message, f"restore {_OWNERS} from git")
        return
    lines = [
        (number, words)
        for number, line in enumerate(text.splitlines(), 1)
        if (words := line.partition("#")[0].split())
    ]
    for path in _OWNED:
        if not (root / path).exists():
            continue
        matching = [(number, words) for number, words in lines if _matches(words[0], path)]
        number, words = matching[-1] if matching else (0, [])
        if words[1:]:
            continue
        part = path if "/" not in path else f"{path.rpartition('/')[0].partition('/')[0]}/"
        if path.startswith("overlays/"):
            part = path.rpartition("/")[0] + "/"
        message = f"/{part} has no code owner: anyone with write access may approve a change of it"
        fix = f"add the line /{part} @<owner> at the end of {_OWNERS}"
        yield Finding(_OWNERS, number, 1 if number else 0, _ID, message, fix)


def _matches(pattern: str, path: str) -> bool:
    """Return whether a pattern of CODEOWNERS matches a file: as in .gitignore, without negation."""
    anchored = "/" in pattern.rstrip("/")
    plain = pattern.strip("/")
    folders = ["/".join(path.split("/")[:count]) for count in range(1, path.count("/") + 2)]
    if pattern.endswith("/"):
        folders.remove(path)
    if anchored:
        return any(fnmatchcase(each, plain) for each in folders)
    return any(fnmatchcase(each.rpartition("/")[2], plain) for each in folders)
