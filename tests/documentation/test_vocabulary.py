"""Texts that people read are in plain English: they have no phrase that a reader must decode."""

from __future__ import annotations

import textwrap

import pytest

from tests.conftest import ROOT
from tests.documentation import vocabulary

PHRASES = vocabulary.phrases()


def hits(path: str) -> list[str]:
    return vocabulary.hits(path, (ROOT / path).read_text("utf-8"), PHRASES)


@pytest.mark.parametrize("path", vocabulary.files())
def test_texts_are_in_plain_english(path: str) -> None:
    found = hits(path)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("phrase", PHRASES, ids=lambda phrase: phrase.finds)
def test_each_phrase_is_found_and_a_similar_one_is_not(phrase: vocabulary.Phrase) -> None:
    assert phrase.pattern.search(phrase.finds)
    assert not phrase.pattern.search(phrase.allows)


def test_the_list_stays_short() -> None:
    assert len(PHRASES) <= 60


# Where phrases are found


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("docs/a.md", "# Title\n\nA token is mounted in\nvain.", 3),
        ("docs/a.md", "| a | b |\n|---|---|\n| c | in vain |", 3),
        ("base/values.yaml", "a: 1\n# A token is mounted in\n# vain.\nb: 2", 2),
        ("scripts/a.py", '"""First.\n\nA token is mounted\nin vain.\n"""', 4),
        ("scripts/a.py", "a = 1\n# A token in\n# vain\n", 2),
        ("scripts/a.py", 'a = 1\nb = f"{a} is mounted in " "vain"', 2),
    ],
)
def test_phrases_are_found_in_prose_comments_and_messages(path: str, text: str, line: int) -> None:
    (hit,) = vocabulary.hits(path, text, PHRASES)
    assert hit == f'{path}:{line}: "in vain": write unused, without effect'


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("docs/a.md", "The user `nobody`, of [a page](https://example.com/nobody)"),
        ("docs/a.md", "It is in\n\nvain or not"),
        ("scripts/a.py", 'nobody = {"whoever": 1}\n'),
        ("scripts/a.py", '"""Return `nobody`."""'),
    ],
)
def test_names_and_code_are_no_prose(path: str, text: str) -> None:
    assert vocabulary.hits(path, text, PHRASES) == []


def test_what_people_read_is_checked() -> None:
    expected = textwrap.dedent("""\
        .github/workflows/impact.yaml README.md chart/README.md chart/templates/NOTES.txt
        chart/values.yaml docs/chain.md docs/runbooks/LineaQuorumLost.md noxfile.py
        scripts/impact/impact.schema.json scripts/network/make.py
        tests/example/overlays/prod/environment.yaml
    """)
    files = vocabulary.files()
    assert set(expected.split()) - set(files) == set()
    others = [path for path in files if not path.startswith("tests/example/")]
    assert not [path for path in others if path.startswith(("base/", "overlays/", "tests/"))]
