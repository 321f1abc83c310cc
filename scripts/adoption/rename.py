"""Rename an environment: its folder, its private files, and what names it in other files.

Its objects keep their names and their namespace, so that no pod restarts. Argo CD gets another
Application for them, and people hand the objects over: the lines that `rename` returns say how.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from scripts.adoption import environment_files
from scripts.adoption.environment_files import SETTINGS
from scripts.adoption.new_environment import OWNERS, reject_name
from scripts.core import safe_files, yaml_edits
from scripts.core.edits import Action, Edit
from scripts.environments import environment, layout
from scripts.network import secret_files
from scripts.output import update

POLICY = "base/policy.yaml"
RULE = "environment-renamed"
_WAIVED_DAYS = 30
"""How long the waiver of the rule lasts, within which the change must be merged."""


def rename(root: Path, old: str, new: str) -> list[str]:
    """Rename and render an environment, and return what was done and what is left to do.

    Raises UsageError for a name that can't be used, and UserError for mistakes in the environment;
    then all is as it was.
    """
    layout.environments(root, [old])
    reject_name(root, new)
    loaded = environment.load(root, old)
    settings = _settings(root, old, new)
    elsewhere, said = _elsewhere(root, old, new), io.StringIO()
    with _undone_unless_complete(root, old, new):
        shutil.copytree(root / "overlays" / old, _kept(root, old), symlinks=True)
        (root / "overlays" / old).rename(root / "overlays" / new)
        (root / "overlays" / new / SETTINGS).write_text(settings, "utf-8")
        for file, text in elsewhere.items():
            (root / file).write_text(text, "utf-8")
        environment.forget()
        update.update(root, [], said)
        private = root / secret_files.TOP / old
        if private.exists():
            private.rename(root / secret_files.TOP / new)
    return [*said.getvalue().splitlines(), *_left(old, new, loaded.namespace)]


def _kept(root: Path, old: str) -> Path:
    """Return where the old folder is kept meanwhile; hidden, so that it is no environment."""
    return root / "overlays" / f".renamed-{old}"


@contextlib.contextmanager
def _undone_unless_complete(root: Path, old: str, new: str) -> Iterator[None]:
    """Restore all files of the environment if the block does not end well."""
    argocd = [root / layout.argocd_file(kind, old) for kind in layout.ARGOCD_FOLDERS]
    others = [*argocd, *(root / file for file in (POLICY, OWNERS))]
    before = {path: path.read_bytes() for path in others if path.is_file()}
    kept = _kept(root, old)
    shutil.rmtree(kept, ignore_errors=True)
    try:
        yield
    except BaseException:
        # A second Ctrl-C must not stop this half-way.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            if (root / "overlays" / new).exists():
                shutil.rmtree(root / "overlays" / new)
                kept.rename(root / "overlays" / old)
            for path, raw in before.items():
                path.write_bytes(raw)
            for kind in layout.ARGOCD_FOLDERS:
                (root / layout.argocd_file(kind, new)).unlink(missing_ok=True)
            environment.forget()
        finally:
            signal.signal(signal.SIGINT, handler)
        raise
    finally:
        shutil.rmtree(kept, ignore_errors=True)


def _settings(root: Path, old: str, new: str) -> str:
    """Return the environment.yaml with the new name, and with the waiver of the rule."""
    file = f"overlays/{old}/{SETTINGS}"
    text = safe_files.read(root / file, root).decode()
    until = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(_WAIVED_DAYS)
    waiver = {
        "rule": RULE,
        "object": f"Application/linea-{new}",
        "reason": f"The objects of linea-{old} are handed over to linea-{new} after the merge.",
        "until": until.isoformat(),
    }
    text = environment_files.edited(text, {("name",): new}, file)
    return yaml_edits.applied(text, [Edit(file, Action.APPEND, ("waivers",), waiver)])


def _elsewhere(root: Path, old: str, new: str) -> dict[str, str]:
    """Return file → text of the files outside of the environment that name it.

    Raises UserError if a comment would be lost.
    """
    texts = {
        file: safe_files.read(root / file, root).decode()
        for file in (POLICY, OWNERS)
        if (root / file).is_file()
    }
    edited = dict[str, str]()
    if OWNERS in texts:
        edited[OWNERS] = texts[OWNERS].replace(f"/overlays/{old}/", f"/overlays/{new}/")
    if POLICY in texts:
        data: Any = yaml.safe_load(texts[POLICY]) or {}
        values: dict[tuple[str | int, ...], str] = {
            ("waivers", index, "environments", place): new
            for index, waiver in enumerate(data.get("waivers") or ())
            for place, name in enumerate(waiver.get("environments") or ())
            if name == old
        }
        edited[POLICY] = environment_files.edited(texts[POLICY], values, POLICY)
    return {file: text for file, text in edited.items() if text != texts[file]}


def _left(old: str, new: str, namespace: str) -> Iterator[str]:
    """Yield what is left for people to do, in the order of doing."""
    yield f"{old} is {new} now; its objects and its namespace {namespace} stay. What is left:"
    yield "  1. git add -A overlays argocd base .github, and merge: no pod restarts; Argo CD syncs"
    yield "     nothing of the environment until its objects are handed over"
    yield "  2. hand them over, in this order: while the old Application has its finalizer, its"
    yield "     deletion deletes the environment"
    yield from (f"       {line}" for line in _commands(old, new))
    yield f"  3. remove the waiver of {RULE} from overlays/{new}/{SETTINGS}"
    yield '  argocd/README.md explains each command in "Renaming an environment"'


def _commands(old: str, new: str) -> list[str]:
    """Return the commands by which an Application hands its objects over to another one."""
    no_finalizers = '{"metadata":{"finalizers":null}}'
    return [
        f"kubectl -n argocd patch application linea-{old} --type=merge -p '{no_finalizers}'",
        f"kubectl -n argocd delete application linea-{old}",
        f"kubectl annotate -f overlays/{new}/manifests argocd.argoproj.io/tracking-id-",
        f"kubectl -n argocd delete appproject linea-{old}",
    ]
