"""On a terminal, each question has its default, and the answers become a file to read again."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from scripts.adoption import answers, checklist, questions
from scripts.core.findings import UsageError, UserError
from scripts.environments import placeholders
from tests.conftest import ROOT, Repository

NOTHING = questions.Given(None, None, None, ())


class Terminal(io.StringIO):
    """Lines that a person types."""

    def isatty(self) -> bool:
        return True


def asked(repository: Repository, *lines: str) -> tuple[Path, str]:
    """Return the file of answers, and what was printed."""
    file, said = repository / questions.FILE, io.StringIO()
    typed = Terminal("".join(f"{line}\n" for line in lines))
    questions.write(repository.root, file, NOTHING, typed, said)
    return file, said.getvalue()


def test_a_person_answers_what_the_wanted_environments_need(repository: Repository) -> None:
    shutil.copy(ROOT / placeholders.FILE, repository / placeholders.FILE)
    file, said = asked(
        repository,
        *("https://git.acme.test/linea.git", "", "trial=dev live=prod", "acme.test"),
        *("@acme/operators", "@acme/platform", "prometheus", ""),
        *("acme-trial", "", "10.1.0.0/16, 10.2.0.0/16"),
        *("", "prod-eu", "000011112222", "eu-central-1", "", "", "10.50.0.0/22"),
    )
    assert "Branch that Argo CD follows [main]: " in said
    assert "live: zones of the nodes [eu-central-1a eu-central-1b eu-central-1c]: " in said
    found = answers.load(repository.root, file)
    assert found.get("owners", "platform") == "@acme/platform"
    assert found.get("monitoring") == {"release": "prometheus", "namespace": "monitoring"}
    assert found.of("trial", "clients") == ["10.1.0.0/16", "10.2.0.0/16"]
    assert found.of("live", "cluster") == {"name": "prod-eu"}
    assert found.of("live", "webAcl") == "none"
    assert found.namespace("live") == "linea-live"
    assert found.host("live", "rpc") == "rpc.live.acme.test"
    assert found.role("live", "backup") == "arn:aws:iam::000011112222:role/linea-live-backup"


def test_a_cluster_without_tls_is_a_url_and_not_a_name(repository: Repository) -> None:
    file, _ = asked(
        repository,
        *("https://git.acme.test/linea.git", "", "trial=dev"),
        *("", "http://10.0.0.1:8080", ""),
    )
    with pytest.raises(UserError) as error:
        answers.load(repository.root, file)
    assert "begins with https://" in error.value.findings[0].fix


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("https://git.acme.test/linea.git", " --username <user> --password <token>"),
        ("ssh://git@git.acme.test:2222/linea.git", " --ssh-private-key-path <deploy key>"),
        ("git@git.acme.test:linea.git", " --ssh-private-key-path <deploy key>"),
    ],
)
def test_the_checklist_gives_argo_cd_credentials_that_fit_the_address(
    repository: Repository, url: str, options: str
) -> None:
    file, _ = asked(repository, url, "", "dev", "", "", "")
    lines = checklist.lines(repository.root, answers.load(repository.root, file))
    assert f"        argocd repo add {url}{options} --core" in lines


def test_answers_that_end_early_write_nothing(repository: Repository) -> None:
    with pytest.raises(UsageError, match="no answer: nothing was written"):
        asked(repository, "https://git.acme.test/linea.git")
    assert not (repository / questions.FILE).exists()


def test_answers_are_not_overwritten(repository: Repository) -> None:
    repository.write(questions.FILE, "# mine\n")
    with pytest.raises(UsageError, match="has answers already"):
        asked(repository)


def test_roles_in_other_partitions_have_their_arns(repository: Repository) -> None:
    repository.write(
        questions.FILE,
        "repository: {url: https://git.acme.test/linea.git}\n"
        "environments:\n  china: {like: dev, account: '000011112222', region: cn-north-1}\n",
    )
    found = answers.load(repository.root, repository / questions.FILE)
    role = "arn:aws-cn:iam::000011112222:role/linea-china-secrets"
    assert found.role("china", "secrets") == role
