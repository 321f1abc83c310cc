#!/bin/bash
# Starts Maru, a validator, with the arguments given to java: after a look at its key.
#
# Where the file is missing Maru makes up a key, and with another key it is another node; it goes on in both cases: the
# pod looks healthy, and no block comes.
# KEY_FILE: hex of the libp2p protobuf of a secp256k1 key, 08021220 and 32 bytes. It has to be the one whose peer id the
#   others dial, which is in network.toml in CONFIG_DIR.
# POD_NAME: the pod. TMP_TO_CLEAR: the folder for temporary files, which outlives a container. JAVA: the program, for tests.
set -euo pipefail

: "${KEY_FILE:?}"
pod=${POD_NAME:-this pod}
fail() {
  echo "error: $*" >&2
  exit 1
}

[ -z "${TMP_TO_CLEAR:-}" ] || find "$TMP_TO_CLEAR" -mindepth 1 -delete || echo "some files stay in $TMP_TO_CLEAR" >&2

# Prints the public key of a private one, both in hex: 32 bytes, and 33. The private key is never an argument.
public_key() {
  local der=302e0201010420$1a00706052b8104000a # SEC1, RFC 5915, of the curve secp256k1
  # shellcheck disable=SC2059
  printf "$(printf %s "$der" | sed 's/../\\x&/g')" |
    openssl ec -inform DER -pubout -conv_form compressed -outform DER 2>/dev/null |
    tail -c 33 | od -An -v -tx1 | tr -d ' \n'
}

# Prints hex, whose first byte is 0 and second is not, in base58.
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

# A folder: what the kubelet makes in place of a key that the Secret does not have.
[ -f "$KEY_FILE" ] || fail "there is no key for $pod: its Secret has fewer keys than there are pods"
key=$(cat "$KEY_FILE")
if [ "$(grep -c '' "$KEY_FILE")" != 1 ] || ! [[ $key =~ ^(0x)?08021220([0-9a-fA-F]{64})$ ]]; then
  fail "the key of $pod is not the hex of 08021220 and 32 bytes, on one line"
fi
key=${BASH_REMATCH[2]}

# No list: a chain of one.
network=${CONFIG_DIR:-/config}/network.toml
if [[ -f $network && $(<"$network") =~ "/dns4/${POD_NAME:-}."[^\"]*/p2p/([1-9A-Za-z]+) ]]; then
  wanted=${BASH_REMATCH[1]}
  command -v openssl >/dev/null || fail "there is no openssl in this image, to tell the peer id of the key of $pod"
  public=$(public_key "$key") || public=
  [ ${#public} = 66 ] || fail "openssl can't tell the public key of $pod"
  # A multihash, "identity" of 37 bytes: libp2p's protobuf of the type Secp256k1 with 33 bytes.
  given=$(base58 "002508021221$public")
  [ "$given" = "$wanted" ] || fail "the key of $pod is that of another node: its peer id is" \
    "$given, and network.validators has $wanted"
fi
exec "${JAVA:-java}" "$@"
