"""Texts that people read are in plain English: no phrase that a reader has to decode."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import vocabulary
from tests.conftest import ROOT

LATER = (
    "scripts/rules/",
    "docs/rules.md",  # made of the docstrings in scripts/rules/
    "docs/impact/",  # reports with messages of scripts/rules/
    "scripts/core/json_schema",
    "scripts/checks/layers.py",  # messages that tests/invalid pins
    "chart/values.schema.json",
    "chart/files/",  # rendered into ConfigMaps: a word here changes the manifests
    "chart/templates/monitoring/rules-chain.yaml",  # the same, for its alerts
)
"""Files that are still to be rewritten. Remove what is done; add nothing."""

PHRASES = vocabulary.phrases()


@pytest.mark.parametrize("path", [one for one in vocabulary.files() if not one.startswith(LATER)])
def test_texts_are_in_plain_english(path: str) -> None:
    hits = vocabulary.hits(path, (ROOT / path).read_text("utf-8"), PHRASES)
    assert not hits, "\n" + "\n".join(hits)
