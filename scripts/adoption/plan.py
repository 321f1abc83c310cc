"""What the answers change: the files of new environments, of base/ and of CODEOWNERS."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scripts.adoption import answers as given
from scripts.adoption import environment_files
from scripts.adoption.answers import Answers, Like
from scripts.adoption.environment_files import SETTINGS, VALUES, Texts
from scripts.core import paths, yaml_edits
from scripts.core.edits import Action, Edit
from scripts.core.paths import ValuePath
from scripts.environments import layout, placeholders
from scripts.environments.environment import NETWORK, PRODUCTION

POLICY = "base/policy.yaml"
OWNERS = ".github/CODEOWNERS"

_THREE_ZONES = "three-zones"
_COMPONENTS = ("maru", "sequencer")

Place = tuple[str, tuple[str | int, ...]]
"""A file, relative to the repository, and the path of a value in it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written; empty if everything is as the answers say."""

    environments: dict[str, Texts]
    """New environments, which replace examples of the same name."""
    remove: tuple[str, ...]
    """Examples that have no new environment of their name."""
    files: dict[str, str]
    """Path → text, of files that change outside of environments."""
    origins: dict[Place, ValuePath] = field(default_factory=dict)
    """A value that is written → the answer that decides it."""

    def __bool__(self) -> bool:
        """Return whether anything changes."""
        return bool(self.environments or self.remove or self.files)


def plan(root: Path, answers: Answers) -> Plan:
    """Return what the answers change in the repository.

    Raises UserError if a file can't be edited without losing a comment.
    """
    every = layout.environments(root)
    examples = [name for name in every if given.is_example(root, name)]
    new = [name for name in answers.names if name not in every or name in examples]
    origins = dict[Place, ValuePath]()
    environments = {name: _environment(root, answers, name, origins) for name in new}
    remove = tuple(name for name in examples if name not in new)
    successors = {
        old: [name for name in new if answers.of(name, "like") == old] for old in examples
    }
    texts = {
        layout.BASE: _base(root, answers, origins),
        PRODUCTION: _monitoring(root, answers),
        POLICY: _policy(root, successors),
        OWNERS: _owners(root, answers, new),
    }
    files = {
        file: text
        for file, text in texts.items()
        if text is not None and text != (root / file).read_text("utf-8")
    }
    return Plan(environments, remove, files, origins)


def _environment(root: Path, answers: Answers, name: str, origins: dict[Place, ValuePath]) -> Texts:
    """Return the files of a new environment, and note which answers decide their values."""
    model = str(answers.of(name, "like"))
    texts = environment_files.copied(root, model, name, answers.namespace(name))
    like = given.like(root, model)
    changes = {SETTINGS: _settings(answers, name, like), VALUES: _values(answers, name, like)}
    for file, values in changes.items():
        if not values:
            continue
        edited = {path: value for path, (value, _) in values.items()}
        where = f"overlays/{name}/{file}"
        texts[file] = environment_files.edited(texts.get(file, ""), edited, where)
        for path, (_, answer) in values.items():
            origins[where, path] = ["environments", name, *answer]
    origins[f"overlays/{name}/{SETTINGS}", ("name",)] = ["environments", name]
    origins[f"overlays/{name}/{SETTINGS}", ("namespace",)] = ["environments", name, "namespace"]
    if "example" in like.settings:
        edit = Edit(SETTINGS, Action.REMOVE, ("example",))
        texts[SETTINGS] = yaml_edits.applied(texts[SETTINGS], [edit])
    network = root / "overlays" / name / NETWORK
    if network.exists() and not placeholders.has_example_chain(
        root, yaml.safe_load(network.read_text("utf-8"))
    ):
        texts[NETWORK] = network.read_text("utf-8")  # a chain of one's own, whose keys exist
    return texts


Answered = Mapping[tuple[str | int, ...], tuple[Any, tuple[str, ...]]]
"""Path of a value → the value, and the answer that decides it."""


def _settings(answers: Answers, name: str, like: Like) -> Answered:
    """Return what to write into environment.yaml."""
    found: dict[tuple[str | int, ...], tuple[Any, tuple[str, ...]]] = {}
    for key in ("kubernetesVersion", "zones", "cluster", "node"):
        value = answers.of(name, key)
        if value is not None and value != like.settings.get(key):
            found[key,] = value, (key,)
    zones = answers.of(name, "zones") or []
    profiles = like.profiles
    if len(zones) == 3 and "production" in profiles and _THREE_ZONES not in profiles:
        found["profiles",] = [*profiles, _THREE_ZONES], ("zones",)
    return found


def _values(answers: Answers, name: str, like: Like) -> Answered:
    """Return what to write into values.yaml, at paths that the file has already."""
    region = answers.of(name, "region")
    subnets = answers.of(name, "loadBalancerSubnets") or []
    peers = [{"ipBlock": {"cidr": each}} for each in subnets]
    clients = answers.of(name, "clients") or given.PRIVATE
    logs = paths.get(like.values, ["ingress", "alb", "accessLogs", "bucket"])
    wanted: list[tuple[str, Any, tuple[str, ...]]] = [
        ("secrets.external.aws.region", region, ("region",)),
        ("secrets.external.aws.roleArn", answers.role(name, "secrets"), ("roles", "secrets")),
        ("aws.backupRoleArn", answers.role(name, "backup"), ("roles", "backup")),
        ("aws.restoreRoleArn", answers.role(name, "restore"), ("roles", "restore")),
        ("backup.storage.bucket", answers.bucket(name, "backups"), ("bucket",)),
        ("backup.storage.region", region, ("region",)),
        ("ingress.alb.wafAclArn", answers.of(name, "webAcl") or "none", ("webAcl",)),
        ("ingress.rpc.host", answers.host(name, "rpc"), ("hosts", "rpc")),
        ("ingress.ws.host", answers.host(name, "ws"), ("hosts", "ws")),
        ("networkPolicy.rpcFrom", peers, ("loadBalancerSubnets",)),
        ("besu.service.loadBalancerSourceRanges", clients, ("clients",)),
        ("ethstats.service.loadBalancerSourceRanges", clients, ("clients",)),
    ]
    if logs is not None and (logs != "none" or answers.of(name, "logBucket")):
        bucket = answers.bucket(name, "logs")
        wanted.append(("ingress.alb.accessLogs.bucket", bucket, ("logBucket",)))
    found = {
        tuple[str | int, ...](key.split(".")): (value, answer)
        for key, value, answer in wanted
        if like.has(*key.split("."))
    }
    if certificates := answers.of(name, "certificates"):
        found["ingress", "alb", "certificateArns"] = certificates, ("certificates",)
    if count := answers.of(name, "validators"):
        found |= {(each, "replicas"): (count, ("validators",)) for each in _COMPONENTS}
    return found


def _base(root: Path, answers: Answers, origins: dict[Place, ValuePath]) -> str:
    """Return base/environment.yaml with the repository."""
    text = (root / layout.BASE).read_text("utf-8")
    wanted = {"revision": "main", **answers.get("repository")}
    data = yaml.safe_load(text) or {}
    for key in wanted:
        origins[layout.BASE, ("repository", key)] = ["repository", key]
    values: dict[tuple[str | int, ...], Any] = {
        ("repository", key): value
        for key, value in wanted.items()
        if paths.get(data, ["repository", key]) != value
    }
    return environment_files.edited(text, values, layout.BASE)


def _monitoring(root: Path, answers: Answers) -> str | None:
    """Return the profile production with the Prometheus that reads what it renders."""
    file = root / PRODUCTION
    if not file.exists():
        return None
    text = file.read_text("utf-8")
    data, values = yaml.safe_load(text) or {}, dict[tuple[str | int, ...], Any]()
    release = answers.get("monitoring", "release")
    for part in ("serviceMonitor", "prometheusRule", "probe") if release else ():
        path = ("metrics", part, "labels", "release")
        if paths.has(data, path):
            values[path] = release
    if namespace := answers.get("monitoring", "namespace"):
        labels = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
        values["networkPolicy", "metricsFrom"] = [{"namespaceSelector": labels}]
    values = {path: value for path, value in values.items() if paths.get(data, path) != value}
    return environment_files.edited(text, values, PRODUCTION)


def _policy(root: Path, successors: Mapping[str, list[str]]) -> str | None:
    """Return base/policy.yaml with waivers for the new environments instead of the examples."""
    file = root / POLICY
    if not file.exists():
        return None
    text = file.read_text("utf-8")
    listed = (yaml.safe_load(text) or {}).get("waivers") or []
    for index, waiver in reversed(list(enumerate(listed))):
        old = waiver.get("environments")
        if not old:
            continue
        new = [*dict.fromkeys(name for each in old for name in successors.get(each, [each]))]
        if not new:
            edit = Edit(POLICY, Action.REMOVE, ("waivers", index))
            text = yaml_edits.applied(text, [edit])
        elif new != old:
            path = ("waivers", index, "environments")
            text = environment_files.edited(text, {path: new}, POLICY)
    return text


def _owners(root: Path, answers: Answers, new: list[str]) -> str | None:
    """Return CODEOWNERS with the owners, and with a line for each new production environment."""
    file = root / OWNERS
    if not file.exists():
        return None
    lines = file.read_text("utf-8").splitlines(keepends=True)
    lines = [each for line in lines for each in _owned(root, line, answers, new)]
    owners = answers.get("owners") or {}
    text = "".join(lines)
    for part, owner in owners.items():
        text = text.replace(f"{part}@owners.invalid", owner)
    if owners:
        text = re.sub(r"^# (REPLACE both|No one can register) .*\n", "", text, flags=re.MULTILINE)
    return text


def _owned(root: Path, line: str, answers: Answers, new: list[str]) -> Iterator[str]:
    """Yield the lines instead of one of CODEOWNERS: those of the successors of an example."""
    match = re.match(r"/overlays/([^/\s]+)/( +)(.*\n)", line)
    if not match or not given.is_example(root, match[1]):
        yield line
        return
    width = len(match[1]) + len(match[2])
    for name in new:
        if answers.of(name, "like") == match[1]:
            yield f"/overlays/{name}/{' ' * max(1, width - len(name))}{match[3]}"
