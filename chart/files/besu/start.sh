#!/bin/sh
# Starts Besu with the given arguments once the names of its peers resolve. Sequencers and public nodes use it.
#
# PEERS: names of the sequencers' pods. Besu uses 127.0.0.1 for a name that does not resolve when it starts, and never
#   resolves it again. So this waits up to WAIT_SECONDS for the names. A sequencer that starts later dials the other
#   sequencers itself, but no sequencer dials a public node.
# NEEDS_PEER: true for a public node, which keeps the peers that it starts with. It waits for more than half of the
#   names without limit.
# KEY_FILE: the node's private key, if it must have a particular one. Its node id must be the one that the peers dial,
#   which is in static-nodes.json in CONFIG_DIR.
# ETHSTATS_SECRET, ETHSTATS_HOST, POD_NAME: how and where it reports. Without the secret it does not.
# TMP_TO_CLEAR: the folder for temporary files. The folder outlives the container, so libraries that a killed Besu
#   unpacked would remain.
# BESU, STOP_SECONDS: the program, and how long it may run after its database is closed; for tests.
set -eu

: "${PEERS?}"
besu=${BESU:-/opt/besu/bin/besu}
pod=${POD_NAME:-this pod}
fail() {
  echo "error: $*" >&2
  exit 1
}

[ -z "${TMP_TO_CLEAR:-}" ] || find "$TMP_TO_CLEAR" -mindepth 1 -delete || echo "could not empty $TMP_TO_CLEAR" >&2

# Prints the id of this pod's node, as its peers dial it; nothing for a single validator, which has no list.
listed() {
  nodes=${CONFIG_DIR:-/config}/static-nodes.json
  [ ! -f "$nodes" ] || sed -n "s|.*enode://\([0-9a-f]*\)@${POD_NAME:-}\..*|\1|p" "$nodes"
}

if [ -n "${KEY_FILE:-}" ]; then
  # The kubelet creates a folder if the Secret lacks the key.
  [ -f "$KEY_FILE" ] || fail "there is no key for $pod: its Secret has fewer keys than there are pods"
  if [ "$(grep -c '' "$KEY_FILE")" != 1 ] || ! grep -Eqx '(0x)?[0-9a-fA-F]{64}' "$KEY_FILE"; then
    fail "the key of $pod is not 32 bytes in hex on one line"
  fi
  wanted=$(listed)
  if [ -n "$wanted" ]; then
    id=$(mktemp)
    JAVA_OPTS=-Xmx256m "$besu" public-key export --node-private-key-file="$KEY_FILE" --to="$id" >/dev/null ||
      fail "Besu can't compute the node id of the key of $pod"
    given=$(sed 's/^0x//' "$id")
    rm "$id"
    [ "$given" = "$wanted" ] || fail "the key of $pod is that of another node: its node id is" \
      "$given, and network.validators has $wanted"
  fi
fi

# As process 1, the shell would otherwise ignore the signal.
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
  # Besu would not start with such a secret. It is more important than the dashboard.
  *[!A-Za-z0-9_-]*) echo "not reporting to $ETHSTATS_HOST: its secret may contain only letters, digits, - and _" >&2 ;;
  # In the environment, because process lists show arguments.
  *) export BESU_ETHSTATS="ws://$POD_NAME:$ETHSTATS_SECRET@$ETHSTATS_HOST" ;;
esac
unset ETHSTATS_SECRET
if [ -z "${BESU_ETHSTATS:-}" ]; then
  trap - TERM INT
  exec "$besu" "$@"
fi

# Before 25.12.0, Besu waits without limit if EthStats does not close its connection. Its database is closed by then.
# So Besu is killed STOP_SECONDS after it has closed the database's lock file, and never before.
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
