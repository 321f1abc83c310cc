"""The HTML page of an impact report: in a browser, by keyboard, on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

from scripts.impact import predict
from scripts.impact.effects.effect import LABELS, Effect, Risk
from scripts.impact.formats.html import page
from scripts.impact.report import Report
from tests.browser import TIMEOUT_MS, axe, browser
from tests.conftest import CHANGE, Repository, copy
from tests.git import commit, git

Scheme = Literal["light", "dark"]

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}

HOSTILE = [
    "<script>window.ran = 1</script>",
    '"><img src="https://example.com/x.png" onerror="window.ran = 1">',
    "' onmouseover='window.ran = 1",
    "</dd></dl></details></main></body><h1>all is well</h1>",
    "<!-- --><style>body{display:none}</style>",
    "</script><script>window.ran = 1</script>",
    "&lt;script&gt; &amp;amp; $body ${title} \\u003c",
    "javascript:window.ran=1",
]
TURNED = "\u202egnihton sniur siht\u2066\u200f"
"""A text that a browser would show from right to left."""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository with rendered changes in dev and prod."""
    repository = copy(tmp_path_factory.mktemp("changed") / "repository")
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    repository.write("overlays/dev/values.yaml", CHANGE)
    repository.replace("overlays/prod/values.yaml", "size: 100Gi", "size: 120Gi")
    repository.replace("overlays/prod/values.yaml", "10.30.0.0/22", "0.0.0.0/0")
    assert repository.run("render").code == 0
    return repository


@pytest.fixture(scope="module")
def report(changed: Repository) -> Report:
    whole = predict.impact(changed.root, "HEAD")
    assert [impact.names for impact in whole.environments] == [("prod",), ("dev",)]
    return whole


@pytest.fixture
def file(tmp_path: Path, report: Report) -> Path:
    return written(tmp_path, page(report))


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


def focused(shown: Page, what: str = "tagName") -> Any:
    return shown.evaluate(f"document.activeElement.{what}")


def tab_until(shown: Page, is_there: Callable[[], bool]) -> None:
    for _ in range(40):
        shown.keyboard.press("Tab")
        if is_there():
            return
    pytest.fail("Tab does not reach it")


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


@pytest.mark.parametrize("scripts", [True, False])
def test_the_page_contains_the_whole_report(
    chromium: Browser, file: Path, report: Report, scripts: bool
) -> None:
    with opened(chromium, file, scripts=scripts) as shown:
        if scripts:
            text = everything(shown)
        else:
            for summary in shown.locator(".inside > details > summary").all():
                summary.click()
            text = " ".join(shown.locator("body").inner_text().split())
    expected = ["2 of 3 environments change from HEAD to the working tree"]
    for impact in report.environments:
        expected += impact.names
        for effect in impact.effects:
            expected += [" ".join(LABELS[effect.risk]), effect.message]
            expected += [effect.reason, effect.procedure]
        for each in impact.objects:
            expected += [each.name, each.file]
            for field in each.fields:
                expected += [field.path, *field.lines]
                expected += [f"- {field.old}"] if field.old else []
                expected += [f"+ {field.new}"] if field.new else []
        for step in impact.steps:
            expected += [*step.objects, *(name for pods in step.pods for name in pods)]
        expected += [f"{component.title} × {component.pods}" for component in impact.components]
    missing = [line for line in expected if " ".join(line.split()) not in text]
    assert len(expected) > 100
    assert not missing


def test_the_drawing_has_an_arrow_for_each_call_and_a_text_for_screen_readers(
    chromium: Browser, file: Path, report: Report
) -> None:
    with opened(chromium, file) as shown:
        for impact in report.environments:
            section = shown.locator(".environment", has_text=f"namespace {impact.namespace}")
            drawing = section.get_by_role("img")
            known = {component.name for component in impact.components}
            calls = [name for component in impact.components for name in component.calls]
            drawn = drawing.locator("path").count()
            assert drawn == len([name for name in calls if name in known]) > 3
            label = drawing.get_attribute("aria-label") or ""
            for component in impact.components:
                assert f": {component.title} × {component.pods}" in label
            box = drawing.bounding_box()
            assert box
            for path in drawing.locator("path, rect, text").all():
                part = path.bounding_box()
                assert part
                assert part["x"] >= box["x"]
                assert part["x"] + part["width"] <= box["x"] + box["width"]
                assert part["y"] + part["height"] <= box["y"] + box["height"]


def test_injected_scripts_styles_images_and_forms_do_nothing(
    chromium: Browser, tmp_path: Path, report: Report
) -> None:
    html = page(report)
    assert not re.search(r"(?:https?:)?//(?!www\.w3)[a-z]", html.partition("<body>")[0])
    injected = (
        "<script>document.title = 'ran'</script><img src=x.png onerror=\"document.title='ran'\">"
        "<style>h1 { display: none }</style><form action=x.html><button>send</button></form>"
    )
    file = written(tmp_path, html.replace("<main>", f"<main>{injected}"))
    context = chromium.new_context()
    context.set_default_timeout(TIMEOUT_MS)
    with context:
        shown, requests, messages = context.new_page(), list[str](), list[str]()
        shown.on("requestfinished", lambda request: requests.append(request.url))
        shown.on("console", lambda message: messages.append(message.text))
        shown.goto(file.as_uri())
        expect(shown.locator("h1")).to_be_visible()
        # The browser logs its messages later; the last one is about the form.
        with shown.expect_console_message(lambda message: "form-action" in message.text):
            shown.get_by_role("button", name="send").evaluate("(button) => button.click()")
        assert shown.title() != "ran"
        assert requests == [file.as_uri()]
    violations = [line for line in messages if "Content Security Policy" in line]
    for directive in ("script-src", "style-src", "form-action", "img-src"):
        assert any(directive in line for line in violations), directive


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


