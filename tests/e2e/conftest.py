"""One cluster for all tests of a process, with this repository synced; a test leaves it so."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator

import pytest

from scripts.cluster.api import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.remote import Remote
from tests.conftest import ROOT
from tests.e2e import steps

MEASURED = "measured"
_running: list[Cluster] = []
"""The clusters that a failing test may ask for what they know."""

FirstSync = dict[str, tuple[dict[str, Object], list[Object]]]
"""An environment → its objects, by Kind/name, and pods, as they were after the first sync."""
_first_syncs: dict[Cluster, FirstSync] = {}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return a cluster in which every environment of the working tree is synced."""
    with Cluster(ROOT) as made:
        _running.append(made)
        made.remote.take()
        revision = made.remote.push("the working tree")
        made.sync()
        steps.wait_synced(made, revision=revision)
        _first_syncs[made] = {
            each.name: (steps.live(made, each.name), made.api.objects("Pod", each.namespace))
            for each in made.environments
        }
        yield made
        _running.remove(made)


@pytest.fixture
def first_sync(cluster: Cluster) -> FirstSync:
    """Return what the cluster's first sync has made, whatever tests have done since."""
    return _first_syncs[cluster]


@pytest.fixture
def remote(cluster: Cluster) -> Iterator[Remote]:
    """Return the repository that Argo CD follows; in the end it is as before, and synced."""
    before = cluster.remote.revision()
    yield cluster.remote
    if cluster.remote.revision() != before:
        steps.wait_synced(cluster, revision=cluster.remote.return_to(before))


@pytest.fixture
def measure(record_property: Callable[[str, object], None]) -> Callable[[str, float], None]:
    """Return what notes a duration, by what it is and its monotonic beginning, to be printed."""

    def note(what: str, begun: float) -> None:
        record_property(MEASURED, f"{what}: {time.monotonic() - begun:.1f} s")

    return note


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for running in _running:
            try:
                report.sections += steps.told(running)
            except Exception as error:  # the test's own failure is the news
                report.sections.append(("the cluster", f"can't be asked: {error}"))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    lines = [text for each in reports for name, text in each.user_properties if name == MEASURED]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(str(line))
