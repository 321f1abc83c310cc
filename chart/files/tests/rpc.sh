#!/bin/sh
# Asks a node at RPC_URL who it is and how far it is. Fails when it doesn't answer, or not with a number.
set -eu

chain_id=$(cast chain-id --rpc-url "$RPC_URL")
block=$(cast block-number --rpc-url "$RPC_URL")
case "$chain_id$block" in
  *[!0-9]*) echo "not a chain id and a block number: $chain_id, $block" >&2; exit 1 ;;
esac
echo "$RPC_URL: chain $chain_id, block $block"
