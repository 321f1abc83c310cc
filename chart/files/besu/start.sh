#!/bin/sh
# Starts Besu with the arguments given, once it can find its peers; for the sequencers and for the public nodes.
#
# PEERS: names of the sequencers' pods. Besu takes a name that can't be resolved at its start for 127.0.0.1, and stays
#   with that: so WAIT_SECONDS are given to each. Sequencers that come later will call the others themselves.
# NEEDS_PEER: true where nothing works without one of them; it then waits for one as long as it takes.
# KEY_FILE: the node's private key, where it must have a given one.
# ETHSTATS_SECRET, ETHSTATS_HOST, POD_NAME: where it reports to, where the secret is given.
# BESU: the program, for tests.
set -eu

: "${PEERS?}"
fail() {
  echo "error: $*" >&2
  exit 1
}

if [ -n "${KEY_FILE:-}" ]; then
  # A folder: what the kubelet makes in place of a key that the Secret does not have.
  [ -f "$KEY_FILE" ] || fail "there is no key for ${POD_NAME:-this pod}: its Secret has fewer keys than there are pods"
  if [ "$(grep -c '' "$KEY_FILE")" != 1 ] || ! grep -Eqx '(0x)?[0-9a-fA-F]{64}' "$KEY_FILE"; then
    fail "the key of ${POD_NAME:-this pod} is not 32 bytes in hex on one line"
  fi
fi

# As process 1 it would not hear the signal.
trap 'exit 143' TERM INT
waited=0
while :; do
  missing=
  found=false
  for peer in $PEERS; do
    [ "${peer%%.*}" != "${POD_NAME:-}" ] || continue
    if getent hosts "$peer" >/dev/null; then found=true; else missing="$missing $peer"; fi
  done
  [ -n "$missing" ] || break
  if [ "$waited" -ge "${WAIT_SECONDS:-60}" ] && { "$found" || ! "${NEEDS_PEER:-false}"; }; then break; fi
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
trap - TERM INT
exec "${BESU:-/opt/besu/bin/besu}" "$@"
