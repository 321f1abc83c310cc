#!/bin/sh
# Verifies a chain as its clients see it: JSON-RPC and WebSocket answer, and the block number grows.
#
# RPC_URL, WS_URL: where clients connect. WAIT_SECONDS: how long all of it may take; a node that has just started may need
#   some of that. CHAIN_ID: the chain that must answer; empty if the values don't have it.
# EXPECT_BLOCKS: false if no block is due within that time, because blocks need transactions and nothing sends any.
set -eu
export LC_ALL=C NO_COLOR=1

: "${RPC_URL:?}" "${WS_URL:?}" "${WAIT_SECONDS:?}"

# Sets $now to the seconds since the machine started, which no change of the clock affects.
look_at_clock() {
  read -r now _ </proc/uptime
  now=${now%%.*}
}

# wait_or_fail WHAT: sleeps for a second; exits if the time is over.
wait_or_fail() {
  look_at_clock
  if [ "$now" -ge "$end" ]; then
    echo "error: $1 within $WAIT_SECONDS s" >&2
    exit 1
  fi
  sleep 1
}

# ask_number COMMAND URL: sets $answer to cast's answer, a decimal number, or $reason to what is wrong.
ask_number() {
  answer=$(cast "$1" --rpc-timeout 10 --rpc-url "$2" 2>&1) || {
    reason=$(printf %s "$answer" | tr -s ' \n' '  ')
    return 1
  }
  case $answer in
    '' | *[!0-9]*) reason="the answer to $1 is not a number: $answer" && return 1 ;;
  esac
}

# answers URL: sets $chain and $block once both are answered there.
answers() {
  until ask_number chain-id "$1" && chain=$answer && ask_number block-number "$1" && block=$answer; do
    wait_or_fail "$1 does not answer: $reason"
  done
  if [ "$chain" != "${CHAIN_ID:-$chain}" ]; then
    echo "error: $1 is on chain $chain, and the genesis is that of chain $CHAIN_ID" >&2
    exit 1
  fi
  echo "$1: chain $chain, block $block"
}

look_at_clock
end=$((now + WAIT_SECONDS))
answers "$RPC_URL"
first=$block
answers "$WS_URL"

if [ "${EXPECT_BLOCKS:-true}" != true ]; then
  echo "no block is due without a transaction, so this proves only that the node answers"
  exit 0
fi
while [ "$block" -le "$first" ]; do
  wait_or_fail "no block after $first at $RPC_URL"
  ! ask_number block-number "$RPC_URL" || block=$answer
done
echo "blocks are made: $first, then $block"
