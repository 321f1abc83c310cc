#!/bin/bash
# Whether Maru has caught up with its peers, and the execution client with Maru: the readiness of both.
#
# Besu's own /readiness knows only of a sync that Besu began itself, not of blocks that it has yet to get from Maru.
# Where it runs, by what is given; in a host's name, N stands for the pod's ordinal:
#   EXECUTION  host of the execution client, in Maru's pods
#   MARU       host of Maru, in a sequencer's pod: one whose Maru is not there, as at the first start, is ready
# MAX_BEHIND: blocks that the client may be behind. MARU_PORT, EXECUTION_PORT: for tests.
# By bash itself: the images have no other HTTP client for sure.
set -euo pipefail

ordinal=${HOSTNAME##*-}
execution=${EXECUTION:-127.0.0.1}
execution=${execution/-N./-$ordinal.}
maru=${MARU:-127.0.0.1}
maru=${maru/-N./-$ordinal.}

# ask HOST PORT REQUEST: prints the answer to an HTTP/1.0 request.
ask() {
  exec 3<>"/dev/tcp/$1/$2" && printf '%s' "$3" >&3 && cat <&3 && exec 3>&-
}

get() {
  ask "$maru" "${MARU_PORT:-8080}" $'GET '"$1"$' HTTP/1.0\r\nHost: localhost\r\n\r\n'
}

if ! syncing=$(get /eth/v1/node/syncing 2>/dev/null); then
  [[ -z ${MARU:-} ]] || exit 0
  echo "Maru does not answer"
  exit 1
fi
if [[ -z ${MARU:-} ]]; then
  [[ $syncing == *'"is_syncing":false'* ]] || { echo "Maru is not in sync"; exit 1; }
  [[ $syncing == *'"el_offline":false'* ]] || { echo "the execution client is away"; exit 1; }
fi

[[ $(get /eth/v2/beacon/blocks/head) =~ '"block_number":"'([0-9]+) ]] || { echo "Maru has no block"; exit 1; }
consensus=${BASH_REMATCH[1]}

body='{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}'
answer=$(ask "$execution" "${EXECUTION_PORT:-8545}" $'POST / HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: '"${#body}"$'\r\n\r\n'"$body")
[[ $answer =~ '"result":"0x'([0-9a-f]+) ]] || { echo "no answer from $execution"; exit 1; }
behind=$((consensus - 16#${BASH_REMATCH[1]}))
((behind <= ${MAX_BEHIND:-5})) || { echo "$execution is $behind blocks behind Maru"; exit 1; }
