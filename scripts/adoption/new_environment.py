"""Make an environment like another one: its own namespace, hosts, chain and private files.

Everything appears or nothing: after an error or Ctrl-C, the folder, the private keys and the
rendered files of the new environment are removed again. None of them existed before.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts.adoption import environment_files
from scripts.adoption.environment_files import SETTINGS, VALUES, Texts
from scripts.core import paths, safe_files, yaml_edits
from scripts.core.edits import Action, Edit
from scripts.core.findings import UsageError
from scripts.environments import environment, git_index, layout
from scripts.environments.environment import Environment
from scripts.environments.placeholders import strings
from scripts.network import make, plan, secret_files
from scripts.output import update

OWNERS = ".github/CODEOWNERS"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_MOST_IN_A_NAME = 40
"""Characters of a name, which becomes part of names of objects and hosts."""
_SCHEMA = "# yaml-language-server: $schema=../../chart/values.schema.json\n"

_RISKY = (2, 3)
"""Numbers of validators that the chart takes only with network.acceptNoFaultTolerance."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The environment to make; None for what follows from the other one."""

    name: str
    like: str
    namespace: str | None = None
    cluster: str | None = None
    """The URL of the API server, or the cluster's name in Argo CD."""
    validators: int | None = None
    chain_id: int | None = None


def create(root: Path, wanted: Wanted) -> list[str]:
    """Write and render the environment, and return what was made and what is left to do.

    Raises UsageError for a name that can't be used, and UserError for mistakes in the other
    environment, or that only the rendering finds; then nothing is left of the new one.
    """
    layout.environments(root, [wanted.like])
    reject_name(root, wanted.name)
    chain = plan.Wanted(wanted.validators, wanted.chain_id)
    old = environment.load(root, wanted.like)
    texts, hosts = _texts(root, wanted, old)
    said, file = io.StringIO(), root / OWNERS
    owners = safe_files.read(file, root).decode("utf-8", "replace") if file.is_file() else ""
    with undone_unless_complete(root, wanted.name):
        environment_files.install(root, wanted.name, texts)
        make.make(root, wanted.name, chain, said)
        update.update(root, [wanted.name], said)
        new = environment.load(root, wanted.name)
    rendered = f"  nox -s render -- {wanted.name} "  # a step of `network` that is done
    lines = (each for each in said.getvalue().splitlines() if not each.startswith(rendered))
    return [*lines, *_left(old, new, hosts, owners)]


def reject_name(root: Path, name: str) -> None:
    """Raise UsageError if an environment can't have the name."""
    if len(name) > _MOST_IN_A_NAME or not _NAME.fullmatch(name):
        raise UsageError(
            f"{name} can't be the name of an environment: write at most {_MOST_IN_A_NAME} "
            "lower-case letters, digits and -, for example qa"
        )
    if name in layout.environments(root) or name in git_index.read(root).environments:
        raise UsageError(f"the environment {name} exists already: write another name")
    own = [layout.argocd_file(kind, name) for kind in layout.ARGOCD_FOLDERS]
    for left in (f"overlays/{name}", f"{secret_files.TOP}/{name}"):
        if (root / left).exists():
            raise UsageError(f"{left} exists already: move it away, or write another name")
    for left in own:
        if (root / left).exists():
            raise UsageError(f"{left} is of an earlier {name}: run nox -s render, which removes it")


@contextlib.contextmanager
def undone_unless_complete(root: Path, name: str) -> Iterator[None]:
    """Remove all files of a new environment if the block does not end well."""
    made = [f"overlays/{name}", f"{secret_files.TOP}/{name}"]
    if not (root / secret_files.TOP).exists():
        made.append(secret_files.TOP)
    try:
        yield
    except BaseException:
        # A second Ctrl-C must not stop this half-way.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for folder in made:
                shutil.rmtree(root / folder, ignore_errors=True)
            for kind in layout.ARGOCD_FOLDERS:
                (root / layout.argocd_file(kind, name)).unlink(missing_ok=True)
        finally:
            signal.signal(signal.SIGINT, before)
        raise


