"""A renamed environment keeps its objects, and has its old name if the renaming fails."""

from __future__ import annotations

import signal

import pytest
import yaml

from scripts.adoption import rename
from scripts.output import update
from tests.conftest import Repository

POLICY = """\
waivers:
  - check: checkov/CKV_K8S_40
    objects: [CronJob/linea-stack-*]
    environments: [dev, staging] # not prod
    reason: Besu's image reserves user 1000 for Besu, and chain data belongs to it.
"""


def test_only_the_name_changes(repository: Repository) -> None:
    repository.write("base/policy.yaml", POLICY)
    repository.write(".secrets/staging/linea-stack/key", "a key")
    repository.write(
        ".github/CODEOWNERS", "/overlays/staging/ @a # and others\n/overlays/prod/ @b\n"
    )
    manifests = repository.files("overlays/staging/manifests")
    done = repository.run("rename", "staging", "quality")
    assert not done.code, f"{done.out}{done.err}"
    assert not (repository / "overlays/staging").exists()
    renamed = repository.files("overlays/quality/manifests")
    assert renamed == {k.replace("/staging/", "/quality/"): v for k, v in manifests.items()}
    settings = yaml.safe_load((repository / "overlays/quality/environment.yaml").read_text())
    assert (settings["name"], settings["namespace"]) == ("quality", "linea-staging")
    (waiver,) = settings["waivers"]
    assert (waiver["rule"], waiver["object"]) == (
        "environment-renamed",
        "Application/linea-quality",
    )
    policy = (repository / "base/policy.yaml").read_text()
    assert policy == POLICY.replace("staging", "quality")
    owners = (repository / ".github/CODEOWNERS").read_text()
    assert owners == "/overlays/quality/ @a # and others\n/overlays/prod/ @b\n"
    assert (repository / ".secrets/quality/linea-stack/key").read_text() == "a key"
    for kind in ("applications", "projects"):
        assert not (repository / f"argocd/{kind}/staging.yaml").exists()
        assert (repository / f"argocd/{kind}/quality.yaml").exists()
    assert "kubectl -n argocd delete application linea-staging\n" in done.out
    assert repository.run("check").code == 0


def test_an_error_or_ctrl_c_leaves_the_old_name(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write("base/policy.yaml", POLICY)
    before, write = repository.files(), update.update

    def interrupted(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(update, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rename.rename(repository.root, "staging", "quality")
    assert repository.files() == before


def test_a_name_in_use_is_refused(repository: Repository) -> None:
    before = repository.files()
    done = repository.run("rename", "staging", "prod")
    assert (done.code, repository.files()) == (2, before)
    assert done.err == "rename: the environment prod exists already: write another name\n"
