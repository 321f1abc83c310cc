"""The checkout that this program is part of; with --repository it works on another one."""

from __future__ import annotations

from pathlib import Path

PROGRAM = Path(__file__).resolve().parent.parent
"""scripts/, which also has the JSON Schemas of the files that people write."""

ROOT = PROGRAM.parent
