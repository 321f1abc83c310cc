"""Environments are copied with their comments, under their own names."""

from __future__ import annotations

import yaml

from scripts.adoption import environment_files
from tests.conftest import Repository


def test_a_copy_has_its_own_names_and_all_comments(repository: Repository) -> None:
    settings = "# first\nname: a\nnamespace: linea-a # second\n"
    values = "# third\naws:\n  backupRoleArn: arn:aws:iam::1:role/linea-a-backup # as in a\n"
    repository.write("overlays/a/environment.yaml", settings)
    repository.write("overlays/a/values.yaml", values)
    repository.write("overlays/a/network.yaml", "{}\n")
    texts = environment_files.copied(repository.root, "a", "qa", "chain-qa")
    assert texts == {
        "environment.yaml": "# first\nname: qa\nnamespace: chain-qa # second\n",
        "values.yaml": values.replace("linea-a-backup", "chain-qa-backup"),
    }


def test_an_environment_is_replaced_at_once(repository: Repository) -> None:
    repository.write("overlays/.new-dev/left.yaml", "of a killed run\n")
    environment_files.install(repository.root, "dev", {"environment.yaml": "name: dev\n"})
    folder = repository / "overlays/dev"
    assert [path.name for path in folder.iterdir()] == ["environment.yaml"]
    assert yaml.safe_load((folder / "environment.yaml").read_text()) == {"name": "dev"}
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]


def test_paths_of_linux_keep_their_names() -> None:
    text = "a: /dev/shm\nb: --log=/dev/stdout\nc: https://dev.example.com/dev\nd: vault/dev/key\n"
    new = "a: /dev/shm\nb: --log=/dev/stdout\nc: https://qa.example.com/qa\nd: vault/qa/key\n"
    assert environment_files.with_words(text, {"dev": "qa"}) == new
