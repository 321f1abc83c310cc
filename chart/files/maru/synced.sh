#!/bin/bash
# The readiness of Marus and sequencers: exits with 0 if Maru has caught up with its peers, and the execution client
# with Maru.
#
# Besu's own /readiness considers only a sync that Besu began itself, not the blocks that Maru still has for it.
# One of these says where it runs; in the host's name, N stands for the pod's ordinal:
#   EXECUTION  host of the execution client, in Maru's pods
#   MARU       host of Maru, in a sequencer's pod. Without a running Maru, as at the first start, a sequencer is ready
# An isolated node does not know which blocks it lacks, so it also needs peers:
#   PEERS_WANTED  how many of the validators in network.toml (in CONFIG_DIR) Maru must be connected to. Followers are
#                 connected, too, but do not count
#   PEERS         names of the sequencers: if there are several, a sequencer's Besu must be connected to any node
# MAX_BEHIND: how many blocks the client may be behind. MARU_PORT, EXECUTION_PORT: for tests.
# It uses bash for HTTP, because the images may have no HTTP client.
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

# call METHOD: prints the answer of the execution client.
call() {
  local body='{"jsonrpc":"2.0","id":1,"method":"'"$1"'","params":[]}'
  ask "$execution" "${EXECUTION_PORT:-8545}" $'POST / HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: '"${#body}"$'\r\n\r\n'"$body"
}

# connected: prints how many of the validators in network.toml are connected to Maru; fails if Maru does not say.
connected() {
  local peers line number=0
  peers=$(get /eth/v1/node/peers)
  [[ $peers == *'"data":['*'}' ]] || return
  while read -r line; do
    [[ $line =~ /p2p/([1-9A-Za-z]+) ]] || continue
    ! [[ $peers =~ '"peer_id":"'${BASH_REMATCH[1]}'"'[^}]*'"state":"connected"' ]] || ((++number))
  done <"${CONFIG_DIR:-/config}/network.toml"
  echo "$number"
}

if [[ -n ${MARU:-} && ${PEERS:-} == *' '* ]]; then
  [[ $(call net_peerCount) =~ '"result":"0x'([0-9a-f]+) ]] || { echo "no answer from $execution"; exit 1; }
  ((16#${BASH_REMATCH[1]})) || { echo "Besu is connected to no other node"; exit 1; }
fi

if ! syncing=$(get /eth/v1/node/syncing 2>/dev/null); then
  [[ -z ${MARU:-} ]] || exit 0
  echo "Maru does not answer"
  exit 1
fi
if [[ -z ${MARU:-} ]]; then
  [[ $syncing == *'"is_syncing":false'* ]] || { echo "Maru is not in sync"; exit 1; }
  [[ $syncing == *'"el_offline":false'* ]] || { echo "the execution client is down"; exit 1; }
  if ((${PEERS_WANTED:-0})); then
    number=$(connected) || { echo "Maru does not list its peers"; exit 1; }
    ((number >= PEERS_WANTED)) || { echo "Maru is connected to $number validators, and needs $PEERS_WANTED"; exit 1; }
  fi
fi

[[ $(get /eth/v2/beacon/blocks/head) =~ '"block_number":"'([0-9]+) ]] || { echo "Maru has no block"; exit 1; }
consensus=${BASH_REMATCH[1]}

answer=$(call eth_blockNumber)
[[ $answer =~ '"result":"0x'([0-9a-f]+) ]] || { echo "no answer from $execution"; exit 1; }
behind=$((consensus - 16#${BASH_REMATCH[1]}))
((behind <= ${MAX_BEHIND:-5})) || { echo "$execution is $behind blocks behind Maru"; exit 1; }
