"""The table of annotations, and how the controller reads their values."""

from __future__ import annotations

import pytest

from scripts.kubernetes import annotation_table
from scripts.kubernetes.annotation_table import Form

ALB = annotation_table.readers()[annotation_table.ALB]


def form(name: str) -> Form:
    """Return the form of a known annotation of an Ingress."""
    found = ALB.form(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # pkg/annotations/parser_test.go of the controller
        ("", {}),
        ("key1=value1,key2=value2", {"key1": "value1", "key2": "value2"}),
        ("key1 = value1 , key2=value2", {"key1": "value1", "key2": "value2"}),
        ("key=with=equals", {"key": "with=equals"}),
        (r"key=a\,b,other=c", {"key": "a,b", "other": "c"}),
        ("key=", {"key": ""}),
        ("key=value,", {"key": "value,"}),
        ("team: chain, env: prod", None),
        ("key", None),
        ("=value", None),
        ("a=b,c", None),
    ],
)
def test_a_map_is_read_as_the_controller_reads_it(
    text: str, expected: dict[str, str] | None
) -> None:
    assert annotation_table.string_map(text) == expected


def test_the_table_has_the_annotations_of_the_chart() -> None:
    for name in ("group.name", "scheme", "listen-ports", "load-balancer-attributes"):
        assert ALB.form(name) is not None


def test_a_name_with_a_service_is_known_by_its_beginning() -> None:
    assert form("actions.redirect").type == "json"
    assert form("listener-attributes.HTTPS-443").type == "map"
    assert ALB.form("actions.") is None


def test_a_misspelled_name_has_a_near_one() -> None:
    assert ALB.form("inbound-cidr") is None
    assert ALB.nearest("inbound-cidr") == "inbound-cidrs"
    assert ALB.nearest("Scheme") == "scheme"


def test_annotations_of_other_clouds_are_not_read() -> None:
    assert annotation_table.split("service.beta.kubernetes.io/azure-load-balancer-internal") is None
    assert annotation_table.split("nginx.ingress.kubernetes.io/ssl-redirect") is None
    assert annotation_table.similar_prefix("nginx.ingress.kubernetes.io/scheme") is None


def test_a_misspelled_prefix_is_recognized() -> None:
    found = annotation_table.similar_prefix("alb.ingres.kubernetes.io/scheme")
    assert found is not None
    assert found.prefix == annotation_table.ALB


def test_ranges_and_choices_come_from_the_api() -> None:
    interval = form("healthcheck-interval-seconds")
    assert (interval.minimum, interval.maximum) == (5, 300)
    idle = annotation_table.attributes("load-balancer-attributes")["idle_timeout.timeout_seconds"]
    assert (idle.minimum, idle.maximum, idle.balancers) == (1, 4000, ("application",))