def test_untrusted_content_is_shown_as_text(
    chromium: Browser, changed: Repository, tmp_path: Path
) -> None:
    repository = copy(tmp_path / "repository")
    root = repository.root
    git(root, "init", "-q", "-b", "main")
    commit(root)
    branch = '"><b/x=1>'
    git(root, "branch", branch)
    (config,) = (
        path
        for path in sorted((root / "overlays/dev/manifests").glob("configmap-*.yaml"))
        if "besu" in path.name
    )
    object_ = yaml.safe_load(config.read_text("utf-8"))
    (key, *_) = object_["data"]
    object_["data"] |= {f"{number}.txt": text for number, text in enumerate(HOSTILE)}
    object_["data"] |= {"<i>key</i>": "x", key: f"{HOSTILE[0]}\n{HOSTILE[3]}\n", TURNED: "x"}
    config.write_text(yaml.safe_dump(object_), "utf-8")
    named = {**object_, "metadata": {**object_["metadata"], "name": HOSTILE[1]}}
    repository.write("overlays/dev/manifests/new.yaml", yaml.safe_dump(named))
    sts = next((root / "overlays/dev/manifests").glob("statefulset-*besu.yaml"))
    stateful = yaml.safe_load(sts.read_text("utf-8"))
    pod = stateful["spec"]["template"]["spec"]
    pod["containers"][0]["env"].append({"name": HOSTILE[2], "value": HOSTILE[0]})
    stateful["metadata"]["labels"]["app.kubernetes.io/component"] = HOSTILE[1]
    sts.write_text(yaml.safe_dump(stateful), "utf-8")
    report = predict.impact(root, branch)
    file = written(tmp_path, page(report))
    with opened(chromium, file) as shown:
        expect(shown.locator("h1")).to_have_text(
            f"1 of 3 environments changes from {branch} to the working tree"
        )
        text = everything(shown)
        shown.mouse.move(300, 300)
        assert shown.evaluate("window.ran") is None
        assert shown.locator("h1").count() == 1
        assert shown.locator("i, img, b[x], body > h1").count() == 0
        assert [line for line in HOSTILE if " ".join(line.split()) not in text] == []
        assert "<i>key</i>" in text
        assert "\ufffdgnihton sniur siht\ufffd" in text
        attributes = shown.evaluate(
            "[...document.querySelectorAll('*')].flatMap((it) => it.getAttributeNames())"
        )
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


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


def test_environments_with_the_same_effects_share_a_section(
    chromium: Browser, tmp_path: Path, report: Report
) -> None:
    (prod, _) = report.environments
    same = replace(prod, names=tuple(f"prod-{number:03}" for number in range(300)))
    file = written(tmp_path, page(replace(report, environments=(same,), count=300)))
    with opened(chromium, file) as shown:
        assert names(shown) == ["300 environments"]
        expect(shown.get_by_role("status")).to_have_text("300 of 300 shown")
        expect(shown.get_by_text("prod-299")).to_be_visible()
        shown.get_by_role("searchbox").fill("prod-299")
        expect(shown.get_by_role("status")).to_have_text("300 of 300 shown")


@pytest.mark.parametrize(
    ("what", "words"),
    [("new", "new"), ("gone", "removed from git"), ("spelling", "differs only in form")],
)
def test_new_and_removed_environments_have_a_summary(
    chromium: Browser, tmp_path: Path, report: Report, what: str, words: str
) -> None:
    _, dev = report.environments
    bare = replace(dev, effects=(), objects=(), components=(), steps=(), outcome=None)
    other = replace(bare, names=("other",), what=what, summary=("24 objects in all",))
    both = replace(report, environments=(dev, other))
    with opened(chromium, written(tmp_path, page(both))) as shown:
        section = shown.locator(".environment", has_text="24 objects in all")
        expect(section.locator("summary .chip")).to_have_text(words)
        shown.get_by_role("radio", name=words).check()
        assert names(shown) == ["other"]


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


def test_the_printed_page_has_all_details_open(chromium: Browser, file: Path) -> None:
    with opened(chromium, file) as shown:
        shown.emulate_media(media="print")
        shown.pdf()
        expect(shown.locator(".object").first).to_be_visible()
        expect(shown.locator(".filters")).to_be_hidden()


def test_the_page_without_changes_is_one_line(chromium: Browser, tmp_path: Path) -> None:
    file = written(tmp_path, page(Report("origin/main", "", 3, ())))
    with opened(chromium, file) as shown:
        expect(shown.locator("h1")).to_have_text(
            "no environment changes from origin/main to the working tree"
        )
        assert everything(shown).splitlines() == [
            "Impact no environment changes from origin/main to the working tree"
        ]
        shown.evaluate(axe())
        assert shown.evaluate("axe.run()")["violations"] == []


def test_the_command_prints_the_page(changed: Repository, report: Report) -> None:
    done = changed.run("impact", "--against", "HEAD", "--format", "html")
    assert (done.code, done.out) == (0, page(report))
