"""An environment is made like another one, and nothing is left of it if that fails."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
import yaml

from scripts.adoption import new_environment
from scripts.adoption.new_environment import Wanted
from scripts.core.findings import UsageError
from scripts.network import make
from tests.conftest import Repository

OBJECT = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: links}
data: {rpc: https://rpc.prod.example.org} # as the Ingress
---
apiVersion: v1
kind: ConfigMap
metadata: {name: more}
data: {ws: https://ws.prod.example.org}
"""


def test_an_environment_like_another_one_has_names_of_its_own(repository: Repository) -> None:
    repository.write("overlays/prod/objects/links.yaml", OBJECT)
    done = repository.run("new", "qa", "--like", "prod", "--cluster", "qa-1")
    assert not done.code, f"{done.out}{done.err}"
    settings = yaml.safe_load((repository / "overlays/qa/environment.yaml").read_text())
    assert (settings["name"], settings["namespace"]) == ("qa", "linea-qa")
    assert settings["cluster"] == {"name": "qa-1"}
    assert "example" not in settings
    text = (repository / "overlays/qa/values.yaml").read_text()
    values, old = yaml.safe_load(text), (repository / "overlays/prod/values.yaml").read_text()
    assert values["ingress"]["rpc"]["host"] == "rpc.qa.linea.example.com"
    without_comments = " ".join(line.split("#")[0] for line in text.splitlines())
    assert "prod" not in re.split(r"\W", without_comments)
    assert [line for line in old.splitlines() if line.startswith("#")] == [
        line for line in text.splitlines() if line.startswith("#")
    ]
    assert "ws.qa.example.org" in (repository / "overlays/qa/objects/links.yaml").read_text()
    chains = [(repository / f"overlays/{name}/network.yaml").read_text() for name in ("qa", "prod")]
    assert chains[0].count("address: ") == 4
    assert not set(yaml.safe_load(chains[0])["network"]["validators"][0].values()) & set(
        chains[1].split()
    )
    assert (repository / ".secrets/qa/create-secrets.sh").is_file()
    assert (repository / "argocd/applications/qa.yaml").is_file()
    assert "linea-qa-backup" in done.out
    assert "rpc.qa.linea.example.com, ws.qa.linea.example.com" in done.out
    assert repository.run("check", "qa").code == 0


def test_another_number_of_validators_is_in_the_values(repository: Repository) -> None:
    new_environment.create(repository.root, Wanted("qa", "dev", validators=2, chain_id=1337))
    values = yaml.safe_load((repository / "overlays/qa/values.yaml").read_text())
    assert values["maru"]["replicas"] == values["sequencer"]["replicas"] == 2
    assert values["network"] == {"acceptNoFaultTolerance": True}
    assert '"chainId": 1337' in (repository / "overlays/qa/network.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dev", "--like", "prod"], "the environment dev exists already: write another name"),
        (["q_a", "--like", "prod"], "q_a can't be the name of an environment: write at most 40"),
        (["qa", "--like", "pord"], "unknown environment pord: did you mean prod?"),
        (["qa", "--like", "prod", "--validators", "0"], "--validators 0: write 1 to 100"),
    ],
)
def test_a_name_that_can_not_be_used_is_refused(
    repository: Repository, arguments: list[str], message: str
) -> None:
    before = repository.files()
    done = repository.run("new", *arguments)
    assert (done.code, repository.files()) == (2, before)
    assert f"new: {message}" in done.err


def test_a_namespace_of_another_environment_leaves_nothing(repository: Repository) -> None:
    before = repository.files()
    done = repository.run("new", "qa", "--like", "dev", "--namespace", "linea-prod")
    assert (done.code, repository.files()) == (1, before)
    assert "shared-namespace" in done.out
    assert done.err.startswith("new: nothing is left of qa; ")


def test_ctrl_c_leaves_nothing(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = repository.files(), make.make

    def interrupted(root: Path, name: str, *more: object) -> None:
        write(root, name, *more)  # type: ignore[arg-type]
        assert (root / ".secrets" / name).is_dir()
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(make, "make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        new_environment.create(repository.root, Wanted("qa", "dev"))
    assert repository.files() == before


def test_private_files_of_an_earlier_environment_are_kept(repository: Repository) -> None:
    repository.write(".secrets/qa/linea-stack/key", "of an earlier qa")
    with pytest.raises(UsageError, match=r"\.secrets/qa exists already: move it away"):
        new_environment.create(repository.root, Wanted("qa", "dev"))
    assert (repository / ".secrets/qa/linea-stack/key").read_text() == "of an earlier qa"
