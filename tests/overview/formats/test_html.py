"""The overview's HTML page in a browser: complete, searchable, accessible, and by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from scripts.overview.formats.html import page
from scripts.overview.report import Live, Overview
from tests.browser import axe, browser
from tests.impact.formats.pages import DESK, PHONE, Scheme, everything, names, opened, written


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def file(tmp_path: Path, shown: Overview) -> Path:
    live = Live("OutOfSync", "Degraded", "abc", ("Service/<b>a</b>: differs",), "")
    dev, *others = shown.environments
    return written(tmp_path, page(replace(shown, environments=(replace(dev, live=live), *others))))


def test_the_page_has_all_environments_and_can_be_searched(chromium: Browser, file: Path) -> None:
    with opened(chromium, file) as seen:
        assert names(seen) == ["dev", "prod", "staging"]
        text = everything(seen)
        assert "Service/<b>a</b>: differs" in text
        assert "standard support on EKS until 2026-12-02 (2 days left)" in text
        seen.get_by_role("searchbox").fill("linea-prod")
        assert names(seen) == ["prod"]
        seen.get_by_role("searchbox").fill("")
        seen.get_by_role("radio", name="needs attention soon 2", exact=True).check()
        assert names(seen) == ["prod", "staging"]
        table = seen.get_by_role("group", name="table: images")
        expect(table.get_by_role("rowheader", name="sequencer", exact=True)).to_have_count(1)


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (PHONE, "dark")])
def test_the_page_has_no_accessibility_violations(
    chromium: Browser, file: Path, size: dict[str, int], scheme: Scheme
) -> None:
    with opened(chromium, file, size=size, scheme=scheme) as seen:
        everything(seen)
        width = seen.evaluate("document.documentElement.scrollWidth")
        seen.evaluate(axe())
        result = seen.evaluate("axe.run()")
    assert width <= size["width"]
    violations = [
        (rule["id"], node["target"], node["failureSummary"])
        for rule in result["violations"]
        for node in rule["nodes"]
    ]
    assert violations == []
    passed = {rule["id"] for rule in result["passes"]}
    assert passed >= {"color-contrast", "heading-order", "landmark-one-main", "region", "label"}
