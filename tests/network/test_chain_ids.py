"""A new chain has an id of its own: no environment and no public chain has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.chain import known_chains
from scripts.core.yamlio import Document
from scripts.network import make, network_file, plan
from tests.conftest import EXAMPLE, Repository
from tests.network.chains import chain_id, network, secrets_of
from tests.objects import ENVIRONMENTS


def test_each_environment_gets_its_own_chain_id(plain: Repository) -> None:
    network(plain, "dev", "--validators", "1")
    network(plain, "prod", "--validators", "4", "--chain-id", "1339")
    network(plain, "staging", "--validators", "4")
    ids = [chain_id(plain, name) for name in ("dev", "prod", "staging")]
    assert ids[1] == 1339
    assert len({*ids}) == 3
    assert all(id_ in make.CHAIN_IDS for id_ in (ids[0], ids[2]))
    assert not {*secrets_of(plain, "prod")} & {*secrets_of(plain, "staging")}


@given(st.lists(st.sampled_from([1313161555, 1666600000, 10**9 + 5, 2**31 - 1]), max_size=9))
def test_a_new_chain_gets_an_id_that_no_known_chain_and_no_environment_has(
    drawn: list[int],
) -> None:
    other = network_file.Public(Document("", {}, None), (), 10**9 + 5, frozenset())
    numbers = iter([number - make.CHAIN_IDS[0] for number in [*drawn, 1234567890]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.randbelow", lambda below: next(numbers) % below)
        id_ = make._chain_id(plan.Wanted(), {"dev": other})
    assert id_ in (1234567890, 2**31 - 1)
    assert known_chains.short_name(id_) is None


def test_no_environment_here_has_the_id_of_a_public_chain() -> None:
    ids = {name: network_file.read(EXAMPLE, name) for name in ENVIRONMENTS}
    assert all(chain and known_chains.short_name(chain.chain_id) is None for chain in ids.values())


def test_the_id_of_a_public_chain_is_made_with_a_note(plain: Repository) -> None:
    done = network(plain, "dev", "--validators", "1", "--chain-id", "59144")
    assert "note: 59144 is the id of a public chain (LINEA): wallets show its name" in done.out
    assert chain_id(plain) == 59144
