"""Heap: the heap of a JVM fits into the memory limit of its container."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from scripts.core import advice
from scripts.core.findings import Severity
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.quantity import GIB, least, shown
from scripts.kubernetes.resource_usage import (
    ContainerResources,
)
from scripts.rules.pod_templates import called
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads import java
from scripts.rules.workloads.amounts import containers_of, is_misread

_HEAP = "https://besu.hyperledger.org/public-networks/how-to/configure-java/manage-memory"
_JAVA = "https://docs.oracle.com/en/java/javase/25/docs/specs/man/java.html"
_MIB = Decimal(1024**2)
_HEAP_SHARE = Decimal("0.75")
"""Of the memory limit. RocksDB, metaspace, compiled code and thread stacks need memory outside of
the heap; Besu's documentation recommends a heap of less than half."""
_FACTORS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


@rule(_HEAP)
def heap_too_large(objects: Objects) -> Iterator[Problem]:
    """The maximum heap of a JVM is at most three quarters of the container's memory limit.

    Otherwise the container is OOMKilled as the heap fills, and RocksDB has to recover: its caches,
    metaspace, compiled code and thread stacks need memory outside of the heap.
    """
    for jvm in _jvms(objects):
        limit, heap = jvm.resources.limits.get("memory"), jvm.most
        if limit is None or heap is None or is_misread("memory", limit):
            continue
        if jvm.resources.requests.get("memory", limit) > limit:
            continue  # request-above-limit
        share = limit * Decimal(heap.text) / 100 if heap.size is None else heap.size
        size = share // _MIB * _MIB
        if size > limit * _HEAP_SHARE:
            message = (
                f"the heap may grow to {shown('memory', size)} ({heap.word}), and the memory limit "
                f"of {called(jvm.container)} is {shown('memory', limit)}: the container is "
                "OOMKilled as the heap fills"
            )
            half = "-XX:MaxRAMPercentage=50" if heap.size is None else f"-Xmx{_option(limit / 2)}"
            fix = (
                f"write {half}: RocksDB and the JVM need memory outside of the heap; if the heap "
                f"must be so large, write limits.memory: {least('memory', size * 2)}"
            )
            yield Problem(jvm.manifest, heap.path, message, fix)


@rule(_JAVA, Severity.WARNING)
def missing_max_heap(objects: Objects) -> Iterator[Problem]:
    """A container that sets the initial heap of a JVM also sets the maximum heap.

    Otherwise the JVM sets it to a quarter of the memory limit, which may be less than the initial
    heap.
    """
    for jvm in _jvms(objects):
        if jvm.first and jvm.first.size is not None and jvm.most is None and not jvm.unreadable:
            message = (
                f"{called(jvm.container)} has {jvm.first.word} but no maximum heap: the JVM uses a "
                "quarter of the memory limit, which may be less than the initial heap"
            )
            limit = jvm.resources.limits.get("memory")
            size = max(limit / 2, jvm.first.size) if limit else jvm.first.size
            added, word = f"-Xmx{_option(size)}", jvm.first.word
            whole = jvm.manifest.get(*jvm.first.path)
            fix = advice.in_text(f"add {added} after {word}", whole, word, f"{word} {added}")
            yield Problem(jvm.manifest, jvm.first.path, message, fix)


@rule(_JAVA)
def initial_heap_above_max(objects: Objects) -> Iterator[Problem]:
    """The initial heap of a JVM (-Xms) is not larger than its maximum heap (-Xmx).

    Otherwise the JVM does not start, and the pod ends in CrashLoopBackOff.
    """
    for jvm in _jvms(objects):
        first, most = jvm.first, jvm.most
        if first and most and first.size is not None and most.size is not None:
            if first.size <= most.size:
                continue
            message = (
                f"in {called(jvm.container)}, the initial heap ({first.word}) is larger than the "
                f"maximum ({most.word}): the JVM does not start"
            )
            new, whole = f"-Xms{most.text}", jvm.manifest.get(*first.path)
            fix = advice.in_text(f"write {new}", whole, first.word, new)
            yield Problem(jvm.manifest, first.path, message, fix)


@rule(_JAVA)
def invalid_heap_size(objects: Objects) -> Iterator[Problem]:
    """A heap size of a JVM is a number with the unit k, m or g, and at least 1 MiB.

    Otherwise the JVM does not start, and the pod ends in CrashLoopBackOff: Gi and gb are not valid
    units, and a number without a unit is in bytes.
    """
    for jvm in _jvms(objects):
        for word, path in jvm.unreadable:
            message = (
                f"{word} of {called(jvm.container)} is not a valid heap size (a number with k, m or"
                " g, at least 1m): the JVM does not start"
            )
            number = re.search("[0-9]+", word)
            option = word[:4] if word.startswith("-Xm") else word.partition("=")[0] + "="
            unit = "m" if re.search("[mM]", word[len(option) :]) or word[-1].isdigit() else "g"
            new = f"{option}{number[0] if number else 1}{unit}"
            fix = advice.in_text(f"write {new}", jvm.manifest.get(*path), word, new)
            yield Problem(jvm.manifest, path, message, fix)


@dataclass(frozen=True, slots=True)
class _Heap:
    """A JVM option for the heap size."""

    path: Where
    word: str
    """The whole option."""
    text: str
    """Its value."""
    size: Decimal | None
    """In bytes; None for a percentage of the memory limit."""


@dataclass(frozen=True, slots=True)
class _Jvm:
    """The heap options of a container."""

    resources: ContainerResources
    first: _Heap | None
    most: _Heap | None
    unreadable: Sequence[tuple[str, Where]]

    @property
    def container(self) -> Container:
        """Return the container."""
        return self.resources.container

    @property
    def manifest(self) -> Manifest:
        """Return the manifest of its workload."""
        return self.resources.container.workload.manifest


_FIRST = re.compile(r"(?:-Xms|-XX:InitialHeapSize=)(.*)")
_MOST = re.compile(r"(?:-Xmx|-XX:MaxHeapSize=)(.*)")
_PERCENT = re.compile(r"-XX:MaxRAMPercentage=([0-9]+(?:\.[0-9]+)?)")
_SIZE = re.compile(r"([0-9]+)([kKmMgGtT]?)")


def _jvms(objects: Objects) -> Iterator[_Jvm]:
    """Yield the containers with heap options."""
    for own in containers_of(objects):
        first = most = percent = None
        unreadable = list[tuple[str, Where]]()
        for path, word in java.words(own.container):
            if found := _PERCENT.fullmatch(word):
                percent = _Heap(path, word, found[1], None)
            for form in (_FIRST, _MOST):
                found = form.fullmatch(word)
                if not found or "$" in word:
                    continue
                size = _bytes(found[1])
                if size is None:
                    unreadable.append((word, path))
                elif form is _FIRST:
                    first = _Heap(path, word, found[1], size)
                else:
                    most = _Heap(path, word, found[1], size)
        if first or most or percent or unreadable:
            yield _Jvm(own, first, most or percent, unreadable)


def _bytes(text: str) -> Decimal | None:
    """Return a size as the JVM reads it; None if it is not valid."""
    form = _SIZE.fullmatch(text)
    size = Decimal(form[1]) * _FACTORS[form[2].lower()] if form else Decimal(0)
    return size if size >= 1024**2 else None


def _option(size: Decimal) -> str:
    """Return a size in the notation of JVM options."""
    return f"{size // GIB}g" if size % GIB == 0 else f"{size // _MIB}m"
