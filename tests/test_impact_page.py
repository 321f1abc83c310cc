"""The page of an impact report, as people have it: in a browser, by keyboard, on a phone."""

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
from scripts.impact.effects.effect import CALLED, Consequence, Risk
from scripts.impact.formats.html import page
from scripts.impact.report import Report
from tests.browser import TIMEOUT_MS, axe, browser
from tests.conftest import CHANGE, Repository, copy
from tests.test_revision import commit, git

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
"""What a browser would show from right to left."""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository in which people have changed dev and prod, and rendered."""
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
    found = predict.impact(changed.root, "HEAD")
    assert [one.names for one in found.environments] == [("prod",), ("dev",)]
    return found


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
    """Open a file; whatever it asks of a network or complains of is an error in the end."""
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
        shown, heard = context.new_page(), list[str]()
        shown.on("request", lambda one: heard.append(one.url))
        shown.on("console", lambda one: heard.append(one.text))
        shown.on("pageerror", lambda one: heard.append(str(one)))
        shown.goto(file.as_uri())
        yield shown
    assert heard == [file.as_uri()]


def names(shown: Page) -> list[str]:
    """Return the environments that are seen."""
    found: list[str] = shown.locator(".environment:visible h3").all_inner_texts()
    return found


def everything(shown: Page) -> str:
    """Return all that there is to read, on one line."""
    shown.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
    return " ".join(shown.locator("body").inner_text().split())


def focused(shown: Page, what: str = "tagName") -> Any:
    return shown.evaluate(f"document.activeElement.{what}")


def tab_until(shown: Page, is_there: Callable[[], bool]) -> None:
    for _ in range(40):
        shown.keyboard.press("Tab")
        if is_there():
            return
    pytest.fail("Tab does not come there")


def many(report: Report, count: int = 300) -> Report:
    """Return a report of so many environments like prod, to none of which the same happens."""
    (prod,) = (one for one in report.environments if one.names == ("prod",))
    environments = tuple(
        replace(
            prod,
            names=(f"prod-{number:03}",),
            consequences=(*prod.consequences, Consequence(Risk.CHANGES, f"thing {number:03}", "")),
        )
        for number in range(count)
    )
    return Report("main", "", count, environments)


@pytest.mark.parametrize("scripts", [True, False])
def test_the_page_tells_all_that_the_report_has(
    chromium: Browser, file: Path, report: Report, scripts: bool
) -> None:
    with opened(chromium, file, scripts=scripts) as shown:
        if scripts:
            text = everything(shown)
        else:
            for one in shown.locator(".inside > details > summary").all():
                one.click()
            text = " ".join(shown.locator("body").inner_text().split())
    told = ["2 of 3 environments change from HEAD to the working tree"]
    for environment in report.environments:
        told += environment.names
        for consequence in environment.consequences:
            told += [" ".join(CALLED[consequence.risk]), consequence.message]
            told += [consequence.reason, consequence.procedure]
        for each in environment.objects:
            told += [each.name, each.file]
            for field in each.fields:
                told += [field.path, *field.lines]
                told += [f"- {field.old}"] if field.old else []
                told += [f"+ {field.new}"] if field.new else []
        for step in environment.steps:
            told += [*step.objects, *(name for pods in step.pods for name in pods)]
        told += [f"{one.title} × {one.pods}" for one in environment.components]
    missing = [one for one in told if " ".join(one.split()) not in text]
    assert len(told) > 100
    assert not missing


def test_the_drawing_shows_who_calls_whom_and_who_listens_is_told(
    chromium: Browser, file: Path, report: Report
) -> None:
    with opened(chromium, file) as shown:
        for one in report.environments:
            environment = shown.locator(".environment", has_text=f"namespace {one.namespace}")
            drawing = environment.get_by_role("img")
            known = {component.name for component in one.components}
            calls = [name for component in one.components for name in component.calls]
            drawn = drawing.locator("path").count()
            assert drawn == len([name for name in calls if name in known]) > 3
            told = drawing.get_attribute("aria-label") or ""
            assert all(
                f": {component.title} × {component.pods}" in told for component in one.components
            )
            box = drawing.bounding_box()
            assert box
            for path in drawing.locator("path, rect, text").all():
                part = path.bounding_box()
                assert part
                assert part["x"] >= box["x"]
                assert part["x"] + part["width"] <= box["x"] + box["width"]
                assert part["y"] + part["height"] <= box["y"] + box["height"]


def test_nothing_runs_or_loads_but_what_the_page_brings(
    chromium: Browser, tmp_path: Path, report: Report
) -> None:
    html = page(report)
    assert not re.search(r"(?:https?:)?//(?!www\.w3)[a-z]", html.partition("<body>")[0])
    smuggled = (
        "<script>document.title = 'ran'</script><img src=x.png onerror=\"document.title='ran'\">"
        "<style>h1 { display: none }</style><form action=x.html><button>send</button></form>"
    )
    file = written(tmp_path, html.replace("<main>", f"<main>{smuggled}"))
    context = chromium.new_context()
    context.set_default_timeout(TIMEOUT_MS)
    with context:
        shown, asked, refused = context.new_page(), list[str](), list[str]()
        shown.on("requestfinished", lambda one: asked.append(one.url))
        shown.on("console", lambda one: refused.append(one.text))
        shown.goto(file.as_uri())
        expect(shown.locator("h1")).to_be_visible()
        # What the browser says comes when it comes; the last of it is about this.
        with shown.expect_console_message(lambda one: "form-action" in one.text):
            shown.get_by_role("button", name="send").evaluate("(one) => one.click()")
        assert shown.title() != "ran"
        assert asked == [file.as_uri()]
    for what in ("script-src", "style-src", "form-action", "img-src"):
        assert any(f"{what}" in one and "Content Security Policy" in one for one in refused), what


def test_a_keyboard_is_enough(chromium: Browser, file: Path) -> None:
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


def test_whatever_has_the_focus_shows_it(chromium: Browser, file: Path) -> None:
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


def test_words_find_environments(chromium: Browser, file: Path) -> None:
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
def test_a_risk_shows_only_those_who_have_it(
    chromium: Browser, tmp_path: Path, report: Report, scripts: bool
) -> None:
    environments = tuple(
        replace(
            report.environments[0],
            names=(risk.name, f"{risk.name}-2"),
            consequences=(Consequence(risk, "something", ""),),
        )
        for risk in Risk
    )
    file = written(tmp_path, page(replace(report, environments=environments)))
    with opened(chromium, file, scripts=scripts) as shown:
        assert len(names(shown)) == len(Risk)
        shown.locator("[name=only]").first.focus()
        for risk in Risk:
            shown.keyboard.press("ArrowRight")
            words = " ".join(CALLED[risk])
            expect(shown.get_by_role("radio", name=f"{words} 2", exact=True)).to_be_checked()
            assert names(shown) == [f"{risk.name}, {risk.name}-2"]
            if scripts:
                expect(shown.get_by_role("status")).to_have_text(f"2 of {2 * len(Risk)} shown")


def test_without_scripts_nothing_is_offered_that_does_nothing(
    chromium: Browser, file: Path
) -> None:
    with opened(chromium, file, scripts=False) as shown:
        expect(shown.locator("#filter")).to_be_hidden()
        assert names(shown) == ["prod", "dev"]


@pytest.mark.parametrize("width", [320, 360, 400])
def test_a_phone_shows_it_without_scrolling_sideways(
    chromium: Browser, tmp_path: Path, report: Report, width: int
) -> None:
    (prod, dev) = report.environments
    first = prod.components[0].name
    more = [
        replace(one, name=f"{one.name}-{number}", wave=9, calls=(first,))
        for number in range(4)
        for one in prod.components
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
            .filter((one) => one.checkVisibility() && one.textContent.trim())
            .filter((one) => parseFloat(getComputedStyle(one).fontSize) < 12)
            .map((one) => one.outerHTML)"""
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
def test_nothing_hinders_people(
    chromium: Browser, file: Path, scheme: Scheme, size: dict[str, int]
) -> None:
    with opened(chromium, file, size=size, scheme=scheme) as shown:
        everything(shown)
        shown.evaluate(axe())
        found = shown.evaluate("axe.run()")
    violations = [
        (one["id"], node["target"], node["failureSummary"])
        for one in found["violations"]
        for node in one["nodes"]
    ]
    assert violations == []
    passed = {one["id"] for one in found["passes"]}
    assert passed >= {"color-contrast", "heading-order", "landmark-one-main", "region", "label"}


