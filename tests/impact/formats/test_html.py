"""The HTML page of an impact report: what it shows, in a browser and in print."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, expect

from scripts.impact import predict
from scripts.impact.effects.effect import LABELS
from scripts.impact.formats.html import page
from scripts.impact.report import Report
from tests.browser import TIMEOUT_MS, axe
from tests.conftest import Repository, copy
from tests.git import commit, git
from tests.impact.formats.pages import everything, names, opened, written

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
