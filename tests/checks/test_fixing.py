"""`validate --fix` ends, is idempotent, and changes nothing but what is wrong."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.checks import fixing, run_rules
from scripts.core import yaml_edits
from scripts.core.edits import Action, CannotApplyError, Edit
from scripts.core.findings import Finding, UsageError
from scripts.environments import environment
from scripts.rendering import pipeline
from tests.conftest import Repository

ENVIRONMENT = "prod"
FOLDER = f"overlays/{ENVIRONMENT}"
VALUES = f"{FOLDER}/values.yaml"
SETTINGS = f"{FOLDER}/environment.yaml"
PATCH = f"{FOLDER}/patches/rpc-only-at-the-root.yaml"


def write(path: str, value: Any, file: str = VALUES) -> Edit:
    return Edit(file, Action.WRITE, _parts(path), value)


def rename(path: str, key: str, file: str = VALUES) -> Edit:
    return Edit(file, Action.RENAME, _parts(path), key)


def _parts(path: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdecimal() else part for part in path.split("."))


MISTAKES = [
    rename("besu.persistence", "persistance"),
    rename("sequencer.persistence.size", "sise"),
    rename("ingress.rpc.host", "hosts"),
    rename("backup.storage.region", "regoin"),
    rename("networkPolicy.rpcFrom", "rpcfrom"),
    rename("networkPolicy.rpcFrom.0.ipBlock.cidr", "cdir"),
    rename("maru", "mauru"),
    write("ingress.rpc.host", "https://rpc.linea.example.com/"),
    write("ingress.ws.host", "ws.linea.example.com/"),
    write("besu.replicas", "3"),
    write("besu.replica", 3),
    write("besu.persistence.size", "500 gb"),
    write("maru.persistence.size", "100Gib"),
    write("sequencer.antiAffinity", "Hard"),
    write("maru.antiAffinity", "haard"),
    write("maru.size", "100Gi"),
    write("besu.service.type", "LoadBalncer"),
    write("besu.terminationGracePeriodSeconds", "300"),
    write("besu.image.pullPolicy", "ifNotPresent"),
    write("besu.resources.requests.cpu", 250),
    write("ethstats.resources.limits.memory", 512),
    write("networkPolicy.wholeNamespace", "yes"),
    write("networkPolicy.enabled", "true"),
    write("backup.schedules", "0 3 * * *"),
    write("backup.concurrencyPolicy", "Forbidden"),
    write("metrics.serviceMonitor.enabled", "True"),
    write("txSender.rpc.port", "8545"),
    write("sequencer.podManagementPolicy", "parallel"),
    write("ingress.alb.deletionProtection", "on"),
    write("name", "production", SETTINGS),
    rename("zones", "zone", SETTINGS),
    rename("node", "nodes", SETTINGS),
    write("kubernetesVersion", 1.34, SETTINGS),
    write("zones.1", "us-east-1b ", SETTINGS),
    write("profiles.1", "prodution", SETTINGS),
    write("sync.prune", "true", SETTINGS),
    Edit(
        SETTINGS,
        Action.APPEND,
        ("waivers",),
        {"rule": "no-such-rule", "object": "Pod/x", "reason": "Once it was so."},
    ),
    write("target.name", "linea-stack-besu-rcp", PATCH),
    write("patch.2.value", "exact", PATCH),
    write("patch.1.value", "Exact", PATCH),
    write("patch.2.op", "replce", PATCH),
]
"""Each is a change of one of prod's files, as a person may make it."""


def make(repository: Repository, mistakes: list[Edit]) -> int:
    """Make the mistakes that still fit, and return how many they are."""
    made = 0
    for mistake in mistakes:
        text = (repository / mistake.file).read_text("utf-8")
        try:
            repository.write(mistake.file, yaml_edits.applied(text, [mistake]))
        except CannotApplyError:
            continue
        made += 1
    return made


def findings_of(repository: Repository) -> list[Finding]:
    """Return what is reported of the inputs, and by rules about the objects."""
    environment.forget()
    rendering = pipeline.render(repository.root, ENVIRONMENT)
    found = list(rendering.findings)
    if not found:
        found = run_rules.check(repository.root, [rendering], with_edits=True)
    return fixing.offered(repository.root, found)


def fix(repository: Repository, *, unsafe: bool = True) -> tuple[fixing.Fixed, list[Finding]]:
    return fixing.fix(repository.root, lambda: findings_of(repository), unsafe=unsafe)


def inputs(repository: Repository) -> dict[str, str]:
    return {file: (repository / file).read_text("utf-8") for file in (VALUES, SETTINGS, PATCH)}


def comments(text: str) -> list[str]:
    """Return the comments of a text, in their order."""
    return [line.strip() for line in text.splitlines() if line.strip().startswith("#")]


def orders(data: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield the keys of each mapping, in their order."""
    if isinstance(data, dict):
        yield path, list(data)
        for key, value in data.items():
            yield from orders(value, f"{path}.{key}")


def same_order(old: str, new: str) -> bool:
    """Return whether keys that both texts have are in the same order."""
    before = dict(orders(yaml.safe_load(old)))
    for path, keys in orders(yaml.safe_load(new)):
        both = [key for key in before.get(path, []) if key in keys]
        if [key for key in keys if key in both] != both:
            return False
    return True


def test_most_mistakes_are_fixed_for_good(repository: Repository) -> None:
    """The inputs are then as before the mistake, or at least without a finding."""
    good, unfixed = inputs(repository), list[str]()
    for mistake in MISTAKES:
        for file, text in good.items():
            repository.write(file, text)
        assert make(repository, [mistake]), mistake
        _, left = fix(repository)
        if left:
            unfixed.append(f"{'.'.join(map(str, mistake.path))}: {left[0].message}")
    assert len(unfixed) <= len(MISTAKES) / 4, unfixed


def test_without_unsafe_only_safe_fixes_are_applied(repository: Repository) -> None:
    make(repository, [rename("besu.persistence", "persistance"), write("nothing", 1)])
    done, left = fix(repository, unsafe=False)
    assert done.count == 1
    assert [each.is_safe for each in left if each.edits] == [False]
    assert "nothing: 1" in (repository / VALUES).read_text("utf-8")


def test_the_command_shows_a_diff_and_what_is_left(repository: Repository) -> None:
    repository.replace(VALUES, "  persistence:\n    size: 100Gi", "  persistance:\n    size: 100Gi")
    done = repository.run("validate", "prod", "--fix")
    assert f"--- a/{VALUES}\n+++ b/{VALUES}\n" in done.out
    assert "-  persistance:\n+  persistence:\n" in done.out
    assert f"applied 1 fix to {VALUES}; now run nox -s render" in done.out
    assert done.code == 0, done.out
    again = repository.run("validate", "prod", "--fix")
    assert "no fix to apply" in again.out
    assert repository.run("validate", "prod", "--unsafe").code == 2


def test_what_was_written_is_noted_if_a_later_file_can_not_be(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(repository, [rename("besu.persistence", "persistance"), rename("node", "nodes", SETTINGS)])
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target.name == "values.yaml":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    fixed = fixing.Fixed()
    with pytest.raises(UsageError, match=f"can't write {VALUES}: No space left on device"):
        fixing.fix(repository.root, lambda: findings_of(repository), unsafe=True, fixed=fixed)
    assert set(fixed.new) <= {SETTINGS}
    assert not list((repository / FOLDER).glob("*.new"))
