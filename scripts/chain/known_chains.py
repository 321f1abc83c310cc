"""The chain ids that others use already, from ethereum-lists/chains by way of eth-typing."""

from __future__ import annotations

from functools import lru_cache


@lru_cache
def short_name(chain_id: int) -> str | None:
    """Return the short name of the chain that has this id; None if the list has none."""
    # Imported only here: the list takes a tenth of a second, and most commands need none.
    from eth_typing import ChainId

    try:
        return ChainId(chain_id).name
    except ValueError:
        return None
