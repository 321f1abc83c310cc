"""What environments share is checked once, and errors are those of each object as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.checks import api_schemas, kubeconform
from scripts.core import yamlio

HEADER = "# Rendered from chart/templates/a.yaml; do not edit\n"
LONG = '{\n  "title": "A"\n}\n'


def text(namespace: Any, **more: Any) -> str:
    data = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "labels": {"a": "b"}, "namespace": namespace},
        "data": {f"{namespace}.json": LONG, "a": "b"},
    }
    return HEADER + yamlio.dump({**data, **more})


def test_objects_of_two_environments_are_one_to_the_schemas() -> None:
    first, second = text("linea-dev", data={"a": LONG}), text("linea-prod", data={"a": LONG * 9})
    assert kubeconform._reduced(first) == kubeconform._reduced(second)
    assert len(kubeconform._reduced(first)) < len(first) - len(HEADER)


@pytest.mark.parametrize("namespace", [True, None, 100000, "true", "linea", "Linea-Dev", ["linea"]])
def test_a_namespace_that_may_be_no_text_stays(namespace: Any) -> None:
    whole = text(namespace, data={})
    assert kubeconform._reduced(whole) == whole.removeprefix(HEADER)


def test_each_object_with_an_error_is_named() -> None:
    files = {
        "sound": text("linea-dev"),
        "number": text("linea-test", data={"a": LONG, "b": 1}),
        "label": text("linea-prod", metadata={"name": "a", "labels": {"a": "b c"}}),
        "same-label": text("linea-main", metadata={"name": "a", "labels": {"a": "b c"}}),
        "namespace": text(7),
    }
    found = {problem.file: problem.path for problem in kubeconform.check(files, "1.34")}
    assert found == {
        "number": ("data", "b"),
        "label": ("metadata", "labels", "a"),
        "same-label": ("metadata", "labels", "a"),
        "namespace": ("metadata", "namespace"),
    }


def test_no_schema_restricts_namespaces_and_texts_of_config_maps() -> None:
    for location in api_schemas.locations("1.34"):
        for file in Path(location.partition("{{")[0]).glob("*/*.json"):
            schema = json.loads(file.read_text("utf-8"))

            def followed(part: Any, schema: Any = schema) -> Any:
                for each in part.get("allOf", [part]):
                    if "$ref" in each:
                        return schema["definitions"][each["$ref"].rpartition("/")[2]]
                return part

            metadata = followed(schema["properties"]["metadata"])["properties"]
            # That of a list has no namespace, whatever it is.
            assert metadata.get("namespace") in (None, {"type": ["string", "null"]}), file
            if file.name == "configmap-v1.json":
                assert schema["properties"]["data"]["additionalProperties"] == {"type": "string"}
