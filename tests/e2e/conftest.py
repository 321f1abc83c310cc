"""One cluster for all tests of a process, with this repository synced; a test leaves it so."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Generator, Iterator

import pytest

from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.git_remote import Remote
from tests.conftest import ROOT
from tests.e2e import steps

MEASURED = "measured"
_running: list[Cluster] = []
"""The clusters that a failing test may ask for what they know."""

FirstSync = dict[str, tuple[dict[str, Object], list[Object]]]
"""An environment → its objects, by Kind/name, and pods, as they were after the first sync."""
_first_syncs: dict[Cluster, FirstSync] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what is synced before the working tree."""
    about = "the revision that runs first; that before the working tree, if none is named"
    parser.addoption("--against", metavar="REVISION", help=about)


@pytest.fixture(scope="session")
def base(request: pytest.FixtureRequest) -> str:
    """Return the revision that runs before the working tree; empty in a clone of one commit."""
    named = request.config.getoption("--against")
    if named:
        return str(named)
    changed = git("status", "--porcelain", "--", "overlays", "argocd")
    before = "HEAD" if changed.stdout else "HEAD^"
    return before if git("rev-parse", "--verify", "--quiet", before).returncode == 0 else ""


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="session")
def cluster(base: str) -> Iterator[Cluster]:
    """Return a cluster in which the base was synced, and then all of the working tree is."""
    with Cluster(ROOT) as made, known(made):
        for revision in (base, "") if base else ("",):
            made.remote.take(revision)
            pushed = made.remote.push(f"as of {revision or 'the working tree'}")
            made.sync()
            names = committed(made)
            steps.wait_synced(made, [steps.ROOT, *map(steps.application, names)], pushed)
            if made not in _first_syncs:
                _first_syncs[made] = {name: first_state(made, name) for name in names}
        yield made


@contextlib.contextmanager
def known(made: Cluster) -> Iterator[None]:
    """Let tests that fail ask the cluster, as long as it runs."""
    _running.append(made)
    try:
        yield
    finally:
        _running.remove(made)


def committed(made: Cluster) -> list[str]:
    """Return the names of the environments that the checkout has Applications of."""
    files = (made.remote.checkout / "argocd" / "applications").glob("*.yaml")
    return sorted(file.stem for file in files)


def first_state(made: Cluster, name: str) -> tuple[dict[str, Object], list[Object]]:
    objects = steps.live(made, name)
    space = next(iter(objects.values()))["metadata"]["namespace"]
    return objects, made.api.objects("Pod", space)


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
