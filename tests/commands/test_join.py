"""Shards join to the report of one run: the same bytes, the same exit code, in every format."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import jsonschema_rs
import pytest

from scripts.__main__ import main
from scripts.checks import policy, policy_scanners
from scripts.commands.impact import FORMATS
from scripts.commands.join import COMMANDS
from scripts.core.shards import Shard
from scripts.impact import predict
from scripts.impact.report import document, from_document
from tests.conftest import ROOT, Repository
from tests.git import commit, git

SCHEMA = ROOT / "scripts" / "core" / "findings.schema.json"
IMPACT = ROOT / "scripts" / "impact" / "impact.schema.json"
BESU = "manifests/statefulset-linea-stack-besu.yaml"


def run(repository: Repository, *arguments: str) -> tuple[int, str]:
    """Run the program in this process, and return its exit code and what it has written."""
    written = StringIO()
    with redirect_stdout(written):
        code = main(["--repository", str(repository.root), *arguments])
    return code, written.getvalue()


def sharded(
    repository: Repository, folder: Path, count: int, command: str, *arguments: str
) -> list[str]:
    """Run a command in shards, and return the files with their reports, the last one first."""
    files = []
    for number in range(count, 0, -1):
        shard = ("--shard", f"{number}/{count}", "--format", "json")
        file = folder / f"{command}-{number}.json"
        file.write_text(run(repository, command, *arguments, *shard)[1], "utf-8")
        files.append(str(file))
    return files


@pytest.fixture
def wrong(repository: Repository) -> Repository:
    """Return a repository with findings in each environment, between two, and in no environment."""
    root = repository.root
    git(root, "init", "-q", "-b", "main")
    repository.write(".gitignore", ".render/\n")
    commit(root)
    text = (repository / "overlays/prod/values.yaml").read_text("utf-8")
    (repository / "overlays/staging/values.yaml").write_text(text, "utf-8")
    with (repository / "overlays/dev/values.yaml").open("a", encoding="utf-8") as file:
        file.write("txSender:\n  intervalSeconds: 0.0000001\n")
    repository.write(
        "argocd/projects/gone.yaml", (repository / "argocd/projects/dev.yaml").read_text()
    )
    with (repository / "overlays/prod" / BESU).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    return repository


def test_validate_and_check_join_to_the_report_of_one_run(
    wrong: Repository, tmp_path: Path
) -> None:
    for command, arguments in (("validate", ("--against", "main")), ("check", ())):
        files = sharded(wrong, tmp_path, 2, command, *arguments)
        for form in ("json", "gitlab") if command == "validate" else ("json",):
            whole = run(wrong, command, *arguments, "--format", form)
            assert run(wrong, "join", *files, "--format", form) == whole
            assert whole[0] == 1
        found = json.loads(run(wrong, "join", *files, "--format", "json")[1])["findings"]
        assert {each["environment"] for each in found} >= {"", "prod", "staging"}
        schema = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text("utf-8")))
        for file in files:
            schema.validate(json.loads(Path(file).read_text("utf-8")))
        of_shards = [
            each for file in files for each in json.loads(Path(file).read_text("utf-8"))["findings"]
        ]
        assert len(of_shards) < len(found), "no finding is between environments, or of none"


def test_shards_join_on_another_machine_unless_files_differ(
    wrong: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sharded(wrong, tmp_path, 2, "check")
    here = run(wrong, "join", *files, "--format", "json")
    shutil.copytree(wrong.root, tmp_path / "elsewhere" / "checkout", symlinks=True)
    elsewhere = Repository(tmp_path / "elsewhere" / "checkout")
    assert run(elsewhere, "join", *files, "--format", "json") == here
    wrong.write("overlays/dev/values.yaml", "{}\n")
    assert run(wrong, "join", *files) == (2, "")
    assert "is about other files of dev than this checkout has" in capsys.readouterr().err


def failed(objects: Sequence[object], version: str) -> Iterator[object]:
    """Find the same in each environment as a scanner would, without starting it."""
    for manifest in objects:
        if getattr(manifest, "kind", "") == "CronJob":
            yield policy_scanners.FailedCheck("checkov/CKV_K8S_8", manifest, (), "no probe")  # type: ignore[arg-type]


def test_policy_joins_with_unused_waivers_and_secrets_of_all_files(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        policy_scanners, "scan", lambda environments: [[*failed(*each)] for each in environments]
    )
    git(repository.root, "init", "-q", "-b", "main")
    key = "AKIA" + "Z7Q4N2X5M3B6K2LP"
    repository.write("notes.txt", f"aws_access_key_id = {key}\n")
    repository.write("overlays/staging/patches/.note", f"aws_access_key_id = {key}\n")
    commit(repository.root)
    # All but one are checks that no tool has.
    monkeypatch.setattr(policy_scanners, "known", lambda _: {"checkov/CKV2_K8S_6"})
    policy._checks.cache_clear()
    whole = run(repository, "policy", "--format", "json")
    files = sharded(repository, tmp_path, 2, "policy")
    assert run(repository, "join", *files, "--format", "json") == whole
    found = json.loads(whole[1])["findings"]
    assert {"notes.txt", "overlays/staging/patches/.note"} <= {each["file"] for each in found}
    assert {"stale-waiver", "unknown-check", "checkov/CKV_K8S_8"} <= {
        each["rule"] for each in found
    }


@pytest.fixture
def changed(repository: Repository) -> Repository:
    """Return a repository with a change of all environments, the same one in two of them."""
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    for name in ("dev", "prod", "staging"):
        repository.replace(
            f"overlays/{name}/{BESU}", "\n        image: ", "\n        image: other/"
        )
    repository.replace(f"overlays/dev/{BESU}", "\n  replicas: ", "\n  replicas: 1")
    return repository


def test_impact_joins_to_the_report_of_one_run(
    changed: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sharded(changed, tmp_path, 4, "impact", "--against", "main")
    schema = jsonschema_rs.validator_for(json.loads(IMPACT.read_text("utf-8")))
    for file in files:
        schema.validate(json.loads(Path(file).read_text("utf-8")))
    report = predict.impact(changed.root, "main")
    for form, write in FORMATS.items():
        assert run(changed, "join", *files, "--format", form) == (0, write(report))
    read = json.loads(json.dumps(document(report)))["environments"]
    assert tuple(map(from_document, read)) == report.environments
    assert len(report.environments) == 2
    changed.replace(f"overlays/dev/{BESU}", "\n  replicas: ", "\n  replicas: 1")
    assert run(changed, "join", *files) == (2, "")
    assert (
        "compares other files than main and the working tree have here" in capsys.readouterr().err
    )


def test_a_run_that_an_invalid_file_ended_joins_to_its_findings(
    changed: Repository, tmp_path: Path
) -> None:
    changed.write(f"overlays/dev/{BESU}", "kind: A\na: b: c\n")
    whole = run(changed, "impact", "--against", "main", "--format", "json")
    files = sharded(changed, tmp_path, 3, "impact", "--against", "main")
    assert run(changed, "join", *files, "--format", "json") == whole
    assert whole[0] == 1


def test_validate_says_what_it_leaves_out_and_why(repository: Repository) -> None:
    git(repository.root, "init", "-q", "-b", "main")
    repository.write(".gitignore", ".render/\n")
    commit(repository.root)
    repository.replace("overlays/dev/environment.yaml", "name: dev", "# dev\nname: dev")
    arguments = ("validate", "--changed", "--against", "main")
    done = repository.run(*arguments)
    assert done.code == 0, done.out
    said = " ".join(done.out.split())
    assert "checked dev; prod, staging are left out: no input, no output and nothing that" in said
    assert "differs from main, so each by itself is as valid as it is there" in said
    text = (repository / "base/values.yaml").read_text("utf-8")
    repository.write("base/values.yaml", f"{text}# All.\n")
    done = repository.run(*arguments, "--format", "json")
    assert done.code == 0
    assert json.loads(done.out)["findings"]
    assert "checked all environments, as all depend on what differs: base/values.yaml\n" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("validate", "dev", "--shard", "1/2"),
            "--shard is a part of all environments: remove dev",
        ),
        (("validate", "--shard", "1/2", "--fix"), "--fix needs all environments: remove --shard"),
        (("validate", "--changed"), "--changed needs the revision to compare with: add --against"),
        (("validate", "dev", "--changed", "--against", "main"), "remove dev, or --changed"),
        (("render", "--shard", "1/2"), "--shard needs --check: render writes all environments"),
        (("impact", "--shard", "3/2"), "3/2: of 2, the number of the shard is 1 to 2"),
        (("join", "none.json"), "none.json: No such file or directory"),
    ],
)
def test_options_that_do_not_go_together_exit_with_2(
    repository: Repository, arguments: tuple[str, ...], words: str
) -> None:
    done = repository.run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


def test_the_commands_with_shards_are_those_that_join(repository: Repository) -> None:
    for command in COMMANDS:
        assert "--shard I/N" in repository.run(command, "--help").out
    assert Shard(1, 1).part(["b", "a"]) == ["a", "b"]
