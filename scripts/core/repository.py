"""Where this program stands: its own checkout, which need not be the one that it works on."""

from __future__ import annotations

from pathlib import Path

PROGRAM = Path(__file__).resolve().parent.parent
"""scripts/; the JSON Schemas of the files that people write are in it."""

ROOT = PROGRAM.parent
