"""The tables of the options of Besu and Maru, and which one is for which image."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from scripts.checks import option_tables
from scripts.core import json_schema
from tests.conftest import ROOT

REMOVED = {
    ("26.8.0", "fast-sync-min-peers"),
    ("26.8.0", "Xbonsai-parallel-tx-processing-enabled"),
}
"""Version, option: in the tables of older versions, and not in this one."""


def table(version: str) -> dict[str, Any]:
    """Return option → its schema."""
    found = json_schema.read(option_tables.BESU[version])["properties"]
    assert isinstance(found, dict)
    return found


def test_the_versions_in_the_chart_have_tables() -> None:
    values = yaml.safe_load((ROOT / "chart/values.yaml").read_text("utf-8"))
    for component in ("besu", "sequencer"):
        assert option_tables.besu_missing(values[component]["image"]["tag"]) is None
    assert option_tables.maru_missing(values["maru"]["image"]["tag"]) is None


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("25.11.0", "25.11.0"),
        ("25.11.0-arm64", "25.11.0"),
        ("25.12.0", "25.11.0"),
        ("26.8.0", "26.8.0"),
        ("26.10.1", "26.8.0"),
        ("24.1.0", "25.11.0"),  # older than all
        ("latest", "26.8.0"),
        ("", "26.8.0"),
        ("26.8", "26.8.0"),
    ],
)
def test_an_image_has_the_newest_table_that_is_not_newer(tag: str, version: str) -> None:
    assert option_tables.besu(tag) == version
    known = tag.partition("-")[0] in (version, version.removesuffix(".0"))
    assert (option_tables.besu_missing(tag) is None) == known


def test_the_titles_of_the_tables_have_their_versions() -> None:
    for version, path in option_tables.BESU.items():
        assert json_schema.read(path)["title"] == f"The options of Besu {version}"
    commit = option_tables.MARU_COMMIT
    assert commit in json_schema.read(option_tables.MARU)["$comment"]


def test_a_tag_without_a_table_is_named_with_the_table_that_is_used() -> None:
    message, fix = option_tables.besu_missing("25.12.0") or ("", "")
    assert "no table of the options of Besu 25.12.0" in message
    assert "against Besu 25.11.0 instead" in message
    assert fix.startswith("write tag: 25.11.0; to use another version, first add its table: ")
    message, fix = option_tables.maru_missing("") or ("", "")
    assert "an image of Maru without a tag" in message
    assert "d326b73" in fix


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("miner-enabled", True, False),
        ("rpc-max-active-filters", False, True),
        ("rpc-ws-max-active-subscriptions", False, True),
        ("rpc-ws-max-frame-size", True, True),
    ],
)
def test_each_version_has_its_own_options(name: str, old: bool, new: bool) -> None:
    assert ((name in table("25.11.0")), (name in table("26.8.0"))) == (old, new)


# Options that operators and upstream use; unstable options begin with X.
@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("data-path", "string"),
        ("host-allowlist", "array"),
        ("sync-min-peers", "integer"),
        ("fast-sync-min-peers", "integer"),
        ("min-gas-price", ["integer", "string"]),
        ("engine-rpc-port", "integer"),
        ("engine-rpc-http-port", "integer"),
        ("engine-jwt-disabled", "boolean"),
        ("engine-jwt-secret", "string"),
        ("bonsai-limit-trie-logs-enabled", "boolean"),
        ("snapsync-server-enabled", "boolean"),
        ("rpc-http-api", "array"),
        ("node-private-key-file", "string"),
        ("static-nodes-file", "string"),
        ("metrics-categories", "array"),
        ("ethstats", "string"),
        ("logging", "string"),
        ("key-value-storage", "string"),
        ("Xpos-block-creation-repetition-min-duration", "integer"),
        ("Xdns-enabled", "boolean"),
        ("Xdns-update-enabled", "boolean"),
        ("Xplugin-rocksdb-high-spec-enabled", "boolean"),
        ("Xbonsai-parallel-tx-processing-enabled", "boolean"),
        ("tx-pool-limit-by-account-percentage", "number"),
    ],
)
@pytest.mark.parametrize("version", option_tables.BESU)
def test_the_table_of_besu_has_the_type_of_an_option(version: str, name: str, types: Any) -> None:
    if (version, name) in REMOVED:
        assert name not in table(version)
    else:
        assert table(version)[name]["type"] == types


@pytest.mark.parametrize(
    "name", ["rpc-http-host-allowlist", "host-whitelist", "engine-jwt-enabled"]
)
@pytest.mark.parametrize("version", option_tables.BESU)
def test_the_table_of_besu_has_no_removed_options(version: str, name: str) -> None:
    assert name not in table(version)


@pytest.mark.parametrize("version", option_tables.BESU)
def test_each_option_of_besu_has_a_source_and_known_keywords(version: str) -> None:
    properties = table(version)
    assert len(properties) > 280
    for name, form in properties.items():
        assert re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", name)
        assert form["$comment"].endswith(".java")
        assert form.keys() <= {"$comment", "type", "pattern", "description", "minimum"}


@pytest.mark.parametrize(
    ("name", "tag", "fix"),
    [
        ("fast-sync-min-peers", "26.8.0", "write sync-min-peers instead of fast-sync-min-peers"),
        (
            "Xhistory-expiry-prune",
            "26.8.0",
            "write history-expiry-prune instead of Xhistory-expiry-prune",
        ),
        ("miner-enabled", "26.8.0", "remove miner-enabled"),
        ("rpc-max-active-filters", "25.11.0", "remove rpc-max-active-filters"),
    ],
)
def test_an_option_of_another_version_is_named_with_that_version(
    name: str, tag: str, fix: str
) -> None:
    found = option_tables.besu_with(name, tag)
    assert found is not None
    assert found[0].startswith(f"Besu {tag} does not start with the option {name}: only ")
    assert found[1] == fix


def test_an_option_of_no_version_is_left_to_the_schema() -> None:
    assert option_tables.besu_with("quorum", "25.11.0") is None
