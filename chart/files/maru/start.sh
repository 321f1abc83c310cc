#!/bin/bash
# Checks the key of a validator, and starts its Maru with the given arguments for java.
#
# If the file is missing, Maru generates another key. With the key of another node, it only logs a warning. In both
# cases the pod looks healthy, and the chain creates no blocks.
# KEY_FILE: hex of the libp2p protobuf of a secp256k1 key, 08021220 and 32 bytes. Its peer id must be the one that the
#   others dial, which is in network.toml in CONFIG_DIR.
# POD_NAME: the pod. TMP_TO_CLEAR: the folder for temporary files, which outlives the container. JAVA: the program, for
#   tests.
set -euo pipefail

: "${KEY_FILE:?}"
pod=${POD_NAME:-this pod}
fail() {
  echo "error: $*" >&2
  exit 1
}

[ -z "${TMP_TO_CLEAR:-}" ] || find "$TMP_TO_CLEAR" -mindepth 1 -delete || echo "could not empty $TMP_TO_CLEAR" >&2

# public_key KEY: prints the public key (33 bytes) of a private one (32 bytes), both in hex. No program gets the private
# key as an argument.
public_key() {
  local der=302e0201010420$1a00706052b8104000a # SEC1, RFC 5915, of the curve secp256k1
  # shellcheck disable=SC2059
  printf "$(printf %s "$der" | sed 's/../\\x&/g')" |
    openssl ec -inform DER -pubout -conv_form compressed -outform DER 2>/dev/null |
    tail -c 33 | od -An -v -tx1 | tr -d ' \n'
}

# base58 HEX: prints it in base58. The first byte must be 0, and the second must not.
base58() {
  local alphabet=123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz text='' digits=(0) carry i j
  for ((i = 0; i < ${#1}; i += 2)); do
    carry=$((16#${1:i:2}))
    for ((j = 0; j < ${#digits[@]} || carry; j++)); do
      carry=$((carry + (${digits[j]:-0} << 8)))
      digits[j]=$((carry % 58))
      carry=$((carry / 58))
    done
  done
  for digit in "${digits[@]}"; do text=${alphabet:digit:1}$text; done
  echo "1$text"
}

# The kubelet creates a folder if the Secret lacks the key.
[ -f "$KEY_FILE" ] || fail "there is no key for $pod: its Secret has fewer keys than there are pods"
key=$(cat "$KEY_FILE")
if [ "$(grep -c '' "$KEY_FILE")" != 1 ] || ! [[ $key =~ ^(0x)?08021220([0-9a-fA-F]{64})$ ]]; then
  fail "the key of $pod is not the hex of 08021220 and 32 bytes, on one line"
fi
key=${BASH_REMATCH[2]}

# A single validator has no list.
network=${CONFIG_DIR:-/config}/network.toml
if [[ -f $network && $(<"$network") =~ "/dns4/${POD_NAME:-}."[^\"]*/p2p/([1-9A-Za-z]+) ]]; then
  wanted=${BASH_REMATCH[1]}
  command -v openssl >/dev/null || fail "the image has no openssl, which computes the peer id of the key of $pod"
  public=$(public_key "$key") || public=
  [ ${#public} = 66 ] || fail "openssl can't compute the public key of $pod"
  # A multihash, "identity" of 37 bytes: libp2p's protobuf of the type Secp256k1 with 33 bytes.
  given=$(base58 "002508021221$public")
  [ "$given" = "$wanted" ] || fail "the key of $pod is that of another node: its peer id is" \
    "$given, and network.validators has $wanted"
fi
exec "${JAVA:-java}" "$@"
