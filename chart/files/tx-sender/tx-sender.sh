#!/bin/sh
# Sends AMOUNT_WEI to the address in SECRETS_DIR/toAddress every INTERVAL_SECONDS, signed with SECRETS_DIR/privateKey.
#
# The key stays out of process lists and of the log: cast takes it once, over a terminal as a person would type it,
# into a keystore under WORK_DIR (memory), and each transfer is signed with that keystore.
# One transfer at a time: the next one starts when the last one is in a block, or has failed.
set -eu

: "${RPC_URL:?}" "${INTERVAL_SECONDS:?}" "${AMOUNT_WEI:?}" "${SECRETS_DIR:?}" "${WORK_DIR:?}"
max_backoff_seconds=60
receipt_timeout_seconds=60

fail() {
  echo "error: $*" >&2
  exit 1
}

# A sleep ends at once when the pod is stopped; a transfer under way is let finish.
stopping=
trap 'stopping=1' TERM INT
pause() {
  sleep "$1" &
  wait $! || true
}

for tool in cast script; do
  command -v "$tool" >/dev/null || fail "the image has no $tool"
done
for file in privateKey toAddress; do
  [ -s "$SECRETS_DIR/$file" ] || fail "the Secret has no $file"
done
to=$(cat "$SECRETS_DIR/toAddress")

umask 077
export NO_COLOR=1
rm -rf "$WORK_DIR/keystore"
mkdir -p "$WORK_DIR/keystore"
# Anyone who can read the keystore could read the key itself: the password only satisfies the format.
printf 'unused' >"$WORK_DIR/password"

# `script` gives cast the terminal it wants to read a key from; what the terminal echoes is thrown away.
{ cat "$SECRETS_DIR/privateKey"; echo; } |
  CAST_UNSAFE_PASSWORD=unused script -qec "cast wallet import --keystore-dir '$WORK_DIR/keystore' sender --interactive" \
    /dev/null >/dev/null 2>&1 || fail "cast did not take the private key: it must be 32 bytes in hex"
export ETH_KEYSTORE="$WORK_DIR/keystore/sender" ETH_PASSWORD="$WORK_DIR/password"
from=$(cast wallet address) || fail "the keystore made from the private key can't be read"
echo "every ${INTERVAL_SECONDS}s: $AMOUNT_WEI wei from $from to $to through $RPC_URL"

backoff=$INTERVAL_SECONDS
while [ -z "$stopping" ]; do
  if result=$(cast send "$to" --value "$AMOUNT_WEI" --rpc-url "$RPC_URL" \
    --timeout "$receipt_timeout_seconds" --poll-interval 1 --json 2>&1); then
    hash=$(printf '%s' "$result" | sed -n 's/.*"transactionHash":"\(0x[0-9a-f]*\)".*/\1/p')
    echo "sent $AMOUNT_WEI wei to $to: $hash"
    backoff=$INTERVAL_SECONDS
    pause "$INTERVAL_SECONDS"
  else
    echo "not sent, next try in ${backoff}s: $(printf '%s' "$result" | tr '\n' ' ')" >&2
    pause "$backoff"
    backoff=$((backoff * 2))
    [ "$backoff" -le "$max_backoff_seconds" ] || backoff=$max_backoff_seconds
  fi
done
echo "stopped"
