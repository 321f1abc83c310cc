"""The genesis of an environment's chain, for Besu (and any execution client) and for Maru.

Besu reads each key, unless a comment names another client. Source: GenesisConfig, GenesisReader,
JsonGenesisConfigOptions and BlobSchedule in Besu's package org.hyperledger.besu.config
(https://github.com/hyperledger/besu). Besu ignores other keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

GAS_LIMIT = 30_000_000
"""The gas limit of all blocks: it is also the target-gas-limit of the sequencers. With a block per
second it is six times that of Ethereum's main network (60 million in 12 seconds). It is above the
limit of a transaction since Osaka, 16,777,216 (EIP-7825)."""

BASE_FEE_WEI = 7
"""The base fee below which EIP-1559 does not go, as an eighth of it is less than 1 wei: if blocks
are not full, the base fee falls to it anyway. Nodes without a minimum price (min-gas-price=0) then
accept a transfer for 147,000 wei."""

BLOCK_TIME_S = 1

FEE_RECIPIENT = "0x" + "0" * 40
"""The zero address: fees of a few wei are not worth another key."""

DEPOSIT_CONTRACT = "0x00000000219ab540356cBB839Cbe05303d7705Fa"
"""The address where EIP-6110 looks for deposits. It has no contract, and no one can create one."""

BEACON_ROOTS = "0x000F3df6D732807Ef1319fB7B8bB8522d0Beac02"
HISTORY = "0x0000F90827F1C53a10cb7A02335B175320002935"
WITHDRAWALS = "0x00000961Ef480Eb55e80D19ad83579A64c007002"
CONSOLIDATIONS = "0x0000BBdDc7CE488642fb579F8B00f3a590007251"

_NO_REQUESTS = "3373fffffffffffffffffffffffffffffffffffffffe14601d575f5ffd5b00"
"""Code that returns no requests to the system call of a block, and reverts all other calls.

Maru returns a payload without its execution requests (newPayload in its
PragueWeb3JJsonRpcExecutionLayerEngineApiClient.kt), so the client rejects a block with a request,
and the chain stops. With the code of the EIPs, one call of either contract would cause that.
Nothing is staked here that could be withdrawn or consolidated.
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
    # Instead of the contracts of EIP-7002 and EIP-7251
    WITHDRAWALS: _NO_REQUESTS,
    CONSOLIDATIONS: _NO_REQUESTS,
}
"""Address → code. A client rejects the first block of Prague if a contract is missing."""

_FORK_BLOCKS = (
    "homestead",
    "eip150",
    "eip155",  # for geth; Besu includes it in eip158
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
    "osaka": _PRAGUE_BLOBS,  # for geth before 1.17; Osaka does not change it
}
"""EIP-4844 and EIP-7691. Not 0, although blobs are not supported here: Besu 25.11 does not start if
a block of Osaka has room for fewer than 6 (OsakaTargetingGasLimitCalculator). With a max of 0, as
upstream has it for geth before Osaka, EIP-7918 divides by 0 once the base fee is above 16 wei."""


def besu(chain_id: int, timestamp: int, alloc: Mapping[str, int]) -> dict[str, Any]:
    """Return Besu's genesis: proof of stake, and all forks up to Osaka from the first block.

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
        # Besu does not start without a consensus from before the merge, though it is not used.
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
        # The first block has no blobs, so their price is the minimum.
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": "0x" + "0" * 64,
        "alloc": contracts | accounts,
    }


def maru(chain_id: int, validators: Sequence[str]) -> dict[str, Any]:
    """Return Maru's genesis: QBFT with the validators' addresses, in the order of the ordinals.

    Maru sorts them itself (BeaconChainInitialization and ForkSpecDigester in
    https://github.com/Consensys/maru).
    """
    qbft = {
        "type": "qbft",
        "validatorSet": [address.lower() for address in validators],
        "blockTimeSeconds": BLOCK_TIME_S,
        "feeRecipient": FEE_RECIPIENT,
        "elFork": "Osaka",
    }
    return {"chainId": chain_id, "config": {"0": qbft}}
