"""Repositories of many environments: generated ones, and a copy of this one; changes of them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from tests import example_repository
from tests.bench.measuring import ROOT
from tests.environment_copies import copy_environment
from tests.git import attempt, git

RELEASES = ("v0.1.0", "v0.2.0", "v0.3.0")


def generate(folder: Path, count: int) -> Path:
    """Write a repository of so many environments, prod's shape with values of their own."""
    example = example_repository.path()
    for part in ("chart", "base", "tools/python"):
        shutil.copytree(example / part, folder / part)
    shutil.copytree(example / "argocd", folder / "argocd", ignore=_rendered)
    prod = example / "overlays" / "prod"
    for number in range(count):
        name = f"env-{number:03}"
        overlay = folder / "overlays" / name
        copy_environment(prod, overlay, number)
        text = (overlay / "values.yaml").read_text("utf-8")
        # Two environments can't share a host or a role in the cloud.
        for shared in ("linea.example.com", "role/linea-prod"):
            text = text.replace(shared, shared.replace("linea", f"linea-{name}", 1))
        values = yaml.safe_load(text)
        values["besu"]["podLabels"] = {"example.com/number": f"n{number:03}"}
        values["txSender"] = {"amount": number + 1}
        (overlay / "values.yaml").write_text(yaml.safe_dump(values), "utf-8")
    return folder


def _rendered(folder: str, names: list[str]) -> list[str]:
    """Return the files of a folder of argocd/ that render writes."""
    is_written = Path(folder).name in ("applications", "projects")
    return [name for name in names if is_written or name == "root.yaml"]


def own(folder: Path) -> Path:
    """Write a copy of this repository with its installed tools, as a person has it."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    commit(folder)
    # .gitignore names folders; these are links, which validate would report.
    exclude = folder / ".git" / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text("/.tools\n/.nox\n", "utf-8")
    (folder / ".tools").symlink_to(ROOT / ".tools")
    for name in ("python", "policy"):
        installed = ROOT / ".nox" / name
        if not installed.is_dir():
            continue
        linked = folder / ".nox" / name
        linked.mkdir(parents=True)
        for part in ("bin", "lib", "pyvenv.cfg"):
            (linked / part).symlink_to(installed / part)
        # nox must take it for its own, and install nothing: the path is part of what it compares.
        data = json.loads((installed / "installed.json").read_text("utf-8"))
        data["python"] = f"{sys.version} {sys.base_prefix} {linked}"
        (linked / "installed.json").write_text(json.dumps(data), "utf-8")
    return folder


def commit(repository: Path) -> None:
    """Make a repository of git with everything in one commit."""
    git(repository, "init", "--quiet", "--initial-branch=main")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "before")


def overlays(repository: Path) -> list[Path]:
    """Return the folders of the environments."""
    return sorted(path for path in (repository / "overlays").iterdir() if path.is_dir())


def layers(repository: Path, overlay: Path) -> list[Path]:
    """Return the files of an environment's values, the last takes precedence."""
    about = yaml.safe_load((overlay / "environment.yaml").read_text("utf-8"))
    base = repository / "base"
    shared = [base / "values.yaml", *(base / "profiles" / f"{p}.yaml" for p in about["profiles"])]
    return [*shared, overlay / "network.yaml", overlay / "values.yaml"]


def change_line(overlay: Path, number: int) -> None:
    """Change one value of an environment, which changes one Deployment."""
    file = overlay / "values.yaml"
    data = yaml.safe_load(file.read_text("utf-8"))
    data.setdefault("txSender", {})["amount"] = 1_000_000 + number
    file.write_text(yaml.safe_dump(data), "utf-8")


def retag(overlay: Path, number: int) -> None:
    """Give an environment's Besu nodes the tag of that number."""
    file = overlay / "values.yaml"
    data = yaml.safe_load(file.read_text("utf-8"))
    for component in ("besu", "sequencer"):
        data[component]["image"] = {"tag": f"26.1.{number}"}
    file.write_text(yaml.safe_dump(data), "utf-8")


def release(repository: Path) -> None:
    """Tag three releases that differ in a comment of the chart only."""
    git(repository, "init", "--quiet", "--initial-branch=main")
    for tag in RELEASES:
        values = repository / "chart" / "values.yaml"
        values.write_text(f"{values.read_text('utf-8')}# {tag}\n", "utf-8")
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "--message", tag)
        git(repository, "tag", tag)


def pin(repository: Path, tags: Sequence[str]) -> None:
    """Give the environments the releases in turn; without any, they have the working tree."""
    for number, overlay in enumerate(overlays(repository)):
        file = overlay / "environment.yaml"
        lines = file.read_text("utf-8").splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith("release: ")]
        kept += [f"release: {tags[number % len(tags)]}\n"] if tags else []
        file.write_text("".join(kept), "utf-8")


def unrender(repository: Path) -> None:
    """Delete what commands have written, so that the next one finds nothing."""
    shutil.rmtree(repository / ".render", ignore_errors=True)
    for overlay in overlays(repository):
        shutil.rmtree(overlay / "manifests", ignore_errors=True)


def documents(repository: Path, folder: Path) -> Path:
    """Write one file for each environment, with all of its manifests, and return their folder."""
    folder.mkdir()
    for overlay in overlays(repository):
        texts = [one.read_text("utf-8") for one in sorted((overlay / "manifests").iterdir())]
        (folder / f"{overlay.name}.yaml").write_text("---\n".join(texts), "utf-8")
    return folder


def revision() -> str:
    """Return the commit of this repository, with a + if the working tree differs."""
    return attempt(ROOT, "describe", "--always", "--dirty=+").stdout.strip() or "unknown"
