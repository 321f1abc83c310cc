"""The chain ids that others use already, from ethereum-lists/chains by way of eth-typing."""

from __future__ import annotations

import importlib.util
import re
from functools import lru_cache
from pathlib import Path


@lru_cache
def short_name(chain_id: int) -> str | None:
    """Return the short name of the chain that has this id; None if the list has none."""
    # To import the list takes a tenth of a second, and most chain ids are not in it.
    if not _is_in_source(chain_id):
        return None
    from eth_typing import ChainId

    try:
        return ChainId(chain_id).name
    except ValueError:
        return None


def _is_in_source(number: int) -> bool:
    """Return whether the source of eth-typing has a number anywhere."""
    spec = importlib.util.find_spec("eth_typing")
    files = Path(spec.origin).parent.glob("*.py") if spec and spec.origin else ()
    word = re.compile(rf"\b{number}\b")
    return any(word.search(file.read_text("utf-8")) for file in files)
