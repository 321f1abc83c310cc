"""Opens the HTML page of an impact report in a browser, and reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page

from scripts.impact.effects.effect import Effect, Risk
from scripts.impact.report import Report
from tests.browser import TIMEOUT_MS

Scheme = Literal["light", "dark"]

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}


def written(folder: Path, html: str) -> Path:
    target = folder / "impact.html"
    target.write_text(html, "utf-8")
    return target


@contextmanager
def opened(
    chromium: Browser,
    file: Path,
    *,
    size: dict[str, int] = DESK,
    scheme: Scheme = "light",
    scripts: bool = True,
) -> Iterator[Page]:
    """Open a file; fail at the end if it made a request or logged a message."""
    context = chromium.new_context(
        viewport={"width": size["width"], "height": size["height"]},
        color_scheme=scheme,
        java_script_enabled=scripts,
        has_touch=size is PHONE,
        is_mobile=size is PHONE,
        reduced_motion="reduce",
    )
    context.set_default_timeout(TIMEOUT_MS)
    with context:
        shown, events = context.new_page(), list[str]()
        shown.on("request", lambda request: events.append(request.url))
        shown.on("console", lambda message: events.append(message.text))
        shown.on("pageerror", lambda error: events.append(str(error)))
        shown.goto(file.as_uri())
        yield shown
    assert events == [file.as_uri()]


def names(shown: Page) -> list[str]:
    """Return the visible environments."""
    visible: list[str] = shown.locator(".environment:visible h3").all_inner_texts()
    return visible


def everything(shown: Page) -> str:
    """Open all details, and return the whole text on one line."""
    shown.locator("details").evaluate_all("all => all.forEach((it) => { it.open = true; })")
    return " ".join(shown.locator("body").inner_text().split())


def many(report: Report, count: int = 300) -> Report:
    """Return a report of many environments like prod, each with an effect of its own."""
    (prod,) = (impact for impact in report.environments if impact.names == ("prod",))
    environments = tuple(
        replace(
            prod,
            names=(f"prod-{number:03}",),
            effects=(*prod.effects, Effect(Risk.CHANGES, f"thing {number:03}", "")),
        )
        for number in range(count)
    )
    return Report("main", "", count, environments)
