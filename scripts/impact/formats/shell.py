"""A page as one HTML file, without a network: the frame and the look that reports share.

Its content is not trusted, because it comes from pull requests: who makes the body escapes it, and
the page's Content-Security-Policy allows only the style and the script that are given here.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from html import escape
from pathlib import Path
from string import Template


def look() -> tuple[str, str]:
    """Return the style and the script of reports; the script is only for search and links."""
    return _beside("page.css"), _beside("page.js")


def page(title: str, body: str, style: str, script: str) -> str:
    """Return a self-contained page; title: plain text; body: HTML."""
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)};"
        " base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": escape(title, quote=False),
        "style": style,
        "script": script,
        "body": body,
    }
    return Template(_beside("page.html")).substitute(parts)


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _hash(source: str) -> str:
    """Return the hash of a text for a Content-Security-Policy: https://www.w3.org/TR/CSP3/."""
    return f"'sha256-{b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
