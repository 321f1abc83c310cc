"""Backups of editors are recognised, and no file that people name themselves."""

from __future__ import annotations

import pytest

from scripts.core import backup_files


@pytest.mark.parametrize(
    "name",
    [
        "values.yaml.orig",
        "values.yaml~",
        "values.yaml.~1~",
        "values.yaml.bak",
        "values.yaml.bak2",
        "values.yaml.old",
        "values.yaml.save",
        "values.yaml.rej",
        "values.yaml.orig~",
        "values.yaml.mine",
        "#values.yaml#",
        ".#values.yaml",
        ".values.yaml.swp",
        "values copy.yaml",
        "values copy 2.yaml",
        "values - Copy.yaml",
        "values - Copy (2).yaml",
        "values (1).yaml",
        "values_BACKUP_4711.yaml",
        "values_REMOTE_4711.yaml",
        "values.orig.yaml",
    ],
)
def test_a_backup_is_of_the_file_that_it_repeats(name: str) -> None:
    assert backup_files.original(name) == "values.yaml"
    fix = backup_files.instruction(name, ["values.yaml"])
    assert fix == f"remove {name}: it is a backup of values.yaml, which is there"
    assert backup_files.instruction(name, []) == (
        f"remove {name}; if values.yaml was lost, restore that from git"
    )


@pytest.mark.parametrize(
    "name",
    [
        "values.yaml",
        "values.yml",
        "backup.yaml",
        "backup.sh",
        "copy.yaml",
        "old.yaml",
        "base.yaml",
        "copy-of-secrets.yaml",
        "_names.tpl",
        "more-memory.yaml",
        "tmp.yaml",
        "restore_2.yaml",
        ".helmignore",
        "log4j2.xml",
    ],
)
def test_a_name_that_people_give_is_no_backup(name: str) -> None:
    assert backup_files.original(name) is None
    assert backup_files.instruction(name, ["values.yaml"]) is None
