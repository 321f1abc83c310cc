"""OpenAPI of Kubernetes and CustomResourceDefinitions of operators → strict JSON Schemas by kind.

The dialect is draft 4, which kubeconform reads: it has the `exclusiveMinimum` of OpenAPI. Each
schema contains the definitions it uses: kubeconform compiles only those, which is five times as
fast as compiling one file with all definitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]

ANNOTATIONS = {"description", "default", "example", "externalDocs", "title"}

QUANTITY = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
"""As apimachinery/pkg/api/resource/quantity.go describes it."""
BASE64 = r"^[A-Za-z0-9+/\r\n]*={0,2}[\r\n]*$"
DURATION = r"^[+-]?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$"
"""Of Go. kubeconform's own check of the format crashes if the value is not a string."""

_PREFIX = r"([A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?/)?"
_QUALIFIED = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
KEY = f"^{_PREFIX}{_QUALIFIED}$"
"""Of labels, annotations and selectors: apimachinery/pkg/util/validation, IsQualifiedName."""
LABEL = f"^({_QUALIFIED})?$"
"""Of label values: the same file, IsValidLabelValue."""

_BOUNDS = {"int32": 2**31, "int64": 2**63}
_PATTERNS = {"byte": BASE64, "duration": DURATION}
_KEPT = ("type", "enum", "required", "minimum", "maximum", "minItems", "maxItems")
_INT_OR_STRING: Schema = {"type": ["integer", "string"]}
_STRING: Schema = {"type": ["string", "null"]}
_ANNOTATIONS: Schema = {
    "type": ["object", "null"],
    "patternProperties": {KEY: {"type": "string"}},
    "additionalProperties": False,
}
_LABELS: Schema = _ANNOTATIONS | {
    "patternProperties": {KEY: {"type": "string", "pattern": LABEL}},
}
_STRICTER: Mapping[str, Mapping[str, Schema]] = {
    "ObjectMeta": {"annotations": _ANNOTATIONS, "labels": _LABELS},
    "LabelSelector": {"matchLabels": _LABELS},
    "PodSpec": {"nodeSelector": _LABELS},
    "ServiceSpec": {"selector": _LABELS},
}
"""Definition and field → what the API server requires in addition to its OpenAPI."""

METADATA: Schema = {
    "type": "object",
    "properties": {
        "annotations": _ANNOTATIONS,
        "creationTimestamp": _STRING,
        "deletionGracePeriodSeconds": {"type": "integer"},
        "deletionTimestamp": _STRING,
        "finalizers": {"type": ["array", "null"], "items": {"type": "string"}},
        "generateName": _STRING,
        "generation": {"type": "integer"},
        "labels": _LABELS,
        "managedFields": {"type": ["array", "null"], "items": {"type": "object"}},
        "name": _STRING,
        "namespace": _STRING,
        "ownerReferences": {"type": ["array", "null"], "items": {"type": "object"}},
        "resourceVersion": _STRING,
        "selfLink": _STRING,
        "uid": _STRING,
    },
    "additionalProperties": False,
}
"""The metadata of custom resources: their definitions leave it to the API server."""


def file_name(api_version: str, kind: str) -> str:
    """Return the file of a kind's schema: `apps/deployment-v1.json`, `v1/pod-v1.json`."""
    group, _, version = api_version.rpartition("/")
    return f"{group or version}/{kind.lower()}-{version}.json"


LOCATION = "{{ .Group }}/{{ .ResourceKind }}-{{ .ResourceAPIVersion }}.json"
"""The same as a template for kubeconform's -schema-location."""


def kubernetes(document: Mapping[str, Any]) -> Iterator[tuple[str, Schema]]:
    """Yield (file name, schema) for each kind of an API server's OpenAPI 2 document.

    document: api/openapi-spec/swagger.json of kubernetes/kubernetes.
    """
    definitions = document["definitions"]
    for definition in definitions.values():
        properties = definition.get("properties", {})
        # Manifests contain no lists, and no objects without metadata like DeleteOptions.
        if "metadata" not in properties or properties.keys() >= {"metadata", "items"}:
            continue
        for gvk in definition.get("x-kubernetes-group-version-kind", ()):
            api_version = f"{gvk['group']}/{gvk['version']}".removeprefix("/")
            used: set[str] = set()
            schema = _convert(definition, definitions, used)
            _root(schema, api_version, gvk["kind"])
            schema["definitions"] = _used(used, definitions)
            yield file_name(api_version, gvk["kind"]), schema


