"""What is kept of environments is what would be found anew, whatever has changed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.checks import one_by_one, records, validation
from scripts.checks.summaries import Record, Summary, Wanted
from scripts.core import clock, file_facts, parallel, repository
from scripts.core.findings import Finding
from scripts.environments import environment, layout
from scripts.output import changed
from scripts.rules import catalogue
from tests import sweeps
from tests.conftest import ROOT, Repository, copy
from tests.git import git

STEPS = 4
NAMES = ("dev", "prod", "staging")


def contents(root: Path, name: str) -> str:
    """Return the digest of all files that may decide what is found in an environment."""
    total = hashlib.sha256()
    folders = (root / "base", root / "chart", root / "overlays" / name)
    files = [path for folder in folders for path in sorted(folder.rglob("*"))]
    files += [root / layout.argocd_file(kind, name) for kind in layout.ARGOCD_FOLDERS]
    for path in files:
        raw = path.read_bytes() if path.is_file() else b""
        link = str(path.readlink()) if path.is_symlink() else ""
        total.update(f"{path}{path.exists()}{link}".encode() + raw)
    return total.hexdigest()


def looked_at(root: Path, against: str, wanted: Sequence[Wanted], *, with_edits: bool):  # type: ignore[no-untyped-def]
    """Stand in for the checks: a finding for every content, and for what git has."""
    del with_edits
    made = {}
    for each in wanted:
        values = root / "overlays" / each.name / "values.yaml"
        words = values.read_text("utf-8").split() if values.exists() else []
        old = git(root, "rev-parse", f"{against}:overlays/{each.name}") if against else ""
        found = Finding("x", 0, 0, "x", contents(root, each.name) + old, "")
        summary = Summary(each.name, True, "", "", "", False, False, (), (), (), (), {}, "", ())
        claims = {word: False for word in words if word.startswith("key-")}
        made[each.name] = Record(summary, (), (found,), claims, False)
    return made


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return a repository with a few small files."""
    made = Repository(tmp_path_factory.mktemp("records") / "repository")
    made.write("base/environment.yaml", "repository: {url: x}\n")
    made.write("base/values.yaml", "a: 1\n")
    made.write("tools/python/pipeline.txt", "x==1\n")
    made.write("chart/Chart.yaml", "name: x\n")
    made.write("chart/templates/a.yaml", "a: 1\n")
    for name in NAMES:
        made.write(f"overlays/{name}/environment.yaml", f"namespace: {name}\n")
        made.write(f"overlays/{name}/values.yaml", "a: 1\n")
        made.write(f"overlays/{name}/manifests/a.yaml", layout.header("x") + "a: 1\n")
        for kind in layout.ARGOCD_FOLDERS:
            made.write(layout.argocd_file(kind, name), layout.header("x") + "a: 1\n")
    git(made.root, "init", "-q", "-b", "main")
    made.write(".gitignore", ".render/\n")
    git(made.root, "add", "-A")
    git(made.root, "commit", "-q", "-m", "first")
    return made


def write(root: Path, draw: random.Random, path: str) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    header = layout.header("x") if "manifests" in path or "argocd" in path else ""
    if target.is_symlink():
        target.unlink()
    target.write_text(header + f"a: {draw.randrange(10 ** draw.randrange(1, 9))}\n", "utf-8")


def write_alike(root: Path, draw: random.Random, path: str) -> None:
    """Write as many bytes as before, and give the file the time that it had."""
    target = root / path
    if target.is_file() and not target.is_symlink():
        before = target.stat()
        time.sleep(0.01)  # the clock of the file system ticks
        raw = target.read_bytes()
        target.write_bytes(raw[:-2] + str(draw.randrange(10)).encode() + b"\n")
        os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))


def remove(root: Path, draw: random.Random, path: str) -> None:
    (root / path).unlink(missing_ok=True)


def link(root: Path, draw: random.Random, path: str) -> None:
    remove(root, draw, path)
    if path == "base/values.yaml":
        return
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).symlink_to(root / "base/values.yaml")


