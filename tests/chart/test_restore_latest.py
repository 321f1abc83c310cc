"""`latest` restores the newest complete backup of this chain, and of no other."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.chart.backup_store import (
    ANOTHER_CHAIN,
    VERSION,
    Store,
    assert_restorable,
    assert_untouched,
    content,
    error,
    every_shell,
    fill,
    put,
    restored,
)


@every_shell
def test_latest_is_the_newest_complete_backup_of_this_chain(
    store: Store, backup: str, small: Path, target: Path
) -> None:
    unknown, another, old, older = (store.aged(backup, age) for age in (1, 2, 3, 4))
    store.aged(backup, 0.5, marked=False)
    put(store.root / unknown, "CHAIN", "")
    put(store.root / another, "CHAIN", f"{ANOTHER_CHAIN}\n")
    shutil.rmtree(store.root / backup)
    assert restored(store.restore("latest", target)) == old
    assert content(target) == content(small)
    assert sorted(path.name for path in target.iterdir()) == ["besu", "maru"]
    shutil.rmtree(store.root / old)
    assert restored(store.restore("latest", target / "1", IF_NONE="fail")) == older
    assert restored(store.restore("latest", target / "2", CHAIN=ANOTHER_CHAIN)) == another
    # Where the chart does not know the genesis.
    assert restored(store.restore("latest", target / "3", CHAIN="")) == unknown


@every_shell
def test_without_a_backup_of_this_chain_a_node_starts_empty(store: Store, target: Path) -> None:
    def starts_empty(**more: str) -> None:
        done = store.restore("latest", target, **more)
        assert (done.code, "the node starts from block 0" in done.out) == (0, True), done
        assert "no complete backup of this chain" in error(
            store.restore("latest", target, IF_NONE="fail", **more)
        )
        assert_untouched(target)

    starts_empty()
    starts_empty(CHAIN="")
    source = target.parent / "source"
    fill(source, big=100)
    another = store.made(source, CHAIN=ANOTHER_CHAIN)
    store.aged(another, 1, marked=False)
    starts_empty()
    assert restored(store.restore("latest", target, CHAIN=ANOTHER_CHAIN)) == another


def test_a_backup_of_another_chain_that_is_named_is_restored_with_a_warning(
    store: Store, backup: str, target: Path
) -> None:
    done = store.restore(backup, target, CHAIN=ANOTHER_CHAIN)
    assert restored(done) == backup
    assert f"warning: {backup} is of another chain" in done.err
    put(store.root / backup, "CHAIN", "")
    done = store.restore(backup, target / "2", CHAIN=ANOTHER_CHAIN)
    assert "warning: " not in done.err


def test_the_version_that_a_node_ran_is_not_restored_from_older_backups(
    store: Store, backup: str, small: Path, target: Path
) -> None:
    put(store.root / backup, f"data/{VERSION}", '{"besuVersion":"26.8.0"}')
    assert_restorable(store, backup, small, target)
    assert not (target / VERSION).exists()
