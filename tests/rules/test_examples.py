"""Examples are read strictly, and `python -m tests.rules.examples` changes only `reported`."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.core.findings import Finding, Severity, UserError
from tests.rules import examples

FILE = "some-rule.yaml"
RIGHT = "right:\n  plain:\n    environment: {name: dev}\n"


def written(folder: Path, text: str) -> Path:
    """Return a file of examples that holds the text."""
    (folder / FILE).write_text(text, "utf-8")
    return folder / FILE


@pytest.mark.parametrize(
    ("text", "line", "message", "fix"),
    [
        (RIGHT, 1, "wrong is missing", "add wrong"),
        (
            f"wrong:\n  plain:\n    valeus: {{}}\n{RIGHT}",
            3,
            "wrong.plain.valeus is an unknown key",
            "write values",
        ),
        (
            f"wrong:\n  plain: {{values: {{a: 1}}}}\n{RIGHT}    reported: x\n",
            6,
            "right.plain.reported is an unknown key",
            "remove it; known keys of right.plain: before, environment, objects, patches, values",
        ),
        (
            f"wrong:\n  plain:\n    patches:\n      - {{patch: [{{op: remove}}]}}\n{RIGHT}",
            4,
            "wrong.plain.patches[0].target is missing",
            "add target to wrong.plain.patches[0]",
        ),
        (
            f"wrong:\n  plain:\n    reported: x\n{RIGHT}",
            3,
            "the example changes nothing",
            "add environment, before, values, patches or objects",
        ),
        (
            f"wrong:\n  Plain one: {{values: {{a: 1}}}}\n{RIGHT}",
            2,
            "the key Plain one of wrong is not a valid name",
            "write a name in kebab case, for example misspelled-port",
        ),
        (
            f"wrong:\n  plain: {{values: {{a: 1}}}}\n  plain: {{values: {{a: 2}}}}\n{RIGHT}",
            3,
            "duplicate key plain: line 2 already has it",
            "remove the key here or the one in line 2, whichever has the wrong value",
        ),
    ],
    ids=["part", "field", "right", "patch", "nothing", "name", "twice"],
)
def test_what_is_not_an_example_is_an_error(
    tmp_path: Path, text: str, line: int, message: str, fix: str
) -> None:
    with pytest.raises(UserError) as caught:
        examples.read(written(tmp_path, text), tmp_path)
    (found,) = caught.value.findings
    assert (found.file, found.line, found.message, found.fix) == (FILE, line, message, fix)


BEFORE = """\
wrong:
  # Stays above its example.
  outdated:
    values: {a: 1}   # Stays behind its line.
    reported: |
      1:1  error  some-rule
        one line more than there will be
        → nothing
        → nothing

  new:

    # Stays in its example.
    values:
      a: [1,
          2]
  # Stays above the last one.
  last:
    reported: |
      1:1  error  some-rule
    values:
      a: "1"

right:
  plain:
    environment: {name: dev}
"""

AFTER = """\
wrong:
  # Stays above its example.
  outdated:
    values: {a: 1}   # Stays behind its line.
    reported: |
      chart/values.yaml:7:1  warning  some-rule
        it is 7
        → write 8
      4:13  error  some-rule  Service/a in prod
        it is 1
        → write 2

  new:

    # Stays in its example.
    values:
      a: [1,
          2]
    reported: |
      17:7  error  some-rule
        it is 1
        → write 2
  # Stays above the last one.
  last:
    reported: |
      this file  error  some-rule
        it is 1
        → write 2
      33:7  error  some-rule
        it is 1
        → write 2
    values:
      a: "1"

right:
  plain:
    environment: {name: dev}
"""


def test_what_is_reported_is_written_and_all_else_stays(tmp_path: Path) -> None:
    file = written(tmp_path, BEFORE)
    outdated, new, last, _ = examples.read(file, tmp_path)

    def finding(line: int, column: int, object: str = "", environment: str = "") -> Finding:
        what = "some-rule", "it is 1", "write 2"
        return Finding(FILE, line, column, *what, object, environment)

    elsewhere = Finding(
        "chart/values.yaml", 7, 1, "some-rule", "it is 7", "write 8", "", "", Severity.WARNING
    )
    found = [
        (outdated, [finding(4, 13, "Service/a", "prod"), elsewhere]),
        (new, [finding(15, 7)]),
        (last, [finding(22, 7), finding(0, 0)]),
    ]
    assert examples.written(BEFORE, found) == AFTER
