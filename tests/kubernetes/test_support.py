"""When versions of Kubernetes lose support: the table, its source, and what it means on a day."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from scripts.__main__ import main
from scripts.kubernetes import support
from scripts.kubernetes.support import Support
from tests.git import commit, git

UPSTREAM = """\
---
title: Kubernetes
releases:
  - releaseCycle: "1.35"
    eol: 2027-02-28
  - releaseCycle: "1.34"
    eol: 2026-10-27
  - releaseCycle: "1.18"
    eol: 2021-06-18
---

> Kubernetes
"""
EKS = """\
---
title: Amazon EKS
releases:
  - releaseCycle: "1.34"
    eol: 2026-12-02
    eoes: 2027-12-02
  - releaseCycle: "1.9"
    eol: false
---
"""
READ = {
    "1.35": Support(date(2027, 2, 28)),
    "1.34": Support(date(2026, 10, 27), date(2026, 12, 2), date(2027, 12, 2)),
}

ENDED = "standard support on EKS ended on 2026-12-02"


def test_the_table_is_read_from_the_pages_of_its_source_and_written(tmp_path: Path) -> None:
    assert support.read(UPSTREAM, EKS) == READ
    table = support.Table(support.SOURCE, "a" * 40, date(2026, 8, 22), READ)
    (tmp_path / "support.yaml").write_text(support.dump(table), "utf-8")
    assert support.load(tmp_path / "support.yaml") == table


def test_the_committed_table_is_as_it_is_written_and_names_its_source() -> None:
    table = support.load()
    assert support.dump(table) == support.TABLE.read_text("utf-8")
    assert table.source == support.SOURCE
    assert len(table.commit) == 40


def test_the_table_agrees_with_the_dates_of_kubernetes_itself() -> None:
    # data/releases/eol.yaml and schedule.yaml of kubernetes/website, at 0637786b and 28d3e131. The
    # project sometimes makes a last release some days after the announced end.
    own = {
        "1.31": date(2025, 11, 11),
        "1.30": date(2025, 7, 15),
        "1.29": date(2025, 2, 28),
        "1.28": date(2024, 10, 22),
        "1.27": date(2024, 7, 16),
        "1.26": date(2024, 2, 28),
        "1.25": date(2023, 10, 28),
        "1.24": date(2023, 7, 28),
        "1.23": date(2023, 2, 28),
        "1.21": date(2022, 6, 28),
        "1.20": date(2022, 2, 28),
        "1.19": date(2021, 10, 28),
    }
    table = support.load().versions
    for version, day in own.items():
        end = table[version].upstream
        assert end is not None
        assert abs(end - day) <= timedelta(days=20), version


def test_eks_supports_a_version_longer_than_upstream_and_a_year_more_at_a_charge() -> None:
    for version, of in support.load().versions.items():
        assert of.upstream is not None
        assert of.standard is not None
        assert of.upstream < of.standard, version
        if of.extended and version not in ("1.21", "1.22"):  # extended after their end
            assert of.extended == of.standard.replace(year=of.standard.year + 1), version


@pytest.mark.parametrize(
    ("on", "is_eks", "state", "words"),
    [
        (date(2026, 8, 1), False, "supported", "upstream support until 2026-10-27"),
        (date(2026, 10, 1), False, "soon", "upstream support until 2026-10-27 (26 days left)"),
        (date(2026, 10, 26), False, "soon", "upstream support until 2026-10-27 (1 day left)"),
        (date(2026, 10, 27), False, "soon", "upstream support until 2026-10-27 (today)"),
        (date(2026, 10, 28), False, "ended", "upstream support ended on 2026-10-27"),
        (date(2026, 9, 1), True, "supported", "standard support on EKS until 2026-12-02"),
        (
            date(2027, 1, 1),
            True,
            "extended",
            f"{ENDED}; extended support, which costs more, until 2027-12-02",
        ),
        (date(2028, 1, 1), True, "ended", ENDED),
    ],
)
def test_what_the_dates_mean_on_a_day(on: date, is_eks: bool, state: str, words: str) -> None:
    outlook = support.outlook(READ["1.34"], on, is_eks=is_eks)
    assert (outlook.state, outlook.words) == (state, words)


@pytest.mark.parametrize(("version", "is_eks"), [("1.99", False), ("1.35", True)])
def test_a_version_that_the_table_does_not_have_is_unknown(version: str, is_eks: bool) -> None:
    outlook = support.outlook(READ.get(version), date(2026, 8, 1), is_eks=is_eks)
    assert outlook.state == "unknown"


def test_the_command_writes_the_table_from_a_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    for page, text in ((support.UPSTREAM, UPSTREAM), (support.EKS, EKS)):
        (source / page).parent.mkdir(parents=True, exist_ok=True)
        (source / page).write_text(text, "utf-8")
    git(source, "init", "-q", "-b", "main")
    commit(source)
    monkeypatch.setattr(support, "TABLE", tmp_path / "support.yaml")
    assert main(["lock", "--support", str(source)]) == 0
    table = support.load(tmp_path / "support.yaml")
    assert table.versions == READ
    assert table.commit == git(source, "rev-parse", "HEAD").strip()
    assert "2 versions up to 1.35" in capsys.readouterr().out
    assert main(["lock", "--support", str(tmp_path / "nothing")]) == 2
    assert "cannot read the table of support" in capsys.readouterr().err
    assert support.load(tmp_path / "support.yaml") == table
