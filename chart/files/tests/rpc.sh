#!/bin/sh
# Prints the chain id and the block number of the node at RPC_URL. Fails unless both answers are numbers.
set -eu

chain_id=$(cast chain-id --rpc-url "$RPC_URL")
block=$(cast block-number --rpc-url "$RPC_URL")
case "$chain_id$block" in
  *[!0-9]*) echo "not a chain id and a block number: $chain_id, $block" >&2; exit 1 ;;
esac
echo "$RPC_URL: chain $chain_id, block $block"
