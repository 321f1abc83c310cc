"""Where people read files of the repository in a browser, from the address that Argo CD reads."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SSH = re.compile(r"(?:ssh://(?:[^@/]+@)?([^/:]+)(?::\d+)?/|[^@/]+@([^:/]+):)(.+)")
_FORMS = {"bitbucket": "src/{revision}", "codeberg": "src/branch/{revision}"}
_FORMS |= dict.fromkeys(("forgejo", "gitea"), _FORMS["codeberg"])
"""A word of the host → how its pages are called, if not as on GitHub and GitLab."""


def runbooks(repository: Mapping[str, str]) -> str:
    """Return the URL of the folder docs/runbooks; empty if no browser can open the repository.

    repository: url, revision, and docs, if the pages are elsewhere.
    """
    if docs := repository.get("docs"):
        return f"{docs}/runbooks"
    url = repository["url"]
    if ssh := _SSH.fullmatch(url):
        url = f"https://{ssh[1] or ssh[2]}/{ssh[3]}"
    if not url.startswith("https://"):
        return ""
    host = url.split("/")[2]
    form = next((form for word, form in _FORMS.items() if word in host), "blob/{revision}")
    pages = form.format(revision=repository["revision"])
    return f"{url.rstrip('/').removesuffix('.git')}/{pages}/docs/runbooks"
