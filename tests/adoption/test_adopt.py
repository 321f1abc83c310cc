"""The repository is adopted from a file of answers: all of it, once, and nothing by halves."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from scripts.adoption import answers, environment_files, journal
from scripts.adoption import plan as planning
from tests.conftest import ROOT, Repository
from tests.git import commit, git

REPOSITORY = "repository: {url: https://git.acme.test/linea.git}\n"
COMPANY = Path(__file__).with_name("company.yaml")
SHIPPED = ("argocd", "base", "overlays")
NAMES = re.compile(
    r"example\.(com|org|net)|\.invalid|111122223333|amzn-s3-demo|192\.0\.2\.|10\.[23]0\.0\.0"
    r"|01234567-89ab|linea-(dev|staging|prod)\b(?!-us|$)"
)
"""Of the shipped environments; `linea-prod` is also the name of an Application of prod."""


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return this repository with the examples, as someone clones it."""
    root = tmp_path_factory.mktemp("shipped") / "repository"
    for part in (*SHIPPED, "chart", ".github", "tools/python"):
        shutil.copytree(ROOT / part, root / part)
    shutil.copy(ROOT / "noxfile.py", root)
    git(root, "init", "-q", "-b", "main")
    (root / ".gitignore").write_text(".render/\n.secrets/\n", "utf-8")
    git(root, "add", "--all")
    git(root, "commit", "-q", "-m", "x")
    return Repository(root)


@pytest.fixture
def cloned(shipped: Repository, tmp_path: Path) -> Repository:
    git(tmp_path, "clone", "-q", "--local", str(shipped.root), "clone")
    return Repository(tmp_path / "clone")


pytestmark = pytest.mark.skipif(
    not all(answers.is_example(ROOT, name) for name in ("dev", "prod", "staging")),
    reason="this repository is adopted already",
)


