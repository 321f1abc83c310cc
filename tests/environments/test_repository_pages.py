"""Alerts link to the runbooks of the repository that Argo CD reads."""

from __future__ import annotations

import pytest

from scripts.environments.repository_pages import runbooks


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://github.com/acme/linea.git", "https://github.com/acme/linea/blob/main"),
        ("git@github.com:acme/linea.git", "https://github.com/acme/linea/blob/main"),
        ("ssh://git@git.acme.io:7999/x/linea.git", "https://git.acme.io/x/linea/blob/main"),
        ("https://gitlab.acme.io/a/b/linea/", "https://gitlab.acme.io/a/b/linea/blob/main"),
        ("https://bitbucket.org/acme/linea.git", "https://bitbucket.org/acme/linea/src/main"),
        ("https://codeberg.org/a/linea.git", "https://codeberg.org/a/linea/src/branch/main"),
    ],
)
def test_the_address_decides_where_runbooks_are(url: str, page: str) -> None:
    assert runbooks({"url": url, "revision": "main"}) == f"{page}/docs/runbooks"


def test_a_folder_has_no_pages_but_docs_may_be_elsewhere() -> None:
    settings = {"url": "file:///srv/linea.git", "revision": "main"}
    assert runbooks(settings) == ""
    docs = "https://docs.acme.io/linea"
    assert runbooks(settings | {"docs": docs}) == f"{docs}/runbooks"