def tear(root: Path, draw: random.Random, path: str) -> None:
    """Cut, exchange or damage what is kept."""
    kept = sorted(path for path in (root / ".render").rglob("*") if path.is_file())
    if not kept:
        return
    target, other = draw.choice(kept), draw.choice(kept)
    raw = target.read_bytes()
    half, byte = raw[: len(raw) // 2], raw[:50] + b"x" + raw[51:]
    target.write_bytes(draw.choice([half, byte, b"", other.read_bytes()]))
    file_facts._known.cache_clear()


def commit(root: Path, draw: random.Random, path: str) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", "next")


CHANGES = (write, write, write, write_alike, write_alike, remove, link, tear, commit)
FILES = (
    "base/values.yaml",
    "base/patches/new.yaml",
    "chart/templates/a.yaml",
    "chart/files/deep/new.txt",
    *(f"overlays/{name}/{file}" for name in NAMES for file in ("values.yaml", "patches/a.yaml")),
    *(f"overlays/{name}/manifests/{file}.yaml" for name in NAMES for file in "ab"),
    *(layout.argocd_file(kind, name) for name in NAMES for kind in layout.ARGOCD_FOLDERS),
)


def test_what_is_kept_is_what_would_be_found_whatever_has_changed(
    small: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_by_one, "check", looked_at)
    monkeypatch.setattr(parallel, "PROCESSES", 1)
    # As if each file had been written long ago: its times and sizes are believed.
    monkeypatch.setattr(file_facts, "SETTLED_NS", -1_000_000_000)
    draw, hits = random.Random(0), 0
    sequences = sweeps.examples(300, 60)
    for sequence in range(sequences):
        done = []
        for _ in range(draw.randrange(1, STEPS)):
            change, path = draw.choice(CHANGES), draw.choice(FILES[draw.choice([0, 4, 4]) :])
            change(small.root, draw, path)
            done.append(f"{change.__name__} {path}")
        environment.forget()
        against = draw.choice([*[""] * 8, "HEAD", "HEAD~1" if sequence > 20 else "HEAD"])
        wanted = sorted(draw.sample(NAMES, draw.randrange(1, 4)))
        if draw.random() < 0.3:
            file_facts._known.cache_clear()
        anew = records.of(small.root, wanted, against, is_cached=False)
        kept = records._keys(small.root, wanted, against, with_edits=False)
        hits += sum(records._kept(small.root, name, kept[name]) is not None for name in wanted)
        assert records.of(small.root, wanted, against) == anew, done
    assert hits > sequences / 5


def test_a_file_that_changed_just_now_is_read_again(small: Repository) -> None:
    path = small.root / "base" / "values.yaml"

    def read() -> str:
        return path.read_text("utf-8")

    for word in ("one", "two", "six"):
        path.write_text(word, "utf-8")
        assert file_facts.learn(small.root, "word", [path], read) == word


@pytest.mark.parametrize("wrong", ["until", "a waiver"])
def test_what_decides_by_the_time_has_an_end(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    clock.start()
    if wrong == "until":
        assert not clock.has_passed(now + 50)
        assert clock.has_passed(now - 50)
        assert clock.holds_until() == now + 50
    else:
        assert not clock.is_over(clock.today(), clock.today())
        assert now < clock.holds_until() <= now + 86400


def test_a_record_whose_time_has_come_is_made_again(
    small: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waiting(*arguments: object, **options: object) -> dict[str, Record]:
        clock.has_passed(time.time() + 1000)
        return looked_at(*arguments, **options)  # type: ignore[arg-type, no-any-return]

    monkeypatch.setattr(one_by_one, "check", waiting)
    monkeypatch.setattr(parallel, "PROCESSES", 1)
    records.of(small.root, ["dev"])
    key = records._keys(small.root, ["dev"], "", with_edits=False)["dev"]
    assert records._kept(small.root, "dev", key)
    later = time.time() + 1001
    monkeypatch.setattr(time, "time", lambda: later)
    assert records._kept(small.root, "dev", key) is None


def test_another_pin_page_or_program_makes_another_key(
    small: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def key() -> str:
        return records._keys(small.root, ["dev"], "", with_edits=False)["dev"]

    before = {key()}
    for top in changed.SHARED:
        if not top.startswith(("base/", "chart/", "scripts/")):
            other = tmp_path / top.replace("/", "-")
            target = other / (f"{top}/x" if top.endswith("/") else top)
            target.parent.mkdir(parents=True)
            target.write_text("other", "utf-8")
            monkeypatch.setattr(repository, "ROOT", other)
            before.add(key())
    monkeypatch.setattr(records, "_FORMAT", "another")
    before.add(key())
    before.add(records._keys(small.root, ["dev"], "", with_edits=True)["dev"])
    assert len(before) >= 7


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return a copy of the example of which everything is kept."""
    made = copy(tmp_path_factory.mktemp("real") / "repository")
    assert made.run("validate").code == 0
    return made


def test_the_report_is_the_same_from_what_is_kept(real: Repository) -> None:
    """A finding of each kind: of one environment, of two, of an object, with edits."""
    host = "rpc.linea.example.com"
    text = (real / "overlays/staging/values.yaml").read_text("utf-8")
    old = {path: (real / path).read_text("utf-8") for path in ("overlays/staging/values.yaml",)}
    real.write("overlays/staging/values.yaml", text.replace("rpc.staging.linea.example.com", host))
    first = real.run("validate", "--format", "json")
    again = real.run("validate", "--format", "json")
    anew = real.run("validate", "--format", "json", "--no-cache")
    assert first.out == again.out == anew.out
    assert {"duplicate-ingress-host", "stale-output"} <= {
        each["rule"] for each in json.loads(anew.out)["findings"]
    }
    for path, before in old.items():
        real.write(path, before)
    assert real.run("validate").code == 0


def test_a_claim_is_made_of_all_that_a_rule_across_environments_compares() -> None:
    """Whatever such a rule reports of several example environments, they claim in common."""
    for rule in catalogue.RULES.values():
        assert (rule.claims is not None) == rule.together, rule.id


def test_environments_conflict_if_one_of_them_claims_a_key_for_itself() -> None:
    claims = {
        "a": {"x": True, "y": False},
        "b": {"x": False},
        "c": {"y": False},
        "d": {"z": True},
    }
    assert validation.conflicting(claims) == {"a", "b"}


def test_the_program_does_not_load_helm_or_rules_if_nothing_has_changed(real: Repository) -> None:
    listing = """
import sys
from scripts.__main__ import main
main(sys.argv[1:])
print([m for m in sys.modules if m.startswith(("helm_python", "scripts.rules.work"))])
"""
    command = [sys.executable, "-c", listing, "--repository", str(real.root), "validate"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
