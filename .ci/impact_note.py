"""Put the impact report of a merge request into one note there, as .gitlab-ci.yml does.

It needs nothing but Python: https://docs.gitlab.com/api/notes/ describes the requests.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any

MARKER = "<!-- impact report -->"
MOST_CHARACTERS = 900_000
"""A note has at most 1,000,000."""
PAGE = 100
WAIT_S = 60.0


def main(file: Path) -> None:
    """Write the note, or update it; a report without changes does not begin one."""
    report = file.read_text("utf-8", "replace")
    own = request("GET", f"{os.environ['CI_API_V4_URL']}/user")["id"]
    notes = (
        f"{os.environ['CI_API_V4_URL']}/projects/{os.environ['CI_PROJECT_ID']}"
        f"/merge_requests/{os.environ['CI_MERGE_REQUEST_IID']}/notes"
    )
    earlier = [
        note["id"]
        for note in all_notes(notes)
        if note["author"]["id"] == own and note["body"].startswith(MARKER)
    ]
    body = {"body": note(report)}
    if earlier:
        request("PUT", f"{notes}/{earlier[0]}", body)
    elif len(report.splitlines()) > 1:
        request("POST", notes, body)


def note(report: str) -> str:
    """Return the text of the note."""
    if len(report) > MOST_CHARACTERS:
        report = f"{report[:MOST_CHARACTERS]}\n… cut here\n"
    # GitLab executes a line that begins with a slash as a quick action: a space of no width parts
    # them.
    harmless = re.sub(r"^([\s>]*)/", "\\1\u200b/", report, flags=re.MULTILINE)
    commit, pipeline = os.environ["CI_COMMIT_SHA"], os.environ["CI_PIPELINE_URL"]
    return f"{MARKER}\n{harmless}\n\nOf {commit}; [its pipeline]({pipeline}) has it as a page.\n"


def all_notes(address: str) -> list[Any]:
    """Return the notes of the merge request, oldest first."""
    found: list[Any] = []
    page = 1
    while True:
        query = f"?sort=asc&order_by=created_at&per_page={PAGE}&page={page}"
        new = request("GET", f"{address}{query}")
        found += new
        if len(new) < PAGE:
            return found
        page += 1


def request(method: str, address: str, body: dict[str, str] | None = None) -> Any:
    """Return what GitLab answers; raises HTTPError if it refuses."""
    headers = {"PRIVATE-TOKEN": os.environ["IMPACT_TOKEN"], "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body else None
    sent = urllib.request.Request(address, data, headers, method=method)  # noqa: S310 - GitLab's
    with urllib.request.urlopen(sent, timeout=WAIT_S) as answer:  # noqa: S310
        return json.load(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
