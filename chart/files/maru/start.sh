#!/bin/sh
# Starts Maru, a validator, with the arguments given to java: after a look at its key.
#
# Where the file is missing Maru makes up a key, and goes on: the pod looks healthy, and no block comes.
# KEY_FILE: hex of the libp2p protobuf of a secp256k1 key, 08021220 and 32 bytes. JAVA: the program, for tests.
set -eu

: "${KEY_FILE:?}"
fail() {
  echo "error: $*" >&2
  exit 1
}

# A folder: what the kubelet makes in place of a key that the Secret does not have.
[ -f "$KEY_FILE" ] || fail "there is no key for ${POD_NAME:-this pod}: its Secret has fewer keys than there are pods"
if [ "$(grep -c '' "$KEY_FILE")" != 1 ] || ! grep -Eqx '(0x)?08021220[0-9a-fA-F]{64}' "$KEY_FILE"; then
  fail "the key of ${POD_NAME:-this pod} is not the hex of 08021220 and 32 bytes, on one line"
fi
exec "${JAVA:-java}" "$@"