def _texts(root: Path, wanted: Wanted, old: Environment) -> tuple[Texts, dict[str, str]]:
    """Return the hand-written files of the new environment, and old → new of its hosts."""
    namespace = wanted.namespace or _namespace(wanted, old)
    texts = environment_files.copied(root, wanted.like, wanted.name, namespace)
    settings = texts[SETTINGS]
    if "example" in yaml.safe_load(settings):
        settings = yaml_edits.applied(settings, [Edit("", Action.REMOVE, ("example",))])
    if wanted.cluster:
        key = "server" if "://" in wanted.cluster else "name"
        settings = environment_files.edited(
            settings, {("cluster",): {key: wanted.cluster}}, f"overlays/{wanted.like}/{SETTINGS}"
        )
    own = yaml.safe_load(texts.get(VALUES, "")) or {}
    hosts = dict(_hosts(old, own, wanted))
    values: dict[tuple[str | int, ...], Any] = {path: new for path, (_, new) in hosts.items()}
    values |= _of_validators(wanted, old)
    if values:
        text = texts.get(VALUES) or _SCHEMA
        texts = texts | {VALUES: environment_files.edited(text, values)}
    return texts | {SETTINGS: settings}, dict(hosts.values())


def _namespace(wanted: Wanted, old: Environment) -> str:
    """Return the namespace: that of the other environment with the new name in it."""
    word = rf"(?<![a-z0-9]){re.escape(wanted.like)}(?![a-z0-9])"
    named = re.sub(word, wanted.name, old.namespace)
    return named if named != old.namespace else f"linea-{wanted.name}"


def _hosts(
    old: Environment, own: Mapping[str, Any], wanted: Wanted
) -> Iterator[tuple[tuple[str | int, ...], tuple[str, str]]]:
    """Yield the path of each host in the values, with the old host and the new one.

    A host that has the name of the environment got the new name with the other values. Another
    one gets it after its first part: rpc.example.com becomes rpc.qa.example.com.
    """
    for path, text in strings(old.values):
        if path[-1] != "host" or not text:
            continue
        copied = paths.get(own, path)
        new = copied if isinstance(copied, str) and copied != text else ""
        first, _, rest = text.partition(".")
        yield path, (text, new or f"{first}.{wanted.name}.{rest}".rstrip("."))


def _of_validators(wanted: Wanted, old: Environment) -> dict[tuple[str | int, ...], Any]:
    """Return the values for another number of validators."""
    count = wanted.validators
    if count is None:
        return {}
    values: dict[tuple[str | int, ...], Any] = {
        (part, "replicas"): count
        for part in ("maru", "sequencer")
        if plan.replicas(old, part) != count
    }
    if count in _RISKY and not plan.value(old, "network", "acceptNoFaultTolerance"):
        values["network", "acceptNoFaultTolerance"] = True
    return values


def _left(
    old: Environment, new: Environment, hosts: Mapping[str, str], owners: str
) -> Iterator[str]:
    """Yield what is left for people to do, in the order of doing."""
    yield f"{new.name}: made like {old.name}, in the namespace {new.namespace}. What is left:"
    folder, shared = f"overlays/{new.name}/", set(_of_aws(old))
    own = [name for name in _of_aws(new) if name not in shared]
    same = [name for name in _of_aws(new) if name in shared]
    steps = [f"read {folder}: addresses, zones and sizes are still those of {old.name}"]
    if own:
        steps.append(f"create in AWS what the copy names: {', '.join(own)}")
    if same:
        steps.append(f"write other names than those of {old.name} in {folder}: {', '.join(same)}")
    if hosts:
        steps.append(f"give DNS and the certificate {', '.join(sorted(set(hosts.values())))}")
    if f"/overlays/{old.name}/" in owners:
        steps.append(f"write the owners of /{folder} into {OWNERS}, as of /overlays/{old.name}/")
    steps += [
        f"store {secret_files.TOP}/{new.name}/ as shown above, and keep a backup of it",
        f"run nox -s validate -- {new.name}, and correct what it reports",
        f"git add {folder} argocd, and merge: the root application creates the environment",
    ]
    yield from (f"  {number}. {step}" for number, step in enumerate(steps, 1))


def _of_aws(found: Environment) -> list[str]:
    """Return the roles and buckets of an environment."""
    names = dict[str, None]()
    for path, text in strings(found.values):
        if text.startswith("arn:") or (path[-1] == "bucket" and text not in ("", "none")):
            names.setdefault(text)
    return list(names)
