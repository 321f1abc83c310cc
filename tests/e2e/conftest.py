"""One cluster for all tests of a process, with this repository synced; tests leave it synced."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from scripts.cluster import cluster as clusters
from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.git_remote import Remote
from tests import example_repository
from tests.conftest import EXAMPLE, ROOT
from tests.e2e import costs, steps
from tests.git import attempt

GROUPS = {
    "shared": (
        *("change", "diff", "environment", "promotion", "rename", "restore", "upgrade", "windows"),
    ),
    "shared-2": ("disruption", "drift", "faults", "sync", "verify", "waits"),
    "impact": ("impact",),
    "three_zones": ("three_zones",),
    "connect": ("connect",),
    "bare": ("apply", "rejected", "spelling"),
}
"""The files whose tests share a cluster, the longest first: one worker runs all of a group. Other
files are a group of their own, after these."""
POLL_S = 20
"""How often Argo CD polls the repository; tests ask it to look at once. To poll each 3 s, as
`nox -s cluster` does, takes it a tenth of a processor for four Applications."""

MEASURED, COST = "measured", "cost"
_meter = costs.Meter()
_running: list[Cluster] = []
"""The running clusters; the report of a failed test shows their state."""

FirstSync = dict[str, tuple[dict[str, Object], list[Object]]]
"""An environment → its objects, by Kind/name, and its pods, after the first sync."""
_first_syncs: dict[Cluster, FirstSync] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the revision that is synced before the working tree."""
    text = "the revision that runs first; default: the one before the working tree"
    parser.addoption("--against", metavar="REVISION", help=text)
    text = "predict and make all changes of tests/changes/, not only a sample of them"
    parser.addoption("--all", action="store_true", help=text)


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
    """Gives all tests of a group to the same worker."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(Path(nodeid.partition("::")[0]).stem)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByGroup | None:
    """Distribute tests by group in place of `--dist=loadfile`."""
    return ByGroup(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups that take longest."""
    items.sort(key=_rank)


def _group(file: str) -> str:
    name = file.removeprefix("test_")
    return next((group for group, files in GROUPS.items() if name in files), name)


def _rank(item: pytest.Item) -> tuple[int, str, str]:
    """Return the group's place, its name and, of a bare cluster, the version."""
    group = _group(item.path.stem)
    place = [*GROUPS].index(group) if group in GROUPS else len(GROUPS)
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return place, group, parameters.get("bare", "")


@pytest.fixture(scope="session")
def base(request: pytest.FixtureRequest) -> str:
    """Return the revision that runs before the working tree; empty in a clone with one commit."""
    named = request.config.getoption("--against")
    if named:
        return str(named)
    sources = (str(example_repository.FROZEN), *example_repository.SHARED, "scripts")
    changed = attempt(ROOT, "status", "--porcelain", "--", *sources)
    before = "HEAD" if changed.stdout else "HEAD^"
    known = attempt(ROOT, "rev-parse", "--verify", "--quiet", before)
    return before if known.returncode == 0 else ""


@pytest.fixture(scope="session")
def cluster(base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a cluster in which first the example at the base was synced, and then as it is now."""
    source, revisions = EXAMPLE, [""]
    if base:
        try:
            folder = tmp_path_factory.mktemp("history")
            source = example_repository.with_history(base, folder)
            revisions = ["HEAD^", "HEAD"]
        except RuntimeError as error:  # its program may need other packages than are installed
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn(f"only the working tree runs, {base} does not: {error}", stacklevel=1)
    with Cluster(source, looks_every_s=POLL_S) as running, reported(running):
        for revision in revisions:
            running.remote.take(revision)
            what = base if revision == "HEAD^" else "the working tree"
            pushed = running.remote.push(f"as of {what}")
            running.sync()
            names = committed(running)
            steps.wait_synced(running, [steps.ROOT, *map(steps.application, names)], pushed)
            if running not in _first_syncs:
                _first_syncs[running] = {name: first_state(running, name) for name in names}
        yield running


@pytest.fixture(scope="session", params=clusters.versions())
def bare(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Return a cluster of each pinned version, without Argo CD and namespaces, for several files.

    Each file makes namespaces of its own.
    """
    with Cluster(EXAMPLE, request.param, with_argo_cd=False) as running:
        yield running
        _meter.look()


@contextlib.contextmanager
def reported(cluster: Cluster) -> Iterator[None]:
    """Show the state of a cluster in the reports of tests that fail meanwhile."""
    _running.append(cluster)
    try:
        yield
    finally:
        _meter.look()
        _running.remove(cluster)


def committed(cluster: Cluster) -> list[str]:
    """Return the environments that have an Application in the checkout."""
    files = (cluster.remote.checkout / "argocd" / "applications").glob("*.yaml")
    return sorted(file.stem for file in files)


def first_state(cluster: Cluster, name: str) -> tuple[dict[str, Object], list[Object]]:
    objects = steps.live(cluster, name)
    space = next(iter(objects.values()))["metadata"]["namespace"]
    return objects, cluster.api.objects("Pod", space)


@pytest.fixture
def first_sync(cluster: Cluster) -> FirstSync:
    """Return the state after the first sync of the cluster, before all tests."""
    return _first_syncs[cluster]


@pytest.fixture
def remote(cluster: Cluster) -> Iterator[Remote]:
    """Return the repository that Argo CD follows; at the end it is restored and synced."""
    before = cluster.remote.revision()
    yield cluster.remote
    if cluster.remote.revision() != before:
        steps.wait_synced(cluster, revision=cluster.remote.return_to(before))


@pytest.fixture
def measure(record_property: Callable[[str, object], None]) -> Callable[[str, float], None]:
    """Return a function that records a duration for the summary: its name, its monotonic start."""

    def note(what: str, begun: float) -> None:
        record_property(MEASURED, f"{what}: {time.monotonic() - begun:.1f} s")

    return note


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    report.user_properties.append((COST, _meter.take()))
    if report.failed:
        for running in _running:
            try:
                report.sections += steps.diagnostics(running)
            except Exception as error:  # the failure of the test matters more
                report.sections.append(("the cluster", f"its state is not available: {error}"))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    keys = ("passed", "failed", "error", "")
    reports = [each for key in keys for each in terminalreporter.getreports(key)]
    called = [each for each in reports if getattr(each, "when", "") == "call"]
    lines = [text for each in called for name, text in each.user_properties if name == MEASURED]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(str(line))
    spent = [
        (Path(each.location[0]).name, cost)
        for each in reports
        for name, cost in getattr(each, "user_properties", ())
        if name == COST
    ]
    if spent:
        terminalreporter.section("seconds of each file, and of the processors")
        for line in costs.summary(spent):
            terminalreporter.write_line(line)
