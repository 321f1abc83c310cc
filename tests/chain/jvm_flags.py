"""Write the table of a JVM's flags: `python -m tests.chain.jvm_flags JAVA [OLDER_JAVA…]`.

JAVA is the `java` of the JDK or JRE whose flags are printed. A flag that only an older one has is
tried: if JAVA ignores it with a warning, it is printed under `ignored`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

_LINE = re.compile(
    r"^ *(?P<type>\w+) (?P<name>\w+) +\[ (?P<least>\S*) +\.\.\. +(?P<most>\S*) +\] +\{[^}]*\}"
)
_FLAG = re.compile(r"^ *(?P<type>\w+) (?P<name>\w+) +:?= .*\{(?P<kind>[^}]*)\} \{")
_UNLOCK = ("-XX:+UnlockDiagnosticVMOptions", "-XX:+UnlockExperimentalVMOptions")


def output(java: str, *options: str) -> str:
    """Return what a JVM prints with these options, before it prints its version."""
    command = [java, *_UNLOCK, *options, "-version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def flags(java: str) -> dict[str, list[str]]:
    """Return flag → its type, its kind, and the least and the greatest value if it has a range."""
    found = dict[str, list[str]]()
    for line in output(java, "-XX:+PrintFlagsFinal").splitlines():
        if flag := _FLAG.match(line):
            found[flag["name"]] = [flag["type"], _kind(flag["kind"])]
    for line in output(java, "-XX:+PrintFlagsRanges").splitlines():
        flag = _LINE.match(line)
        if flag and flag["least"] and flag["most"] and flag["name"] in found:
            found[flag["name"]] += [flag["least"], flag["most"]]
    return found


def _kind(kind: str) -> str:
    """Return what must be unlocked before a flag; empty if nothing."""
    return next((word for word in ("diagnostic", "experimental") if word in kind), "")


def ignored(java: str, names: set[str]) -> list[str]:
    """Return the flags that a JVM ignores with a warning."""
    return sorted(
        name
        for name in names
        if "Ignoring option" in output(java, f"-XX:+{name}") + output(java, f"-XX:{name}=1")
    )


def table(java: str, *older: str) -> str:
    """Return the table as JSON, with a flag in each line."""
    version = re.search(r"Runtime Environment (\S+?)(?:-LTS)? \(", output(java))
    assert version, f"{java} does not print its version"
    own = flags(java)
    gone = {name for other in older for name in flags(other)} - own.keys()
    lines = [f"    {json.dumps(name)}: {json.dumps(own[name])}" for name in sorted(own)]
    return "\n".join(
        [
            "{",
            f'  "version": {json.dumps(version[1])},',
            f'  "ignored": {json.dumps(ignored(java, gone))},',
            '  "flags": {',
            ",\n".join(lines),
            "  }",
            "}",
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(table(*sys.argv[1:]))
