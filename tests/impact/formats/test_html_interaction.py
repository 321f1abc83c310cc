"""The HTML page of an impact report in use: by keyboard, search and filters, on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from scripts.impact.effects.effect import LABELS, Effect, Risk
from scripts.impact.formats.html import page
from scripts.impact.report import Report
from tests.browser import axe
from tests.impact.formats.pages import DESK, PHONE, Scheme, everything, many, names, opened, written


def focused(shown: Page, what: str = "tagName") -> Any:
    return shown.evaluate(f"document.activeElement.{what}")


def tab_until(shown: Page, is_there: Callable[[], bool]) -> None:
    for _ in range(40):
        shown.keyboard.press("Tab")
        if is_there():
            return
    pytest.fail("Tab does not reach it")


def test_the_page_works_with_a_keyboard(chromium: Browser, file: Path) -> None:
    with opened(chromium, file) as shown:
        shown.keyboard.press("Tab")
        skip = shown.get_by_text("Skip to the environments")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport()
        shown.keyboard.press("Enter")
        tab_until(shown, lambda: focused(shown) == "SUMMARY")
        prod = shown.locator(".environment", has_text="namespace linea-prod")
        expect(prod.locator("> summary")).to_be_focused()
        assert shown.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        shown.keyboard.press("Enter")
        expect(prod.locator(".inside")).to_be_hidden()
        shown.keyboard.press("Enter")
        expect(prod.locator(".inside")).to_be_visible()
        objects = prod.get_by_text("field by field")
        tab_until(shown, lambda: "field by field" in str(focused(shown, "textContent")))
        expect(objects).to_be_focused()
        expect(prod.locator(".object").first).to_be_hidden()
        shown.keyboard.press("Enter")
        expect(prod.locator(".object").first).to_be_visible()


def test_the_focus_is_visible(chromium: Browser, file: Path) -> None:
    with opened(chromium, file) as shown:
        seen = set()
        for _ in range(20):
            shown.keyboard.press("Tab")
            if focused(shown) == "BODY":
                break
            seen.add(focused(shown))
            outline = "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])"
            style = shown.evaluate(f"{outline}(getComputedStyle(document.activeElement))")
            assert style == ["solid", "3px"], focused(shown, "outerHTML")
        assert seen == {"A", "INPUT", "SUMMARY", "DIV"}


def test_the_search_filters_environments(chromium: Browser, file: Path) -> None:
    with opened(chromium, file) as shown:
        assert names(shown) == ["prod", "dev"]
        shown.keyboard.press("/")
        search = shown.get_by_role("searchbox", name="Search environments")
        expect(search).to_be_focused()
        shown.keyboard.type("HorizontalPodAutoscaler dev")
        expect(shown.get_by_role("status")).to_have_text("1 of 2 shown")
        assert names(shown) == ["dev"]
        shown.keyboard.type(" spec/nothing")
        expect(search).to_have_value("HorizontalPodAutoscaler dev spec/nothing")
        expect(shown.get_by_role("status")).to_have_text("0 of 2 shown")
        assert names(shown) == []
        shown.keyboard.press("Escape")
        expect(shown.get_by_role("status")).to_have_text("2 of 2 shown")
        assert names(shown) == ["prod", "dev"]


@pytest.mark.parametrize("scripts", [True, False])
def test_a_risk_filters_environments(
    chromium: Browser, tmp_path: Path, report: Report, scripts: bool
) -> None:
    environments = tuple(
        replace(
            report.environments[0],
            names=(risk.name, f"{risk.name}-2"),
            effects=(Effect(risk, "something", ""),),
        )
        for risk in Risk
    )
    file = written(tmp_path, page(replace(report, environments=environments)))
    with opened(chromium, file, scripts=scripts) as shown:
        assert len(names(shown)) == len(Risk)
        shown.locator("[name=only]").first.focus()
        for risk in Risk:
            shown.keyboard.press("ArrowRight")
            words = " ".join(LABELS[risk])
            expect(shown.get_by_role("radio", name=f"{words} 2", exact=True)).to_be_checked()
            assert names(shown) == [f"{risk.name}, {risk.name}-2"]
            if scripts:
                expect(shown.get_by_role("status")).to_have_text(f"2 of {2 * len(Risk)} shown")


def test_without_scripts_the_search_is_hidden(chromium: Browser, file: Path) -> None:
    with opened(chromium, file, scripts=False) as shown:
        expect(shown.locator("#filter")).to_be_hidden()
        assert names(shown) == ["prod", "dev"]


@pytest.mark.parametrize("width", [320, 360, 400])
def test_a_phone_shows_the_page_without_horizontal_scrolling(
    chromium: Browser, tmp_path: Path, report: Report, width: int
) -> None:
    (prod, dev) = report.environments
    first = prod.components[0].name
    more = [
        replace(component, name=f"{component.name}-{number}", wave=9, calls=(first,))
        for number in range(4)
        for component in prod.components
    ]
    wide = replace(prod, components=(*prod.components, *more))
    file = written(tmp_path, page(replace(report, environments=(wide, dev))))
    with opened(chromium, file, size=PHONE) as shown:
        shown.set_viewport_size({"width": width, "height": PHONE["height"]})
        everything(shown)
        assert shown.evaluate("document.documentElement.scrollWidth") == width
        assert shown.evaluate("visualViewport.scale") == 1
        small = shown.evaluate(
            """() => [...document.querySelectorAll("body *")]
            .filter((element) => element.checkVisibility() && element.textContent.trim())
            .filter((element) => parseFloat(getComputedStyle(element).fontSize) < 12)
            .map((element) => element.outerHTML)"""
        )
        assert small == []
        for target in shown.locator("label:has([type=radio]), summary, #filter").all():
            box = target.bounding_box()
            assert box
            assert box["height"] >= 44
            assert box["x"] + box["width"] <= width
        shown.locator(".environment > summary").first.tap()
        expect(shown.locator(".inside").first).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_page_has_no_accessibility_violations(
    chromium: Browser, file: Path, scheme: Scheme, size: dict[str, int]
) -> None:
    with opened(chromium, file, size=size, scheme=scheme) as shown:
        everything(shown)
        shown.evaluate(axe())
        result = shown.evaluate("axe.run()")
    violations = [
        (rule["id"], node["target"], node["failureSummary"])
        for rule in result["violations"]
        for node in rule["nodes"]
    ]
    assert violations == []
    passed = {rule["id"] for rule in result["passes"]}
    assert passed >= {"color-contrast", "heading-order", "landmark-one-main", "region", "label"}


def test_light_and_dark_schemes_differ(chromium: Browser, file: Path) -> None:
    colours = []
    for scheme in ("light", "dark"):
        with opened(chromium, file, scheme=scheme) as shown:
            colours.append(shown.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = (sum(map(int, re.findall(r"\d+", colour))) for colour in colours)
    assert light > 700
    assert dark < 100


def test_three_hundred_environments_can_be_searched(
    chromium: Browser, tmp_path: Path, report: Report
) -> None:
    html = page(many(report))
    assert len(html.encode()) < 3_000_000
    file = written(tmp_path, html)
    with opened(chromium, file) as shown:
        expect(shown.get_by_role("status")).to_have_text("300 of 300 shown")
        assert len(names(shown)) == 300
        expect(shown.locator(".inside").first).to_be_hidden()
        shown.keyboard.press("/")
        shown.keyboard.type("thing 123")
        expect(shown.get_by_role("status")).to_have_text("1 of 300 shown")
        assert names(shown) == ["prod-123"]


@pytest.mark.parametrize("searched", ["", "thing 001"])
def test_a_link_opens_an_environment(
    chromium: Browser, tmp_path: Path, report: Report, searched: str
) -> None:
    file = written(tmp_path, page(many(report, 20)))
    with opened(chromium, file) as shown:
        shown.get_by_role("searchbox").fill(searched)
        shown.evaluate("location.hash = 'environment/prod-017'")
        expect(shown.get_by_text("thing 017")).to_be_visible()
        expect(shown.get_by_role("link", name="prod-017")).to_be_in_viewport()