def custom(definition: Mapping[str, Any]) -> Iterator[tuple[str, Schema]]:
    """Yield (file name, schema) for each served version of a CustomResourceDefinition (v1)."""
    spec = definition["spec"]
    for version in spec["versions"]:
        if not version["served"]:
            continue
        api_version = f"{spec['group']}/{version['name']}"
        schema = _structural(version["schema"]["openAPIV3Schema"])
        schema.setdefault("properties", {})["metadata"] = METADATA
        _root(schema, api_version, spec["names"]["kind"])
        yield file_name(api_version, spec["names"]["kind"]), schema


def _root(schema: Schema, api_version: str, kind: str) -> None:
    """Restrict a schema to one kind."""
    properties = schema["properties"]
    properties["apiVersion"] = {"enum": [api_version]}
    properties["kind"] = {"enum": [kind]}
    schema["required"] = sorted({"apiVersion", "kind", "metadata", *schema.get("required", ())})
    schema["type"] = "object"


_OPTIONAL = "?"
"""Suffix of a definition that may be null: draft 4 needs a second definition for that."""


def _used(names: set[str], definitions: Mapping[str, Any]) -> dict[str, Schema]:
    """Return the named definitions, and all that they use themselves."""
    made: dict[str, Schema] = {}
    while missing := names - made.keys():
        for name in sorted(missing):
            own = name.removesuffix(_OPTIONAL)
            schema = _convert(definitions[own], definitions, names)
            schema["properties"] |= _STRICTER.get(own.rpartition(".")[2], {})
            made[name] = _nullable(schema) if name.endswith(_OPTIONAL) else schema
    return made


def _convert(
    node: Mapping[str, Any], definitions: Mapping[str, Any], used: set[str], optional: bool = False
) -> Schema:
    """Return a part of an OpenAPI 2 document as a strict JSON Schema.

    used: receives the names of the definitions that the schema refers to.
    """
    if "$ref" in node:
        name = str(node["$ref"]).removeprefix("#/definitions/")
        if "properties" in definitions[name]:
            name += _OPTIONAL if optional else ""
            used.add(name)
            return {"$ref": f"#/definitions/{name}"}
        if name.endswith(".api.resource.Quantity"):
            schema: Schema = {"type": ["number", "string"], "pattern": QUANTITY}
        else:
            schema = _convert(definitions[name], definitions, used)
    elif node.get("format") == "int-or-string":
        schema = dict(_INT_OR_STRING)
    else:
        schema = {key: node[key] for key in _KEPT if key in node}
        _format(node, schema)
        if "items" in node:
            schema["items"] = _convert(node["items"], definitions, used)
        if isinstance(node.get("additionalProperties"), dict):
            values = _convert(node["additionalProperties"], definitions, used)
            schema["additionalProperties"] = values
        if "properties" in node:
            required = node.get("required", ())
            schema["properties"] = {
                key: _convert(value, definitions, used, key not in required)
                for key, value in node["properties"].items()
            }
            schema["additionalProperties"] = False
    return _nullable(schema) if optional else schema


def _nullable(schema: Schema) -> Schema:
    """Allow null, which the API server reads as a missing field."""
    if kinds := schema.get("type"):
        schema["type"] = [*(kinds if isinstance(kinds, list) else [kinds]), "null"]
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return schema


def _structural(node: Mapping[str, Any]) -> Schema:
    """Return an OpenAPI 3 schema as JSON Schema: fields that the API server would prune are errors.

    Source: structural schemas, kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/
    custom-resource-definitions. A null is an error unless the field is `nullable`.
    """
    schema: Schema = {
        key: value
        for key, value in node.items()
        if key not in ANNOTATIONS and key != "nullable" and not key.startswith("x-kubernetes-")
    }
    schema.pop("format", None)
    _format(node, schema)
    if node.get("x-kubernetes-int-or-string"):
        schema.update(_INT_OR_STRING)
        schema.pop("anyOf", None)
    if "items" in node:
        schema["items"] = _structural(node["items"])
    if isinstance(node.get("additionalProperties"), dict):
        schema["additionalProperties"] = _structural(node["additionalProperties"])
    if "properties" in node:
        schema["properties"] = {k: _structural(v) for k, v in node["properties"].items()}
        if node.get("x-kubernetes-embedded-resource"):
            for key, value in (("apiVersion", _STRING), ("kind", _STRING), ("metadata", METADATA)):
                schema["properties"].setdefault(key, value)
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    return _nullable(schema) if node.get("nullable") else schema


def _format(node: Mapping[str, Any], schema: Schema) -> None:
    """Turn formats into limits and patterns; keep the format of JSON Schema itself."""
    name = node.get("format")
    if name in _BOUNDS and node.get("type") == "integer":
        schema.setdefault("minimum", -_BOUNDS[name])
        schema.setdefault("maximum", _BOUNDS[name] - 1)
    elif name in _PATTERNS and "pattern" not in node:
        schema["pattern"] = _PATTERNS[name]
    elif name == "date-time":
        schema["format"] = name