def test_both_schemes_are_there(chromium: Browser, file: Path) -> None:
    found = []
    for scheme in ("light", "dark"):
        with opened(chromium, file, scheme=scheme) as shown:
            found.append(shown.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = (sum(map(int, re.findall(r"\d+", one))) for one in found)
    assert light > 700
    assert dark < 100


def test_what_others_write_is_text_and_nothing_more(
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
        assert [one for one in HOSTILE if " ".join(one.split()) not in text] == []
        assert "<i>key</i>" in text
        assert "\ufffdgnihton sniur siht\ufffd" in text
        attributes = shown.evaluate(
            "[...document.querySelectorAll('*')].flatMap((one) => one.getAttributeNames())"
        )
        assert not [one for one in attributes if one.startswith("on") or one == "style"]


def test_three_hundred_environments_open_and_are_searched(
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


def test_environments_that_are_alike_are_told_once(
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
    [("new", "new"), ("gone", "no longer in git"), ("spelling", "only spelt otherwise")],
)
def test_who_comes_or_goes_is_told_in_a_summary(
    chromium: Browser, tmp_path: Path, report: Report, what: str, words: str
) -> None:
    _, dev = report.environments
    bare = replace(dev, consequences=(), objects=(), components=(), steps=(), outcome=None)
    other = replace(bare, names=("other",), what=what, summary=("24 objects in all",))
    both = replace(report, environments=(dev, other))
    with opened(chromium, written(tmp_path, page(both))) as shown:
        one = shown.locator(".environment", has_text="24 objects in all")
        expect(one.locator("summary .chip")).to_have_text(words)
        shown.get_by_role("radio", name=words).check()
        assert names(shown) == ["other"]


@pytest.mark.parametrize("searched", ["", "thing 001"])
def test_a_link_leads_to_an_environment(
    chromium: Browser, tmp_path: Path, report: Report, searched: str
) -> None:
    file = written(tmp_path, page(many(report, 20)))
    with opened(chromium, file) as shown:
        shown.get_by_role("searchbox").fill(searched)
        shown.evaluate("location.hash = 'environment/prod-017'")
        expect(shown.get_by_text("thing 017")).to_be_visible()
        expect(shown.get_by_role("link", name="prod-017")).to_be_in_viewport()


def test_on_paper_nothing_is_folded_away(chromium: Browser, file: Path) -> None:
    with opened(chromium, file) as shown:
        shown.emulate_media(media="print")
        shown.pdf()
        expect(shown.locator(".object").first).to_be_visible()
        expect(shown.locator(".filters")).to_be_hidden()


def test_no_change_is_one_line(chromium: Browser, tmp_path: Path) -> None:
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


def test_the_command_writes_it(changed: Repository, report: Report) -> None:
    done = changed.run("impact", "--against", "HEAD", "--format", "html")
    assert (done.code, done.out) == (0, page(report))
