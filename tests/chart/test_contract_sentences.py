"""The chart keeps its contract, or says why it does not: tests/chart/contract.py."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise

import pytest
import yaml

from tests.chart import contract
from tests.chart.contract import Sentence
from tests.chart.contract_objects import METRICS, TCP, find, get, probe, prod
from tests.conftest import ROOT

SENTENCES = list(contract.sentences())


@pytest.mark.parametrize("one", SENTENCES, ids=lambda one: f"{one.section}: {one.promise}")
def test_a_promise_holds_or_has_a_reason_why_not(one: Sentence) -> None:
    if one.holds is not None:
        assert one.holds() is not bool(one.differs)


def test_no_promise_is_there_twice() -> None:
    every = [(one.section, one.promise) for one in SENTENCES]
    assert len(every) == len(set(every))
    sections = [one.section for one in SENTENCES]
    changes = [new for old, new in pairwise(["", *sections]) if old != new]
    assert changes == list(dict.fromkeys(sections)), "in the contract's order"


def test_the_program_prints_what_differs_with_its_reason() -> None:
    call = [sys.executable, "-m", "tests.chart.contract"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for one in SENTENCES:
        assert (f"{one.section}: {one.promise}\n  differs: " in done.stdout) is bool(one.differs)


@pytest.mark.parametrize(
    ("holds", "differs", "line", "is_good"),
    [
        (True, "", "1 promises hold", True),
        (False, "A reason.", "  differs: A reason.", True),
        (False, "", "  BROKEN, for no reason", False),
        (True, "A reason.", "  STALE: it holds, and has the reason: A reason.", False),
    ],
)
def test_a_broken_promise_and_a_stale_reason_are_detected(
    holds: bool, differs: str, line: str, is_good: bool
) -> None:
    lines, result = contract.check(iter([Sentence("A", "b", lambda: holds, differs)]))
    assert result is is_good
    assert any(found.startswith(line) for found in lines), lines


def test_the_readme_lists_what_differs() -> None:
    text = (ROOT / "chart" / "README.md").read_text("utf-8")
    match = re.search(r"<!-- differences:begin -->\n(.*?)<!-- differences:end -->", text, re.DOTALL)
    assert match
    listed = [" ".join(item.split()) for item in re.split(r"^- ", match[1], flags=re.MULTILINE)[1:]]
    assert listed == contract.reasons()


def test_the_page_of_the_ten_steps_says_beside_each_what_differs() -> None:
    text = (ROOT / "docs" / "eks.md").read_text("utf-8")
    _, _, table = text.partition("| Step | Where it is done | What differs from the contract")
    rows = [row.split(" | ") for row in table.partition("\n\n")[0].splitlines()[2:]]
    differs = {row[0].removeprefix("| "): row[2].strip() for row in rows}
    steps = {name.partition(" ")[0]: said for name, said in differs.items() if name[0].isdigit()}
    assert list(steps) == [str(number) for number in range(1, 11)]
    assert all(differs.values())
    for one in SENTENCES:
        if one.section == "Production on EKS" and one.differs:
            said = steps[one.promise.partition(":")[0]]
            assert said != "nothing", one.promise
            for word in re.findall(r"`[^`]+`|\d\.\d+", one.differs):
                assert word in said, one.differs
    metrics = get(find(prod(), "HorizontalPodAutoscaler", "besu"), "spec.metrics")
    if [metric["resource"]["name"] for metric in metrics] == ["cpu"]:
        assert "by CPU only" in differs["Autoscaling"]


def test_the_readme_s_table_of_probes_is_that_of_the_chart() -> None:
    text = (ROOT / "chart" / "README.md").read_text("utf-8")
    for name, shown, theirs in (
        ("sequencer", "the sequencer", METRICS),
        ("maru", "Maru", TCP),
        ("besu", "Besu", METRICS),
    ):
        wanted = "TCP connect to 8080" if theirs == TCP else "GET `/metrics` on 9545"
        for kind in ("liveness", "readiness"):
            (row,) = re.findall(rf"^\| {kind} of {shown} \| (.*) \| (.*) \|$", text, re.MULTILINE)
            assert row[0] == wanted
            is_same = probe(name, f"{kind}Probe") == theirs
            assert row[1].startswith("the same") is is_same, row


def test_every_example_of_the_contract_is_tried() -> None:
    tried = (ROOT / "tests" / "chart" / "contract.py").read_text("utf-8")
    for file in (ROOT / "chart" / "ci").glob("contract-*-values.yaml"):
        name = file.name.removeprefix("contract-").removesuffix("-values.yaml")
        assert f'"{name}"' in tried or name in contract.READINESS, file.name
        assert yaml.safe_load(file.read_text("utf-8"))
