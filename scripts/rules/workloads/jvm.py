"""JVM options: the JVM in the image has them, and starts with their values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from scripts.chain import jvm
from scripts.chain.jvm import Flag, Jvm
from scripts.core import advice
from scripts.core.findings import Severity
from scripts.core.fixes import Fix
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Where
from scripts.rules.pod_templates import called
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, once
from scripts.rules.workloads import java

_JAVA = "https://docs.oracle.com/en/java/javase/25/docs/specs/man/java.html"
_FLAG = re.compile(r"-XX:(?P<sign>[+-]?)(?P<name>\w+)(?P<rest>.*)", re.DOTALL)
_OF_FILES = ("Flags", "VMOptionsFile")
"""They name a file with flags, and the JVM does not print them."""
_HEAP = ("MaxHeapSize", "InitialHeapSize")
"""The rules about the heap check their values."""
_STANDARD = (
    "-Xbatch",
    "-Xbootclasspath/a:",
    "-Xcheck:jni",
    "-Xcomp",
    "-Xdebug",
    "-Xdiag",
    "-Xint",
    "-Xinternalversion",
    "-Xlog",
    "-Xmixed",
    "-Xmn",
    "-Xms",
    "-Xmx",
    "-Xnoclassgc",
    "-Xrs",
    "-Xshare:",
    "-XshowSettings",
    "-Xss",
    "-Xverify",
)
"""What `java -X` of Java 25 prints."""
_COLLECTORS = (
    "UseSerialGC",
    "UseParallelGC",
    "UseG1GC",
    "UseZGC",
    "UseShenandoahGC",
    "UseEpsilonGC",
)
_WITH_VALUE = ("-cp", "-classpath", "--class-path", "-jar", "-m", "--module", "-p", "--module-path")
_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_INTEGER = re.compile(r"(-?(?:0[xX][0-9a-fA-F]+|[0-9]+))([kKmMgGtT]?)")
_NEARLY = re.compile(r"(-?[0-9]+) *((?:[kKmMgGtT](?=[iI]?[bB]?$))?)")
"""A size as Kubernetes or people write it, or a number with something else after it."""
_NEGATIVE = "is below 0"
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")


@rule(_JAVA)
def unknown_jvm_option(objects: Objects) -> Iterator[Problem]:
    """Each option of a JVM is one that the JVM in the image has.

    Otherwise the JVM does not start, and the pod ends in CrashLoopBackOff.
    """
    for container, own in _jvms(objects):
        words = list(_flags(container))
        lenient = any("+IgnoreUnrecognizedVMOptions" in word for _, word in words)
        for path, word in words:
            found = _FLAG.fullmatch(word)
            name = found["name"] if found else ""
            is_known = name in own.flags or name in own.ignored or name in _OF_FILES
            if "$" in word or is_known or (found and lenient):
                continue
            if not found and word.startswith(_STANDARD):
                continue
            message = (
                f"Java {_shown(own)} in {called(container)} has no option {word}: it does not start"
            )
            right = _instead(word, own)
            fix = f"write {right}" if right else f"remove {word}"
            if word in ("-XX:", "-X"):
                fix = f"remove the space after {word}"
            elif "…" not in right:
                fix = java.instead(fix, container, path, word, right)
            yield Problem(container.workload.manifest, path, message, fix)


@rule(_JAVA)
def invalid_jvm_option_value(objects: Objects) -> Iterator[Problem]:
    """Each flag of a JVM has a value of its type and range: + or - for a boolean.

    Otherwise the JVM does not start, and the pod ends in CrashLoopBackOff.
    """
    for container, own in _jvms(objects):
        for path, word in _flags(container):
            found = _FLAG.fullmatch(word)
            flag = own.flags.get(found["name"]) if found else None
            if not found or not flag or "$" in word or found["name"] in _HEAP:
                continue
            wrong = _wrong(flag, found["sign"], found["name"], found["rest"])
            if wrong:
                problem, right = wrong
                fix = f"write {right}" if right else f"remove {word}"
                if problem == _NEGATIVE:
                    fix += ": then the JVM chooses the value"
                fix = java.instead(fix, container, path, word, right)
                message = f"{word} of {called(container)} {problem}: the JVM does not start"
                yield Problem(container.workload.manifest, path, message, fix)


@rule(_JAVA)
def locked_jvm_option(objects: Objects) -> Iterator[Problem]:
    """A diagnostic or experimental flag of a JVM comes after the flag that unlocks it.

    Otherwise the JVM does not start, and the pod ends in CrashLoopBackOff.
    """
    for container, own in _jvms(objects):
        unlocked = set[str]()
        for path, word in _flags(container):
            found = _FLAG.fullmatch(word)
            name = found["name"] if found else ""
            if found and name.startswith("Unlock"):
                unlocked.add(name)
            flag = own.flags.get(name)
            needed = f"Unlock{flag.unlock}VMOptions" if flag and flag.unlock else ""
            if flag and needed and needed not in unlocked:
                message = (
                    f"{word} of {called(container)} is {flag.unlock.lower()} in Java "
                    f"{_shown(own)}, and nothing before it unlocks it: the JVM does not start"
                )
                words = f"write -XX:+{needed} before {word}"
                fix = java.instead(words, container, path, word, f"-XX:+{needed} {word}")
                if container.workload.manifest.get(*path) == word and isinstance(path[-1], int):
                    fix = Fix(words)  # an argument is one word
                yield Problem(container.workload.manifest, path, message, fix)


@rule(_JAVA)
def several_garbage_collectors(objects: Objects) -> Iterator[Problem]:
    """A JVM has one garbage collector.

    With two it does not start, and the pod ends in CrashLoopBackOff.
    """
    for container, own in _jvms(objects):
        chosen = dict[str, tuple[Where, str]]()
        for path, word in _flags(container):
            found = _FLAG.fullmatch(word)
            if found and found["name"] in _COLLECTORS and found["name"] in own.flags:
                chosen.pop(found["name"], None)
                if found["sign"] == "+":
                    chosen[found["name"]] = (path, word)
        if len(chosen) > 1:
            (place, first), *_, (path, last) = chosen.values()
            message = (
                f"{called(container)} has {first} and {last}: the JVM does not start with two "
                "garbage collectors"
            )
            fix: str = f"remove {first}"
            if place == path:  # otherwise the edit would be at another place
                fix = java.instead(fix, container, path, first)
            yield Problem(container.workload.manifest, path, message, fix)


@rule(_JAVA)
def jvm_option_without_dash(objects: Objects) -> Iterator[Problem]:
    """Each word in a variable with JVM options is an option, or the value of one.

    The JVM takes another word for the name of the program, and does not start Besu or Maru.
    """
    for container, _ in _jvms(objects):
        before = ""
        for path, word in java.in_variables(container):
            if "'" in word or '"' in word or "$" in word:
                break  # the next words may be inside the quotes
            if not word.startswith(("-", "@")) and before not in _WITH_VALUE:
                message = (
                    f"{word} of {called(container)} does not begin with -, so the JVM takes it for "
                    "the program to run, and does not find it"
                )
                fix = java.instead(f"remove {word}", container, path, word)
                if before[-1:] in ("=", ":") or before in ("-Xms", "-Xmx", "-Xmn", "-Xss"):
                    words, two = f"write {before}{word}, without a space", f"{before} {word}"
                    text = container.workload.manifest.get(*path)
                    fix = advice.in_text(words, text, two, before + word)
                elif re.match(r"X|D|javaagent|agent|ea|server", word):
                    fix = java.instead(f"write -{word}", container, path, word, f"-{word}")
                yield Problem(container.workload.manifest, path, message, fix)
                break
            before = word


@rule(_JAVA, Severity.WARNING, outcome=Outcome.HIDDEN)
def ignored_jvm_option(objects: Objects) -> Iterator[Problem]:
    """No option of a JVM is one that it only ignores.

    The JVM writes a warning, and behaves as without the option.
    """
    for container, own in _jvms(objects):
        for path, word in _flags(container):
            found = _FLAG.fullmatch(word)
            if found and found["name"] in own.ignored:
                message = (
                    f"Java {_shown(own)} in {called(container)} ignores {word}, which older "
                    "versions had"
                )
                fix = java.instead(f"remove {word}", container, path, word)
                yield Problem(container.workload.manifest, path, message, fix)


@once
def _jvms(objects: Objects) -> Iterator[tuple[Container, Jvm]]:
    """Yield the containers that run Besu or Maru, each with its JVM."""
    seen = set[object]()
    for node in objects.programs:
        container = node.container
        if container.place not in seen and next(_flags(container), None):
            seen.add(container.place)
            yield container, jvm.of_image(container.get("image"))


def _flags(container: Container) -> Iterator[tuple[Where, str]]:
    """Yield the words of a container that begin like -X options."""
    for path, word in java.words(container):
        if word[:2].lower() == "-x":
            yield path, word


def _shown(own: Jvm) -> str:
    return own.version.rpartition("-")[2].partition("+")[0]


def _instead(word: str, own: Jvm) -> str:
    """Return what to write instead of an option that a JVM does not have; empty for nothing."""
    found = _FLAG.fullmatch(word)
    if not found:
        lower = {name[:4].lower(): name[:4] for name in _STANDARD}
        right = lower.get(word[:4].lower())
        return f"{right}{word[4:]}" if right and right != word[:4] else ""
    known = {name.lower(): name for name in own.flags}
    near = difflib.get_close_matches(found["name"].lower(), known, 1, 0.7)
    if not near:
        return ""
    name, rest = known[near[0]], found["rest"]
    if own.flags[name].type == "bool":
        return f"-XX:{found['sign'] or '+'}{name}"
    return f"-XX:{name}{rest if rest.startswith('=') else '=…, with a value'}"


def _wrong(flag: Flag, sign: str, name: str, rest: str) -> tuple[str, str] | None:
    """Return what is wrong with the value of a flag, and what to write instead of the word.

    That is empty if the option should go; None if nothing is wrong.
    """
    value = rest.removeprefix("=")
    if flag.type == "bool":
        if sign and not rest:
            return None
        is_off = value.lower() in ("false", "0", "no", "off") or sign == "-"
        return "is a boolean, which needs + or -", f"-XX:{'-' if is_off else '+'}{name}"
    if sign:
        right = f"-XX:{name}{rest}" if rest.startswith("=") else ""
        return "is not a boolean, so it takes no + or -", right
    if flag.type.startswith("ccstr"):
        return None
    is_decimal = flag.type == "double"
    number = _number(value, is_decimal=is_decimal) if rest.startswith("=") else None
    if number is None:
        what = "a number" if is_decimal else "a whole number, with or without k, m or g"
        near = _NEARLY.match(value)
        unit = near[2].lower() if near and not is_decimal else ""
        return f"needs {what}", f"-XX:{name}={near[1]}{unit}" if near else ""
    if flag.type.startswith(("u", "size_t")) and number < 0:
        return _NEGATIVE, ""
    if flag.least is None or flag.most is None or flag.least <= number <= flag.most:
        return None
    bound = flag.least if number < flag.least else flag.most
    return f"is not from {flag.least:.15g} to {flag.most:.15g}", f"-XX:{name}={bound:.15g}"


def _number(text: str, *, is_decimal: bool) -> float | None:
    """Return a number as the JVM reads it; None if it is none."""
    if is_decimal:
        return float(text) if _DECIMAL.fullmatch(text) else None
    found = _INTEGER.fullmatch(text)
    return int(found[1], 0) * _UNITS.get(found[2].lower(), 1) if found else None
