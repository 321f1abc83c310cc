"""The overview as text and as Markdown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.overview.formats import text, words
from scripts.overview.report import Live, Overview, Window


def test_the_text_has_a_line_for_each_environment_and_then_all_about_it(shown: Overview) -> None:
    said = text.text(shown)
    lines = said.splitlines()
    assert lines[0] == "3 environments on 2026-11-30"
    assert [line.split()[0] for line in lines[3:6]] == ["dev", "prod", "staging"]
    assert "Kubernetes    1.34: standard support on EKS until 2026-12-02 (2 days left)" in said
    assert max(map(len, lines)) <= 100


def test_of_many_environments_there_is_one_line_each(shown: Overview) -> None:
    prod = shown.environments[1]
    many = replace(
        shown,
        environments=tuple(replace(prod, name=f"prod-{number}") for number in range(11)),
    )
    lines = text.text(many).splitlines()
    assert len(lines) == 3 + 11 + 2
    assert lines[-1] == ("to see all about some of them, name them: nox -s overview -- NAME …")


@pytest.mark.parametrize("format", [text.text, text.markdown])
def test_windows_and_the_cluster_are_told(shown: Overview, format: object) -> None:
    window = Window("deny", "0 22 * * 5", "60h", "UTC", True)
    live = Live("OutOfSync", "Healthy", "abc", ("Service/a: differs",), "")
    one = replace(shown.environments[0], windows=(window,), live=live)
    said = " ".join(format(replace(shown, environments=(one,))).replace("\\", "").split())  # type: ignore[operator]
    assert "window: deny 0 22 * * 5 for 60h (UTC), manual syncs allowed" in said
    assert "OutOfSync, Healthy at abc" in said
    assert "Service/a: differs" in said


def test_markdown_shows_what_comes_from_files_as_plain_text(shown: Overview) -> None:
    one = replace(shown.environments[0], survives="<img src=x> @team | **no**")
    said = text.markdown(replace(shown, environments=(one,)))
    assert "<img" not in said
    assert "@team" not in said
    assert "\\| \\*\\*no" in said


def test_which_image_runs_where(shown: Overview) -> None:
    rows = {(component, image.name): names for component, image, names in words.by_image(shown)}
    (besu,) = (names for (part, name), names in rows.items() if part == "besu" and "/besu:" in name)
    assert besu == ["dev", "prod", "staging"]
    assert [names for (part, _), names in rows.items() if part == "backup"] == [["prod", "staging"]]
