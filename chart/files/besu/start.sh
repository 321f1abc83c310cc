#!/bin/sh
# Starts Besu with the arguments given, once it can find its peers; for the sequencers and for the public nodes.
#
# PEERS: names of the sequencers' pods. Besu takes a name that can't be resolved at its start for 127.0.0.1, and never
#   looks it up again: so WAIT_SECONDS are given to each. A sequencer that comes later dials the other sequencers
#   itself, but no sequencer dials a public node.
# NEEDS_PEER: true for a public node, which so keeps the peers that it starts with. It waits for more than half of the
#   names as long as it takes.
# KEY_FILE: the node's private key, where it must have a given one. It has to be the one whose node id the peers dial,
#   which is in static-nodes.json in CONFIG_DIR.
# ETHSTATS_SECRET, ETHSTATS_HOST, POD_NAME: where it reports to, where the secret is given.
# TMP_TO_CLEAR: the folder for temporary files, which outlives a container and with it the libraries that Besu unpacks.
# BESU, STOP_SECONDS: the program, and how long it may take to end after its database is closed, for tests.
set -eu

: "${PEERS?}"
besu=${BESU:-/opt/besu/bin/besu}
pod=${POD_NAME:-this pod}
fail() {
  echo "error: $*" >&2
  exit 1
}

[ -z "${TMP_TO_CLEAR:-}" ] || find "$TMP_TO_CLEAR" -mindepth 1 -delete || echo "some files stay in $TMP_TO_CLEAR" >&2

# The id of this pod's node, as its peers dial it; nothing on a chain of one, which has no list.
listed() {
  nodes=${CONFIG_DIR:-/config}/static-nodes.json
  [ ! -f "$nodes" ] || sed -n "s|.*enode://\([0-9a-f]*\)@${POD_NAME:-}\..*|\1|p" "$nodes"
}

if [ -n "${KEY_FILE:-}" ]; then
  # A folder: what the kubelet makes in place of a key that the Secret does not have.
  [ -f "$KEY_FILE" ] || fail "there is no key for $pod: its Secret has fewer keys than there are pods"
  if [ "$(grep -c '' "$KEY_FILE")" != 1 ] || ! grep -Eqx '(0x)?[0-9a-fA-F]{64}' "$KEY_FILE"; then
    fail "the key of $pod is not 32 bytes in hex on one line"
  fi
  wanted=$(listed)
  if [ -n "$wanted" ]; then
    id=$(mktemp)
    JAVA_OPTS=-Xmx256m "$besu" public-key export --node-private-key-file="$KEY_FILE" --to="$id" >/dev/null ||
      fail "Besu can't tell the node id of the key of $pod"
    given=$(sed 's/^0x//' "$id")
    rm "$id"
    [ "$given" = "$wanted" ] || fail "the key of $pod is that of another node: its node id is" \
      "$given, and network.validators has $wanted"
  fi
fi

# As process 1 it would not hear the signal.
trap 'exit 143' TERM INT
waited=0
while :; do
  missing=
  found=0
  names=0
  for peer in $PEERS; do
    [ "${peer%%.*}" != "${POD_NAME:-}" ] || continue
    names=$((names + 1))
    if getent hosts "$peer" >/dev/null; then found=$((found + 1)); else missing="$missing $peer"; fi
  done
  [ -n "$missing" ] || break
  if [ "$waited" -ge "${WAIT_SECONDS:-60}" ]; then
    [ "${NEEDS_PEER:-false}" = true ] && [ $((2 * found)) -le "$names" ] || break
  fi
  [ $((waited % 30)) -ne 0 ] || echo "waiting for the names of$missing"
  sleep 1 &
  wait $!
  waited=$((waited + 1))
done
[ -z "$missing" ] || echo "starting without$missing"

case ${ETHSTATS_SECRET:-} in
  '') ;;
  # Besu would not start: no dashboard is worth that.
  *[!A-Za-z0-9_-]*) echo "not reporting to $ETHSTATS_HOST: its secret is not of letters, digits, - and _ alone" >&2 ;;
  # By environment: arguments show in process lists.
  *) export BESU_ETHSTATS="ws://$POD_NAME:$ETHSTATS_SECRET@$ETHSTATS_HOST" ;;
esac
unset ETHSTATS_SECRET
if [ -z "${BESU_ETHSTATS:-}" ]; then
  trap - TERM INT
  exec "$besu" "$@"
fi

# Before 25.12.0 Besu waits without end for an EthStats that does not close its connection; the database is closed by
# then. So it is killed STOP_SECONDS after it has let go of the database's lock, and never where that was not seen.
holds_database() {
  # shellcheck disable=SC2010
  ls -l "/proc/$child/fd" 2>/dev/null | grep -q '/database/LOCK$'
}

"$besu" "$@" &
child=$!
stopping=false
held=false
trap 'stopping=true; ! holds_database || held=true; kill -TERM "$child"' TERM INT
code=0
wait "$child" || code=$?
"$stopping" || exit "$code"
left=${STOP_SECONDS:-15}
while kill -0 "$child" 2>/dev/null; do
  if holds_database; then
    held=true
  elif "$held"; then
    [ "$left" -gt 0 ] || kill -KILL "$child"
    left=$((left - 1))
  fi
  sleep 1
done
code=0
wait "$child" || code=$?
exit "$code"
