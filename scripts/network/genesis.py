"""The first block of an environment's chain, as Besu (and any execution client) and Maru read it.

Each key is one that Besu reads, or is marked as another client's. Besu's are in GenesisConfig,
GenesisReader, JsonGenesisConfigOptions and BlobSchedule of its package org.hyperledger.besu.config
(https://github.com/hyperledger/besu); for other keys it has no complaint and no use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

GAS_LIMIT = 30_000_000
"""Of every block, as nobody votes for another. A block a second: six times what Ethereum's main
network does (60 million in 12 seconds), and above the 16,777,216 of the largest transaction of
Osaka (EIP-7825)."""

BASE_FEE_WEI = 7
"""Where EIP-1559 stops to lower the base fee, as an eighth of it is less than 1 wei: a chain with
room in its blocks comes down to it from any other. Nodes that ask for no price of their own
(min-gas-price=0) then take a transfer for 147,000 wei."""

BLOCK_TIME_S = 1

FEE_RECIPIENT = "0x" + "0" * 40
"""Nobody: fees of some wei are not worth one more key."""

DEPOSIT_CONTRACT = "0x00000000219ab540356cBB839Cbe05303d7705Fa"
"""Where EIP-6110 looks for deposits: nothing is there, and nobody can put anything there."""

BEACON_ROOTS = "0x000F3df6D732807Ef1319fB7B8bB8522d0Beac02"
HISTORY = "0x0000F90827F1C53a10cb7A02335B175320002935"
WITHDRAWALS = "0x00000961Ef480Eb55e80D19ad83579A64c007002"
CONSOLIDATIONS = "0x0000BBdDc7CE488642fb579F8B00f3a590007251"

_NO_REQUESTS = "3373fffffffffffffffffffffffffffffffffffffffe14601d575f5ffd5b00"
"""Answers a block's system call with nothing, and reverts all else.

Maru hands a payload back without the requests that came with it (newPayload in its
PragueWeb3JJsonRpcExecutionLayerEngineApiClient.kt), so a client refuses a block that has one, and
the chain stands still: with the EIPs' code, one call of either contract would be enough. There is
no staked ether here that could be withdrawn or consolidated.
"""

SYSTEM_CONTRACTS = {
    # EIP-4788
    BEACON_ROOTS: (
        "3373fffffffffffffffffffffffffffffffffffffffe14604d57602036146024575f5ffd5b5f3580156049"
        "5762001fff810690815414603c575f5ffd5b62001fff01545f5260205ff35b5f5ffd5b62001fff42064281"
        "555f359062001fff015500"
    ),
    # EIP-2935
    HISTORY: (
        "3373fffffffffffffffffffffffffffffffffffffffe14604657602036036042575f356001430381116042"
        "57611fff81430311604257611fff9006545f5260205ff35b5f5ffd5b5f35611fff60014303065500"
    ),
    # In the places of EIP-7002's and EIP-7251's own
    WITHDRAWALS: _NO_REQUESTS,
    CONSOLIDATIONS: _NO_REQUESTS,
}
"""Address → code. A client refuses the first block of Prague where one has none."""

_FORK_BLOCKS = (
    "homestead",
    "eip150",
    "eip155",  # for geth; Besu has it in eip158
    "eip158",
    "byzantium",
    "constantinople",
    "petersburg",
    "istanbul",
    "berlin",
    "london",
)
_FORK_TIMES = ("shanghai", "cancun", "prague", "osaka")

_PRAGUE_BLOBS = {"target": 6, "max": 9, "baseFeeUpdateFraction": 5007716}
_BLOBS = {
    "cancun": {"target": 3, "max": 6, "baseFeeUpdateFraction": 3338477},
    "prague": _PRAGUE_BLOBS,
    "osaka": _PRAGUE_BLOBS,  # for geth before 1.17; Osaka changes nothing in it
}
"""EIP-4844 and EIP-7691. Not 0, though nobody here wants blobs: Besu 25.11 does not start where a
block of Osaka holds less than 6 (OsakaTargetingGasLimitCalculator), and with a most of 0, as
upstream has it for geth before Osaka, EIP-7918 divides by 0 once the base fee is above 16 wei."""


def besu(chain_id: int, timestamp: int, alloc: Mapping[str, int]) -> dict[str, Any]:
    """Return Besu's genesis: proof of stake and all forks up to Osaka from the first block on.

    timestamp: seconds since 1970. alloc: account → balance in wei.
    """
    config: dict[str, Any] = {
        "chainId": chain_id,
        **{f"{fork}Block": 0 for fork in _FORK_BLOCKS},
        "terminalTotalDifficulty": 0,
        **{f"{fork}Time": 0 for fork in _FORK_TIMES},
        "blobSchedule": _BLOBS,
        "depositContractAddress": DEPOSIT_CONTRACT,
        "withdrawalRequestContractAddress": WITHDRAWALS,
        "consolidationRequestContractAddress": CONSOLIDATIONS,
        # Besu starts only with a consensus from before the merge, though no block is made by it.
        "ethash": {},
    }
    contracts = {
        address: {"balance": "0x0", "nonce": "0x1", "code": f"0x{code}"}
        for address, code in SYSTEM_CONTRACTS.items()
    }
    accounts = {address: {"balance": hex(wei)} for address, wei in alloc.items()}
    return {
        "config": config,
        "timestamp": hex(timestamp),
        "gasLimit": hex(GAS_LIMIT),
        "baseFeePerGas": hex(BASE_FEE_WEI),
        "difficulty": "0x1",
        "nonce": "0x0",
        "mixHash": "0x" + "0" * 64,
        "coinbase": FEE_RECIPIENT,
        "extraData": "0x",
        # No blob is in the first block, so the price of one is the least.
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": "0x" + "0" * 64,
        "alloc": contracts | accounts,
    }


def maru(chain_id: int, validators: Sequence[str]) -> dict[str, Any]:
    """Return Maru's genesis: QBFT among the validators' addresses.

    Maru sorts the set itself (BeaconChainInitialization and ForkSpecDigester in
    https://github.com/Consensys/maru), so the order here is the ordinals'.
    """
    qbft = {
        "type": "qbft",
        "validatorSet": [address.lower() for address in validators],
        "blockTimeSeconds": BLOCK_TIME_S,
        "feeRecipient": FEE_RECIPIENT,
        "elFork": "Osaka",
    }
    return {"chainId": chain_id, "config": {"0": qbft}}
