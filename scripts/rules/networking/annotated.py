"""Annotations of objects, and advice about their values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from scripts.core import advice
from scripts.core.fixes import Fix
from scripts.kubernetes import annotation_table
from scripts.kubernetes.annotation_table import ALB, Reader
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.rule import Problem
from scripts.rules.snapshot import Objects

GUIDE = "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/"


@dataclass(frozen=True, slots=True)
class Annotation:
    """An annotation that a controller may read."""

    manifest: Manifest
    path: Where
    kind: str
    """The kind of the object that has it: Pod for a pod template, for example."""
    key: str
    value: object

    @property
    def read(self) -> tuple[Reader, str] | None:
        """Return its reader, and its name without the prefix; None if the prefix is unknown."""
        return annotation_table.split(self.key)


def of(objects: Objects) -> Iterator[Annotation]:
    """Yield the annotations of all objects, and those of templates of pods and claims."""
    for manifest in objects.manifests:
        for key, value in manifest.annotations.items():
            place: Where = ("metadata", "annotations", key)
            yield Annotation(manifest, place, manifest.kind, str(key), value)
    for workload in objects.makers:
        templates = [("Pod", workload.pod_path[:-1])]
        templates += [("PersistentVolumeClaim", path) for path, *_ in workload.claim_templates()]
        for kind, template in templates:
            path = (*template, "metadata", "annotations")
            found = workload.manifest.get(*path)
            for key, value in found.items() if isinstance(found, dict) else ():
                yield Annotation(workload.manifest, (*path, key), kind, str(key), value)


def together(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Yield problems once if they say the same of several objects: one value decides all."""
    first = dict[tuple[object, ...], Problem]()
    labels = dict[tuple[object, ...], set[str]]()
    for problem in problems:
        label = problem.manifest.label
        key: tuple[object, ...]
        key = (problem.path, problem.message.replace(label, ""), problem.fix.replace(label, ""))
        first.setdefault(key, problem)
        labels.setdefault(key, set()).add(label)
    for key, problem in first.items():
        own, others = problem.manifest.label, len(labels[key]) - 1
        like = f"{own} (like {others} other{'s' if others > 1 else ''})" if others else own
        yield replace(problem, message=problem.message.replace(own, like, 1))


VALUES = {
    f"{ALB}{name}": f"ingress.alb.{value}"
    for name, value in {
        "certificate-arn": "certificateArns",
        "group.name": "groupName",
        "inbound-cidrs": "inboundCidrs",
        "scheme": "scheme",
        "ssl-policy": "sslPolicy",
        "wafv2-acl-arn": "wafAclArn",
    }.items()
}
"""Annotation → the value of the chart that writes it: chart/templates/_ingress.tpl."""
_LISTS = ("certificate-arn", "inbound-cidrs")


def set_to(key: str, value: str, *, is_safe: bool = True) -> Fix:
    """Return the fix to write an annotation; a value with <…> has no edit."""
    words = f"write {key}: {quoted(value)}"
    return Fix(words) if "<" in value else advice.saying(words, value, (key,), is_safe=is_safe)


def written(manifest: Manifest, key: str, right: str) -> str:
    """Return the fix to write the value of an annotation, where the chart has one for it."""
    value = VALUES.get(key) if manifest.template.startswith("chart/") else None
    if not right:
        return f"write a valid value for {value or key}; without the setting, remove the annotation"
    if value:
        is_list = key.endswith(_LISTS)
        text = f"[{right.replace(',', ', ')}]" if is_list else quoted(right)
        return f"write {value}: {text}; if the values have the annotation, remove it"
    return set_to(key, right)


def quoted(value: str) -> str:
    """Return a text as a YAML scalar that stays a text."""
    is_plain = value and value[0].isalpha() and not set(value) & set(':#{}[],&*"')
    is_word = value.lower() in ("true", "false", "yes", "no", "on", "off", "null", "none", "y", "n")
    if is_plain and (not is_word or value == "none"):
        return value
    return f"'{value}'" if '"' in value else f'"{value}"'
