"""The gate: whatever lets a pull request be merged without its checks is reported, at its line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from scripts.checks import gate
from tests.conftest import EXAMPLE, ROOT

PULL, IMPACT, COMMENT = (
    f".github/workflows/{name}.yaml" for name in ("pull-request", "impact", "impact-comment")
)
OWNERS = ".github/CODEOWNERS"
SHARDED = "session: [check, validate, policy]"
SESSIONS = "session: [lint, tests, e2e, admission]"
STEP = "      - if: matrix.session == 'validate'\n"
VALIDATE = '${BASE:+--changed --against "$BASE"} >"report/validate-$INDEX.json"'
SHARD = 'run: python -m nox -s "$SESSION" -- --shard'
ADMISSION = 'run: python -m nox -s admission -- --format github ${BASE:+--against "$BASE"}'
JOIN = "python -m nox -s join -- --format github"
CLOSING = "    if: always()\n"
READ = "permissions:\n  contents: read\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with what the gate consists of."""
    shutil.copytree(EXAMPLE / ".github", tmp_path / ".github")
    shutil.copy(EXAMPLE / "noxfile.py", tmp_path)
    for name in ("argocd/root.yaml", "base/values.yaml", "overlays/prod/values.yaml"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    return tmp_path


def edit(root: Path, file: str, old: str, new: str) -> None:
    """Replace a text of a file."""
    path = root / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_this_repository_has_its_gate() -> None:
    assert gate.check(ROOT) == []


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (PULL, "session: [check, validate,", "session: [validate, check,"),
        (PULL, JOIN, "python -m nox -s join -- --format gitlab"),
        (PULL, "fail-fast: false", "fail-fast: true"),
        (PULL, "timeout-minutes: 45", "timeout-minutes: 90"),
        (PULL, "  pull_request:\n", "  pull_request:\n    branches: [main]\n"),
        (PULL, STEP, "      - if: ${{ matrix.session == 'validate' }}\n"),
        (PULL, STEP, STEP + "        continue-on-error: false\n"),
        (IMPACT, "retention-days: 14", "retention-days: 7"),
        (OWNERS, "/tools/  ", "/docs/  platform@owners.invalid\n/tools/  "),
        (
            OWNERS,
            "/base/            production@owners.invalid",
            "/base/ @acme/chain production@owners.invalid",
        ),
    ],
)
def test_what_keeps_the_gate_is_not_reported(root: Path, file: str, old: str, new: str) -> None:
    edit(root, file, old, new)
    assert gate.check(root) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "words"),
    [
        (PULL, SHARDED, SHARDED.replace(" validate,", ""), "session: [", "validate"),
        (PULL, SHARDED, SHARDED.replace(", policy", ""), "session: [", "policy"),
        (PULL, SHARDED, SHARDED.replace("check, ", ""), "session: [", "check"),
        (PULL, JOIN, "python -m nox -s docs", "run: ", "no job joins its shards"),
        (
            PULL,
            "for session in check validate policy",
            "for session in check policy",
            "run",
            "s validate",
        ),
        (PULL, "|| status=1", "|| true", "run: ", "no job joins its shards"),
        (PULL, SESSIONS, f"{SESSIONS}\n        exclude: [{{session: lint}}]", "sess", "lint"),
        (PULL, STEP, STEP + "        continue-on-error: true\n", "continue", "is ignored"),
        (
            PULL,
            "    timeout-minutes: 45",
            "    continue-on-error: true\n    timeout-minutes: 45",
            "cont",
            "",
        ),
        (PULL, CLOSING, "", "required:", "a skipped job"),
        (PULL, CLOSING, f"{CLOSING}    continue-on-error: true\n", "continue", "always passes"),
        (PULL, VALIDATE, f"{VALIDATE} || true", "run", "goes on after a failure"),
        (PULL, VALIDATE, '>"report/validate-$INDEX.json"', "run", "--against"),
        (PULL, ADMISSION, f"{ADMISSION} || true", "run", "goes on after a failure"),
        (PULL, SESSIONS, SESSIONS.replace(", admission", ""), "session: [", "admission"),
        (PULL, STEP, "      - if: false\n", "if: false", "condition False"),
        (PULL, STEP, "      - if: matrix.session == 'policy'\n", "if", "validate"),
        (PULL, STEP, "      - if: github.event_name == 'push'\n", "if", "condition"),
        (PULL, STEP, "      - if: matrix.session == 'validate' && vars.ON\n", "if", "vars.ON"),
        (
            PULL,
            "  pull_request:\n",
            "  pull_request:\n    paths: [overlays/**]\n",
            "paths",
            "leaves out",
        ),
        (
            PULL,
            "  pull_request:\n",
            "  pull_request:\n    types: [opened]\n",
            "types",
            "later push",
        ),
        (PULL, "  pull_request:\n", "", "session: [", "no workflow"),
        (PULL, READ, "permissions: write-all\n", "permissions", "write-all"),
        (PULL, READ, READ.replace("read", "write"), "permissions", "contents: write"),
        (PULL, READ, "", "", "no permissions"),
        (
            IMPACT,
            "    timeout",
            "    permissions: {pull-requests: write}\n    timeout",
            "perm",
            "job",
        ),
        (IMPACT, "  pull_request:\n", "  pull_request_target:\n", "pull_request_t", "fork"),
        (
            COMMENT,
            "    steps:\n",
            "    steps:\n      - uses: actions/checkout@0000000000000000000000000000000000000000\n",
            "permissions:",
            "pull-requests: write",
        ),
        (OWNERS, "/.github/         platform@owners.invalid\n", "", "", "/.github/ has no code"),
        (OWNERS, "/base/            production@owners.invalid\n", "", "", "/base/ has no code"),
        (OWNERS, "/argocd/          production@owners.invalid", "/argocd/", "/argocd/", "argocd"),
        (OWNERS, "/tools/  ", "/overlays/\n/tools/  ", "/overlays/", "/overlays/prod/ has no"),
        (OWNERS, "/noxfile.py       platform@owners.invalid\n", "", "", "/noxfile.py has no"),
    ],
)
def test_what_weakens_the_gate_is_reported(
    root: Path, file: str, old: str, new: str, line: str, words: str
) -> None:
    edit(root, file, old, new)
    found = gate.check(root)
    assert found
    lines = (root / file).read_text("utf-8").splitlines()
    places = [lines[one.line - 1] if one.line else "" for one in found]
    assert any(line in place for place in places), places
    assert any(words in one.message for one in found), found
    assert all(one.fix and not re.search("None|_Step", one.fix + one.message) for one in found)


def test_a_workflow_that_is_gone_is_reported(root: Path) -> None:
    (root / PULL).unlink()
    messages = [one.message for one in gate.check(root)]
    assert len(messages) == 7
    assert all("no workflow of pull requests runs" in message for message in messages), messages


def test_a_repository_without_workflows_has_another_gate(root: Path) -> None:
    shutil.rmtree(root / ".github/workflows")
    assert gate.check(root) == []


def test_a_base_that_is_never_set_is_reported(root: Path) -> None:
    text = (root / PULL).read_text("utf-8")
    (root / PULL).write_text(re.sub(r"(?m)^ +BASE: .*\n", "", text), "utf-8")
    found = gate.check(root)
    assert {each.file for each in found} == {PULL}
    assert all("BASE is not set" in each.message for each in found)


def test_a_later_line_without_owners_is_reported_for_a_part_of_the_chart(root: Path) -> None:
    (root / "chart/files/besu").mkdir(parents=True)
    (root / "chart/files/besu/start.sh").touch()
    assert gate.check(root) == []
    with (root / OWNERS).open("a", encoding="utf-8") as file:
        file.write("/chart/files/\n")
    assert [each.file for each in gate.check(root)] == [OWNERS]