@pytest.fixture(scope="module")
def company(shipped: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return the repository of a company that has adopted it."""
    folder = tmp_path_factory.mktemp("company")
    git(folder, "clone", "-q", "--local", str(shipped.root), "clone")
    repository = Repository(folder / "clone")
    shutil.copy(COMPANY, repository / "adopt.yaml")
    done = repository.run("adopt")
    assert done.code == 0, done.out + done.err
    assert "image-without-digest" in done.out
    assert set(re.findall(r"(?:warning|error)  (\S+)", done.out)) == {"image-without-digest"}
    git(repository.root, "add", "--all")
    git(repository.root, "commit", "-q", "-m", "adopted")
    return repository


def test_a_company_has_its_environments_and_no_example(company: Repository) -> None:
    assert sorted(path.name for path in (company / "overlays").iterdir()) == [
        "preview",
        "prod",
        "prod-us",
        "sandbox",
    ]
    assert company.run("check").code == 0
    for name in ("prod", "prod-us"):
        settings = yaml.safe_load((company / f"overlays/{name}/environment.yaml").read_text())
        assert "example" not in settings
        assert ("three-zones" in settings["profiles"]) is (name == "prod")
    ignored = git(company.root, "check-ignore", ".secrets/prod/create-secrets.sh")
    assert ignored.strip() == ".secrets/prod/create-secrets.sh"


def test_nothing_of_the_examples_is_left(company: Repository) -> None:
    names = git(company.root, "ls-files", *SHIPPED, ".github").split()
    found = {
        f"{name}: {line}"
        for name in names
        if not name.endswith(".md") and name != "base/placeholders.yaml"
        for line in (company / name).read_text("utf-8").splitlines()
        if NAMES.search(line) and line.strip() not in ("name: linea-prod", "project: linea-prod")
    }
    assert found == set()


def test_comments_stay(company: Repository) -> None:
    text = (company / "overlays/prod/values.yaml").read_text("utf-8")
    assert "# The chain grows; this is room for a year.\n" in text
    owners = (company / ".github/CODEOWNERS").read_text("utf-8")
    assert "/overlays/prod/   @acme/operators\n/overlays/prod-us/ @acme/operators\n" in owners
    waivers = yaml.safe_load((company / "base/policy.yaml").read_text())["waivers"]
    assert [w["environments"] for w in waivers if "environments" in w] == [["sandbox"]] * 2


def test_again_it_changes_nothing(company: Repository) -> None:
    secrets = company.files(".secrets")
    done = company.run("adopt")
    assert done.code == 0
    assert "up to date: preview, prod, prod-us, sandbox" in done.out
    assert git(company.root, "status", "--porcelain") == ""
    assert company.files(".secrets") == secrets


def test_its_first_pull_request_is_not_compared_with_examples(company: Repository) -> None:
    done = company.run("validate", "--against", "HEAD~1")
    assert done.code == 0, done.out
    assert "they are examples: dev, prod and staging" in done.err


def test_an_environment_of_ones_own_is_never_overwritten(cloned: Repository) -> None:
    file = "overlays/prod/environment.yaml"
    cloned.write(file, re.sub("example: true.*\n", "", (cloned / file).read_text("utf-8")))
    commit(cloned.root)
    before = cloned.files("overlays/prod")
    cloned.write("adopt.yaml", f"{REPOSITORY}environments: {{prod: {{like: dev}}}}\n")
    done = cloned.run("adopt")
    assert "overlays/prod/values.yaml:7:7  error  placeholder  prod" in done.out
    assert cloned.files("overlays/prod") == before


def test_changes_of_an_example_are_not_lost(cloned: Repository) -> None:
    cloned.write("overlays/dev/values.yaml", "{}\n")
    shutil.copy(COMPANY, cloned / "adopt.yaml")
    done = cloned.run("adopt")
    assert done.code == 1
    assert "the example dev has changes that are in no commit" in done.out
    assert (cloned / "overlays/staging").exists()


def test_one_environment_needs_one_command_and_no_aws(cloned: Repository) -> None:
    url = "https://git.acme.test/linea.git"
    done = cloned.run("adopt", "--url", url, "--environment", "trial=dev")
    assert done.code == 0, done.out + done.err
    assert [path.name for path in (cloned / "overlays").iterdir()] == ["trial"]
    assert f"repoURL: {url}" in (cloned / "argocd/root.yaml").read_text("utf-8")
    assert "  [ ] create the Secrets in the namespace linea-trial" in done.out
    assert "aws" not in done.out
    assert "rclone" not in (cloned / "base/images.yaml").read_text("utf-8")
    assert "unused-digest" not in done.out
    assert "exists" in cloned.run("adopt").out


def test_without_a_terminal_missing_answers_are_named(cloned: Repository) -> None:
    done = cloned.run("adopt")
    assert done.code == 2
    assert "missing answers: --url, --domain, environments.prod.account" in done.err
    assert git(cloned.root, "status", "--porcelain") == ""


def test_a_killed_run_is_completed(cloned: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"environment.yaml": "name: trial\n"}
    wanted = planning.Plan({"trial": texts}, ("dev", "staging"), {"base/values.yaml": "{}\n"})

    move = environment_files.move_into_place

    def killed(root: Path, name: str, new: Path) -> None:
        move(root, name, new)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(environment_files, "move_into_place", killed)
        with pytest.raises(KeyboardInterrupt):
            journal.write(cloned.root, wanted)
    assert journal.recover(cloned.root)
    assert sorted(p.name for p in (cloned / "overlays").iterdir()) == ["prod", "trial"]
    assert (cloned / "base/values.yaml").read_text() == "{}\n"
    assert not journal.recover(cloned.root)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("like: staging", "like: stagin", "adopt.yaml:13:5  error  unknown-environment"),
        ("eu-west-1c]", "eu-west-2c]", "adopt.yaml:18:37  error  zone-of-another-region"),
        (", eu-west-1b, eu-west-1c]", "]", "adopt.yaml:18:5  error  too-few-zones"),
        ("    webAcl: none\n", "", "adopt.yaml:30:3  error  missing-key"),
        ('"000011112222"', '"111122223333"', "adopt.yaml:16:5  error  placeholder"),
        ("git.acme.test", "git.example.com", "adopt.yaml:2:14  error  placeholder"),
    ],
)
def test_an_invalid_answer_is_an_error_at_its_line_and_nothing_is_written(
    cloned: Repository, old: str, new: str, line: str
) -> None:
    text = COMPANY.read_text("utf-8")
    assert old in text
    cloned.write("adopt.yaml", text.replace(old, new))
    done = cloned.run("adopt")
    assert done.code == 1
    assert line in done.out
    assert git(cloned.root, "status", "--porcelain") == "?? adopt.yaml\n"
    assert not (cloned / ".secrets").exists()


def test_an_error_of_the_result_is_at_the_answer_that_decides_it(cloned: Repository) -> None:
    environment = "{like: dev, clients: [10.0.0.0/33]}"
    cloned.write("adopt.yaml", f"{REPOSITORY}environments:\n  trial: {environment}\n")
    done = cloned.run("adopt")
    assert done.code == 1
    assert "adopt.yaml:3:22  error  wrong-value" in done.out
    assert "(overlays/trial/values.yaml)" in done.out
    assert git(cloned.root, "status", "--porcelain") == "?? adopt.yaml\n"
