"""A chain for the chart alone: nox -s network -- --output FOLDER."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from scripts.network import make
from tests.conftest import Repository
from tests.objects import of, of_kind

MARU, SEQUENCER = "linea-stack-maru-p2p-key", "linea-stack-sequencer-p2p-key"


def created(repository: Repository, folder: Path, *arguments: str) -> str:
    done = repository.run("network", "--output", str(folder), *arguments)
    assert done.code == 0, done.out + done.err
    return done.out


@pytest.mark.parametrize("validators", [1, 3, 4])
def test_the_chart_renders_a_chain_from_the_folder_alone(
    repository: Repository, tmp_path: Path, validators: int
) -> None:
    before = repository.files()
    folder = tmp_path / "chain"
    out = created(repository, folder, "--validators", str(validators), "--namespace", "linea")
    assert f"helm install my-linea ./chart -n linea -f {folder}/network.yaml" in out
    assert repository.files() == before
    made = of(yaml.safe_load((folder / "network.yaml").read_text("utf-8")))
    sets = {m.component: m.object["spec"].get("replicas") for m in of_kind(made, "StatefulSet")}
    assert sets["maru"] == sets["sequencer"] == validators
    assert any(m.name.endswith("genesis") for m in of_kind(made, "ConfigMap"))
    keys = [f"key-{n}" if n else "key" for n in range(validators)]
    for secret in (MARU, SEQUENCER):
        assert sorted(path.name for path in (folder / "secrets" / secret).iterdir()) == keys
    script = (folder / "secrets" / make.SCRIPT).read_text("utf-8")
    assert "\nnamespace=linea\n" in script


def test_private_files_are_their_owners_and_git_ignores_them(
    repository: Repository, tmp_path: Path
) -> None:
    created(repository, tmp_path)
    top = tmp_path / "secrets"
    assert (top / ".gitignore").read_text("utf-8") == "*\n"
    for path in (top, *top.rglob("*")):
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert {path.name for path in tmp_path.iterdir()} == {"repository", "secrets", "network.yaml"}


@pytest.mark.parametrize("part", ["network.yaml", "secrets"])
def test_a_chain_is_never_replaced(repository: Repository, tmp_path: Path, part: str) -> None:
    created(repository, tmp_path / "chain")
    for path in {"network.yaml", "secrets"} - {part}:
        (tmp_path / "chain" / path).rename(tmp_path / path)
    done = repository.run("network", "--output", str(tmp_path / "chain"))
    assert done.code == 2
    assert f"{part} exists already: write another folder" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "write an ENVIRONMENT, or --output FOLDER"),
        (("dev", "--output", "x"), "write dev or --output x, not both"),
        (("dev", "--namespace", "linea"), "--namespace needs --output"),
        (("--output", "/dev/null/x"), "Not a directory; no chain was created"),
        (("--output", "x", "--namespace", "No"), "--namespace No is invalid: write lower-case"),
    ],
)
def test_invalid_arguments(
    repository: Repository, arguments: tuple[str, ...], message: str
) -> None:
    done = repository.run("network", *arguments)
    assert done.code == 2
    assert message in done.err
