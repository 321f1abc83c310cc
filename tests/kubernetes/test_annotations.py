"""The table of annotations, and how the controller reads their values."""

from __future__ import annotations

import pytest

from scripts.kubernetes import annotations

ALB = annotations.readers()[annotations.ALB]


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
def test_a_map_is_read_as_the_controller_reads_it(text, expected):
    assert annotations.string_map(text) == expected


def test_the_table_has_the_annotations_of_the_chart():
    for name in ("group.name", "scheme", "listen-ports", "load-balancer-attributes"):
        assert ALB.form(name) is not None


def test_a_name_with_a_service_is_known_by_its_beginning():
    assert ALB.form("actions.redirect").type == "json"
    assert ALB.form("listener-attributes.HTTPS-443").type == "map"
    assert ALB.form("actions.") is None


def test_a_misspelled_name_has_a_near_one():
    assert ALB.form("inbound-cidr") is None
    assert ALB.nearest("inbound-cidr") == "inbound-cidrs"
    assert ALB.nearest("Scheme") == "scheme"


def test_annotations_of_other_clouds_are_not_read():
    assert annotations.split("service.beta.kubernetes.io/azure-load-balancer-internal") is None
    assert annotations.split("nginx.ingress.kubernetes.io/ssl-redirect") is None
    assert annotations.similar_prefix("nginx.ingress.kubernetes.io/scheme") is None


def test_a_misspelled_prefix_is_recognized():
    found = annotations.similar_prefix("alb.ingres.kubernetes.io/scheme")
    assert found is not None
    assert found.prefix == annotations.ALB


def test_ranges_and_choices_come_from_the_api():
    form = ALB.form("healthcheck-interval-seconds")
    assert (form.minimum, form.maximum) == (5, 300)
    idle = annotations.attributes("load-balancer-attributes")["idle_timeout.timeout_seconds"]
    assert (idle.minimum, idle.maximum, idle.balancers) == (1, 4000, ("application",))
