"""`nox -s network` keeps private files private, uses those that exist, and replaces none."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from scripts.network.keys import Key
from tests.conftest import ROOT, Repository
from tests.git import git
from tests.network.chains import MARU, SEQUENCER, assert_consistent, network, private, public


@pytest.mark.parametrize("mask", ["000", "077", "777"])
def test_only_the_owner_can_read_private_files_whatever_the_umask(
    plain: Repository, mask: str
) -> None:
    command = plain.command("network", "dev")
    shell = ["sh", "-c", f'umask {mask}; exec "$@"', "sh", *command]
    (plain / ".render").mkdir(exist_ok=True)
    subprocess.run(shell, cwd=ROOT, check=True, capture_output=True)
    top = plain / ".secrets"
    mode = stat.S_IMODE((plain / "overlays/dev/network.yaml").stat().st_mode)
    assert mode == (0o666 & ~int(mask, 8)) | 0o600
    for path in (top, *top.rglob("*")):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.lstat().st_mode) == wanted, path
        assert path.stat().st_nlink == 1 or path.is_dir()


def test_git_ignores_private_files_even_without_a_gitignore_at_the_top(plain: Repository) -> None:
    network(plain, "dev")
    git(plain.root, "init", "-q")
    status = git(plain.root, "status", "--porcelain", "--untracked-files=all")
    assert "overlays/dev/network.yaml" in status
    assert ".secrets" not in status


def test_existing_private_keys_are_used(plain: Repository) -> None:
    key = Key.generate()
    plain.write(f".secrets/dev/{SEQUENCER}/key", f"{key.hex}\n")
    network(plain, "dev", "--validators", "4")
    assert public(plain)["network"]["validators"][0]["nodeId"] == key.node_id
    assert private(plain)[f"{SEQUENCER}/key"] == f"{key.hex}\n"
    assert_consistent(plain, 4)


def test_without_the_private_keys_nothing_is_created(plain: Repository) -> None:
    network(plain, "dev")
    shutil.rmtree(plain / ".secrets")
    before = plain.files()
    done = network(plain, "dev")
    assert "its private keys are not on this machine" in done.out
    assert plain.files() == before


def test_a_missing_key_is_reported_and_not_replaced(plain: Repository) -> None:
    network(plain, "dev", "--validators", "4")
    lost = plain / f".secrets/dev/{MARU}/key-2"
    lost.unlink()
    before = plain.files()
    done = network(plain, "dev", "--validators", "4")
    assert f"not on this machine: {MARU}/key-2 in .secrets/dev" in done.out
    assert plain.files() == before


@pytest.mark.parametrize("text", ["", "abc", "é" * 64, "0" * 64])
def test_an_invalid_key_is_rejected_and_kept(plain: Repository, text: str) -> None:
    path = f".secrets/dev/{SEQUENCER}/key"
    plain.write(path, text)
    done = network(plain, "dev", code=1)
    assert f"{path}  error  invalid-private-key\n  not a private key: expected" in done.out
    assert (plain / path).read_text() == text
    assert not (plain / "overlays/dev/network.yaml").exists()


def test_more_keys_than_validators_are_rejected(plain: Repository) -> None:
    network(plain, "dev", "--validators", "7")
    (plain / "overlays/dev/network.yaml").unlink()
    done = network(plain, "dev", "--validators", "4", code=1)
    assert f".secrets/dev/{MARU}/key-6  error  unexpected-key-file" in done.out
    assert len(private(plain)) == 2 * 7 + 6


def test_insecure_file_modes_are_restricted_with_a_warning(plain: Repository) -> None:
    network(plain, "dev")
    key, folder = plain / f".secrets/dev/{MARU}/key", plain / f".secrets/dev/{MARU}"
    key.chmod(0o644)
    folder.chmod(0o755)
    done = network(plain, "dev")
    assert f".secrets/dev/{MARU}/key  warning  insecure-file-mode" in done.err
    can_use = "other users of this machine could read or change the file"
    assert f"the mode was 0644: {can_use}" in done.err
    assert "the mode was 0755: other users of this machine could list its files" in done.err
    assert done.err.count("create a new chain") == 1
    assert "2 warnings" in done.err
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not network(plain, "dev").err
    folder.chmod(0o770)
    assert f"the mode was 0770: {can_use}" in network(plain, "dev").err


@pytest.mark.parametrize("link", [".secrets", ".secrets/dev", f".secrets/dev/{MARU}"])
def test_a_link_instead_of_a_folder_is_rejected(
    plain: Repository, tmp_path: Path, link: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (plain / link).parent.mkdir(parents=True, exist_ok=True)
    (plain / link).symlink_to(elsewhere)
    done = network(plain, "dev", code=1)
    assert f"{link}  error  invalid-secret-file" in done.out
    assert not [*elsewhere.iterdir()]
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755


def test_a_link_instead_of_a_key_is_rejected(plain: Repository, tmp_path: Path) -> None:
    network(plain, "dev")
    key = plain / f".secrets/dev/{MARU}/key"
    key.rename(tmp_path / "key")
    key.symlink_to(tmp_path / "key")
    done = network(plain, "dev", code=1)
    assert f".secrets/dev/{MARU}/key  error  invalid-secret-file" in done.out


def test_a_read_only_folder_is_a_usage_error(
    plain: Repository, bound_by_permissions: list[str]
) -> None:
    (plain / ".secrets").mkdir()
    (plain / ".secrets").chmod(0o500)
    command = [*bound_by_permissions, *plain.command("network", "dev")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    (plain / ".secrets").chmod(0o700)
    assert done.returncode == 2
    assert done.stderr.startswith("network: .secrets/dev: Permission denied; ")


def test_a_file_instead_of_a_folder_is_rejected(plain: Repository) -> None:
    plain.write(".secrets/dev", "a file\n")
    assert ".secrets/dev  error  invalid-secret-file" in network(plain, "dev", code=1).out
