"""k8s.io/api's own words on when Kubernetes removes its API versions → the table of the rules.

Generated there by prerelease-lifecycle-gen, a file a package
(https://github.com/kubernetes/code-generator/tree/master/cmd/prerelease-lifecycle-gen).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

TABLE = Path(__file__).with_name("api_deprecations.yaml")
"""What nox -s lock writes: the API versions that Kubernetes removes."""

Key = tuple[str, str, str]
"""Group, version, kind."""

HEAD = """\
# API versions that Kubernetes removes, and what takes their place. Written by nox -s lock from
# k8s.io/api, where a package goes once all in it is removed; what was read before stays. In words:
# https://kubernetes.io/docs/reference/using-api/deprecation-guide/
"""

_FILE = "zz_generated.prerelease-lifecycle.go"
_GROUP = re.compile(r'^const GroupName = "(.*)"$', re.MULTILINE)
_REMOVED = re.compile(
    r"func \(in \*(\w+)\) APILifecycleRemoved\(\) \(major, minor int\) \{\n\treturn (\d+), (\d+)\n"
)
_REPLACED = re.compile(
    r"func \(in \*(\w+)\) APILifecycleReplacement\(\) schema\.GroupVersionKind \{\n"
    r'\treturn schema\.GroupVersionKind\{Group: "(.*?)", Version: "(.*?)", Kind: '
)


def load(table: Path) -> dict[Key, dict[str, str]]:
    """Return the table as it is written: when each kind is removed, and what replaces it."""
    rows = yaml.load(table.read_bytes(), yaml.CSafeLoader)
    return {(row.pop("group"), row.pop("version"), row.pop("kind")): row for row in rows}


def read(module: Path) -> dict[Key, dict[str, str]]:
    """Return what the packages of a k8s.io/api say of the kinds that are, or will be, removed."""
    found: dict[Key, dict[str, str]] = {}
    for file in sorted(module.rglob(_FILE)):
        text, group = file.read_text("utf-8"), _GROUP.search(_register(file))
        instead = {kind: f"{group}/{version}" for kind, group, version in _REPLACED.findall(text)}
        for kind, major, minor in _REMOVED.findall(text):
            if group is None or kind.endswith("List"):
                continue
            row = {"removed": f"{major}.{minor}"}
            if kind in instead:
                row["replacement"] = instead[kind]
            found[group[1], file.parent.name, kind] = row
    return found


def dump(rows: Mapping[Key, Mapping[str, str]]) -> str:
    """Return the table as YAML, a line a kind."""
    return HEAD + "".join(_line(key, rows[key]) for key in sorted(rows))


def _line(key: Key, row: Mapping[str, str]) -> str:
    named: Iterable[str] = (
        *(f"{name}: {part}" for name, part in zip(("group", "version", "kind"), key, strict=True)),
        *(
            f"{name}: '{row[name]}'" if name == "removed" else f"{name}: {row[name]}"
            for name in row
        ),
    )
    return f"- {{{', '.join(named)}}}\n"


def _register(file: Path) -> str:
    return (file.parent / "register.go").read_text("utf-8")
