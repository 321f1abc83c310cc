"""What every environment in overlays/ keeps, whoever wrote it; all other tests use the example."""

from __future__ import annotations

import pytest

from scripts.environments import layout
from tests.conftest import ROOT, Repository

OVERLAYS = ROOT / "overlays"
ENVIRONMENTS = layout.environments(ROOT) if OVERLAYS.is_dir() else []

pytestmark = pytest.mark.skipif(not ENVIRONMENTS, reason="overlays/ has no environment")


def test_the_committed_manifests_are_up_to_date() -> None:
    done = Repository(ROOT).run("check")
    assert (done.code, done.out) == (0, "the committed manifests are up to date\n")


def test_validate_reports_no_error() -> None:
    done = Repository(ROOT).run("validate")
    assert done.code == 0, done.out + done.err
    assert "  error  " not in done.out
