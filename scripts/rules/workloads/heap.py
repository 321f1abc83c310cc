"""Heap: a JVM's heap fits into its container."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from scripts.core.findings import Severity
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.quantity import GIB, least, shown
from scripts.kubernetes.resource_usage import (
    ContainerResources,
)
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.amounts import containers_of, is_misread

_HEAP = "https://besu.hyperledger.org/public-networks/how-to/configure-java/manage-memory"
_JAVA = "https://docs.oracle.com/en/java/javase/25/docs/specs/man/java.html"
_MIB = Decimal(1024**2)
_HEAP_SHARE = Decimal("0.75")
"""Of the memory limit: RocksDB, metaspace, compiled code and stacks of threads are beside the heap.
Besu's documentation recommends less than half."""
_OPTIONS = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "JAVA_OPTS", "BESU_OPTS")
"""Variables with options of the JVM: of options that are said twice, the later ones win."""
_FACTORS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


@rule(_HEAP)
def heap_too_large(objects: Objects) -> Iterator[Problem]:
    """A JVM's heap leaves a quarter of the container's memory limit to what is beside it.

    RocksDB's caches, metaspace, compiled code and stacks of threads are not in the heap: as it
    fills, the kernel kills the container, which RocksDB then has to recover from.
    """
    for jvm in _jvms(objects):
        limit, heap = jvm.of.limits.get("memory"), jvm.most
        if limit is None or heap is None or is_misread("memory", limit):
            continue
        if jvm.of.requests.get("memory", limit) > limit:
            continue  # the limit is told
        share = limit * Decimal(heap.text) / 100 if heap.size is None else heap.size
        size = share // _MIB * _MIB
        if size > limit * _HEAP_SHARE:
            message = (
                f"the heap may grow to {shown('memory', size)} ({heap.word}), and the container "
                f"{jvm.container.name} may have {shown('memory', limit)}: it is killed as the heap "
                "fills"
            )
            half = "-XX:MaxRAMPercentage=50" if heap.size is None else f"-Xmx{_option(limit / 2)}"
            fix = (
                f"write {half}, or a memory limit of {least('memory', size * 2)}: Besu and Maru "
                "need about as much beside the heap"
            )
            yield Problem(jvm.manifest, heap.path, message, fix)


@rule(_JAVA, Severity.WARNING)
def missing_max_heap(objects: Objects) -> Iterator[Problem]:
    """Who says a JVM's first heap also says its largest.

    The JVM takes a quarter of the memory limit else, which may be less than what it begins with.
    """
    for jvm in _jvms(objects):
        if jvm.first and jvm.first.size is not None and jvm.most is None and not jvm.unreadable:
            name = jvm.container.name
            message = f"the heap of {name} begins with {jvm.first.text}, and may grow to a quarter"
            message += " of the memory limit: nothing says how far"
            limit = jvm.of.limits.get("memory")
            size = max(limit / 2, jvm.first.size) if limit else jvm.first.size
            yield Problem(jvm.manifest, jvm.first.path, message, f"add -Xmx{_option(size)}")


@rule(_JAVA)
def initial_heap_above_max(objects: Objects) -> Iterator[Problem]:
    """A JVM's first heap (-Xms) is no larger than its largest (-Xmx).

    Else the JVM refuses to start.
    """
    for jvm in _jvms(objects):
        first, most = jvm.first, jvm.most
        if first and most and first.size is not None and most.size is not None:
            if first.size <= most.size:
                continue
            message = f"{first.word} is more than {most.word}: the JVM refuses to start"
            fix = f"write -Xms{most.text} or less, or a larger -Xmx"
            yield Problem(jvm.manifest, first.path, message, fix)


@rule(_JAVA)
def invalid_heap_size(objects: Objects) -> Iterator[Problem]:
    """Sizes of a JVM's heap are numbers with k, m or g, of 1 MiB and more.

    The JVM knows no Gi and no gb, takes a bare number for bytes, and refuses to start.
    """
    for jvm in _jvms(objects):
        for word, path in jvm.unreadable:
            message = f"{word} is no size of a heap that the JVM takes: it refuses to start"
            number = re.search("[0-9]+", word)
            option = word[:4] if word.startswith("-Xm") else word.partition("=")[0] + "="
            unit = "m" if re.search("[mM]", word[len(option) :]) or word[-1].isdigit() else "g"
            fix = f"write {option}{number[0] if number else 1}{unit}"
            yield Problem(jvm.manifest, path, message, fix)


@dataclass(frozen=True, slots=True)
class _Heap:
    """An option about the heap's size."""

    path: Where
    word: str
    """As it is written."""
    text: str
    """Its value."""
    size: Decimal | None
    """In bytes; None for a percentage of the memory limit."""


@dataclass(frozen=True, slots=True)
class _Jvm:
    """What a container says of the heap of its JVM."""

    of: ContainerResources
    first: _Heap | None
    most: _Heap | None
    unreadable: Sequence[tuple[str, Where]]

    @property
    def container(self) -> Container:
        """Return the container."""
        return self.of.container

    @property
    def manifest(self) -> Manifest:
        """Return what makes its pods."""
        return self.of.container.workload.manifest


_FIRST = re.compile(r"(?:-Xms|-XX:InitialHeapSize=)(.*)")
_MOST = re.compile(r"(?:-Xmx|-XX:MaxHeapSize=)(.*)")
_PERCENT = re.compile(r"-XX:MaxRAMPercentage=([0-9]+(?:\.[0-9]+)?)")
_SIZE = re.compile(r"([0-9]+)([kKmMgGtT]?)")


def _jvms(objects: Objects) -> Iterator[_Jvm]:
    """Yield the containers that say something of a JVM's heap."""
    for one in containers_of(objects):
        first = most = percent = None
        unreadable = list[tuple[str, Where]]()
        for path, word in _words(one.container):
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
            yield _Jvm(one, first, most or percent, unreadable)


def _words(container: Container) -> Iterator[tuple[Where, str]]:
    """Yield what may be options of a JVM, in the order in which it reads them."""
    variables = {str(one.get("name")): (path, one) for path, one in container.variables()}
    for name in _OPTIONS:
        path, variable = variables.get(name, ((), {}))
        value = variable.get("value")
        for word in value.split() if isinstance(value, str) else ():
            yield (*path, "value"), word
    yield from container.words()


def _bytes(text: str) -> Decimal | None:
    """Return what the JVM reads as a size; None where it refuses it."""
    form = _SIZE.fullmatch(text)
    size = Decimal(form[1]) * _FACTORS[form[2].lower()] if form else Decimal(0)
    return size if size >= 1024**2 else None


def _option(size: Decimal) -> str:
    """Return a size as the JVM takes it, in whole units."""
    return f"{size // GIB}g" if size % GIB == 0 else f"{size // _MIB}m"
