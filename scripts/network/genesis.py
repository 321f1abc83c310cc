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
    # EIP-7002
    WITHDRAWALS: (
        "3373fffffffffffffffffffffffffffffffffffffffe1460cb5760115f54807fffffffffffffffffffffff"
        "ffffffffffffffffffffffffffffffffffffffffff146101f457600182026001905f5b5f82111560685781"
        "019083028483029004916001019190604d565b909390049250505036603814608857366101f457346101f4"
        "575f5260205ff35b34106101f457600154600101600155600354806003026004013381556001015f358155"
        "60010160203590553360601b5f5260385f601437604c5fa0600101600355005b6003546002548082038060"
        "101160df575060105b5f5b8181146101835782810160030260040181604c02815460601b81526014018160"
        "01015481526020019060020154807fffffffffffffffffffffffffffffffff000000000000000000000000"
        "00000000168252906010019060401c908160381c81600701538160301c81600601538160281c8160050153"
        "8160201c81600401538160181c81600301538160101c81600201538160081c81600101535360010160e156"
        "5b910180921461019557906002556101a0565b90505f6002555f6003555b5f54807fffffffffffffffffff"
        "ffffffffffffffffffffffffffffffffffffffffffffff14156101cd57505f5b6001546002828201116101"
        "e25750505f6101e8565b01600290035b5f555f600155604c025ff35b5f5ffd"
    ),
    # EIP-7251
    CONSOLIDATIONS: (
        "3373fffffffffffffffffffffffffffffffffffffffe1460d35760115f54807fffffffffffffffffffffff"
        "ffffffffffffffffffffffffffffffffffffffffff1461019a57600182026001905f5b5f82111560685781"
        "019083028483029004916001019190604d565b9093900492505050366060146088573661019a573461019a"
        "575f5260205ff35b341061019a57600154600101600155600354806004026004013381556001015f358155"
        "600101602035815560010160403590553360601b5f5260605f60143760745fa0600101600355005b600354"
        "6002548082038060021160e7575060025b5f5b818114610129578281016004026004018160740281546060"
        "1b815260140181600101548152602001816002015481526020019060030154905260010160e9565b910180"
        "921461013b5790600255610146565b90505f6002555f6003555b5f54807fffffffffffffffffffffffffff"
        "ffffffffffffffffffffffffffffffffffffff141561017357505f5b600154600182820111610188575050"
        "5f61018e565b01600190035b5f555f6001556074025ff35b5f5ffd"
    ),
}
"""Address → code, from the EIPs. A client refuses the first block of Prague without them."""

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
