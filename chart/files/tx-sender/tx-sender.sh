#!/bin/sh
# Sends AMOUNT_WEI to the address in SECRETS_DIR/toAddress every INTERVAL_SECONDS, signed with SECRETS_DIR/privateKey.
#
# The key never appears in process lists, environments or the log: cast reads it once from a terminal, as if a person
# typed it, and stores it in a keystore under WORK_DIR (in memory). Each transfer is signed with that keystore.
#
# A transfer is signed once, for its own nonce, and kept in WORK_DIR/<account>/<nonce> with its hash. The same bytes
# are published until that nonce is used, so the money moves once, even if the node forgets the transfer. Then the log
# reports the transfer, and its file is emptied. The file of the last nonce stays, so that a restarted container
# continues after it.
#
# As long as WORK_DIR exists, each transfer is reported at least once, always with the same hash. If a container is
# killed after it has written the line and before it empties the file, it reports that transfer again when it starts: at
# most one line per kill. So count distinct hashes, not lines. WORK_DIR is empty in a new pod, and after a restart of
# the machine. Transfers that were not reported before that move their money once or never, and no line reports them.
#
# WORK_DIR/mined contains the time of the last report of a sent transfer, for ready.sh.
set -eu
export LC_ALL=C NO_COLOR=1

: "${RPC_URL:?}" "${INTERVAL_SECONDS:?}" "${AMOUNT_WEI:?}" "${SECRETS_DIR:?}" "${WORK_DIR:?}"

pending_limit=8         # so that a chain that continues after a stop does not get more at once
republish_seconds=5     # a node that was restarted has forgotten what was published
unknown_seconds=10      # several nodes may share one name, and some may be a little behind
stop_seconds=60         # of the pod's terminationGracePeriodSeconds
max_backoff_seconds=60
gas_limit=100000        # 21000 for an account; a contract that receives money may need more
min_max_fee=1000000000  # in wei; the actual fee is that of the block, and this is only its maximum
prices_seconds=10
other_sender="does another sender have this key?"

warn() {
  printf '%s\n' "$*" >&2
}

fail() {
  warn "error: $*"
  exit 1
}

# Sets $now to the seconds since the machine started, which no change of the clock affects.
look_at_clock() {
  read -r now _ </proc/uptime
  now=${now%%.*}
}

# Sets $answer; if there is none, sets $reason.
ask() {
  answer=$(cast "$@" 2>"$WORK_DIR/error") && return
  reason=$(tr -s ' \n' '  ' <"$WORK_DIR/error")
  reason=${reason% }
  [ -n "$reason" ] || reason="cast $1 failed without a message"
  return 1
}

# Like ask, but the answer must be a decimal number.
ask_number() {
  ask "$@" || return
  case $answer in
    '' | *[!0-9]*)
      reason="the node's answer to $1 is not a number: $answer"
      return 1
      ;;
  esac
}

is_number() {
  case $1 in
    '' | 0* | *[!0-9]*) return 1 ;;
  esac
}

is_hex() {
  case $1 in
    *[!0-9a-fA-F]*) return 1 ;;
  esac
  [ ${#1} -eq "$2" ]
}

# Waits before the next request, longer each time. Then everything is published again.
back_off() {
  [ -z "$stopping" ] || backoff=5
  warn "$*; next try in ${backoff}s"
  retry_at=$((now + backoff)) moved_at=0
  backoff=$((backoff * 2))
  [ "$backoff" -le "$max_backoff_seconds" ] || backoff=$max_backoff_seconds
}

read_transfer() {
  hash='' raw='' what=''
  [ ! -s "$transfers/$1" ] || read -r hash raw what <"$transfers/$1"
}

# Reports the results of the transfers whose nonces are used. If a line can't be written, its transfer is kept.
settle() {
  ask_number nonce "$from" || return
  used=$answer
  if [ "$used" -lt "$first" ]; then
    reason="the node is behind: it has $used of $first transactions of $from (is the chain a new one? delete this pod)"
    return 1
  fi
  while [ "$first" -lt "$next" ] && [ "$first" -lt "$used" ]; do
    read_transfer "$first"
    if [ -n "$hash" ]; then
      ask rpc eth_getTransactionReceipt "$hash" || return
      reason="the log can't be written"
      case $answer in
        *'"status":"0x1"'*)
          echo "sent $what: $hash" || return
          # By a rename, because ready.sh may read it at any time.
          echo "$now" >"$WORK_DIR/mined.new" && mv "$WORK_DIR/mined.new" "$WORK_DIR/mined"
          ;;
        *'"status":"0x0"'*) warn "failed, and is not retried: $what: $hash" || return ;;
        *)
          [ "$unknown_since" -gt 0 ] || unknown_since=$now
          [ $((now - unknown_since)) -ge "$unknown_seconds" ] || return 0
          warn "not sent: $what: another transaction has its nonce, $first: $other_sender" || return
          ;;
      esac
      : >"$transfers/$first"
    fi
    rm -f "$transfers/$((first - 1))"
    first=$((first + 1))
    unknown_since=0 moved_at=$now
  done
  if [ "$next" -lt "$used" ]; then
    warn "the next nonce should be $next, but is $used: $other_sender"
    first=$used next=$used
  fi
  [ "$published" -ge "$first" ] || published=$first
}

# Gets the chain's id and, if there are no kept transfers, the first nonce.
greet() {
  if [ "$next" -eq 0 ]; then
    ask_number nonce "$from" || return
    used=$answer
    ask_number nonce --block pending "$from" || return
    if [ "$answer" -ne "$used" ]; then
      reason="waiting: the node has pending transactions of $from, for example from an earlier pod"
      return 1
    fi
    first=$used next=$used published=$used
  fi
  ask_number chain-id || return
  chain_id=$answer
  echo "every ${INTERVAL_SECONDS}s: $AMOUNT_WEI wei from $from to $to through $RPC_URL" || true
}

# Publishes what the node has not accepted yet, or may have forgotten.
publish() {
  if [ $((now - moved_at)) -ge "$republish_seconds" ]; then
    published=$first moved_at=$now
  fi
  while [ "$published" -lt "$next" ]; do
    read_transfer "$published"
    if [ -n "$raw" ] && ! ask publish --async "$raw"; then
      case $reason in
        *already\ known* | *[Kk]nown\ transaction* | *[Nn]once\ too\ low*) ;;
        *insufficient\ funds* | *exceeds\ account\ balance* | *pfront\ cost*)
          reason="the account $from has too little money: $reason"
          return 1
          ;;
        *)
          reason="the node rejected the transfer with nonce $published: $reason"
          return 1
          ;;
      esac
    fi
    published=$((published + 1))
  done
}

# Sets the maximum fee: ten times the current price, because the price rises by at most an eighth per block.
learn_prices() {
  [ "$now" -ge "$prices_until" ] || return 0
  ask rpc eth_maxPriorityFeePerGas || return
  answer=${answer#\"}
  tip=$((${answer%\"}))
  [ "$tip" -gt 0 ] || tip=1
  ask_number gas-price || return
  max_fee=$((answer * 10 + tip))
  [ "$max_fee" -ge "$min_max_fee" ] || max_fee=$min_max_fee
  prices_until=$((now + prices_seconds))
}

# Signs the next transfer and stores it, before it is published.
make() {
  learn_prices || return
  ask mktx "$to" --value "$AMOUNT_WEI" --chain "$chain_id" --nonce "$next" --gas-limit "$gas_limit" \
    --gas-price "$max_fee" --priority-gas-price "$tip" || return
  raw=$answer
  ask keccak "$raw" || return
  [ "$first" -lt "$next" ] || moved_at=$now
  echo "$answer $raw $AMOUNT_WEI wei to $to" >"$WORK_DIR/new" || return
  mv "$WORK_DIR/new" "$transfers/$next" || return
  next=$((next + 1))
}

# Does all that is due now. If it fails, $reason says why.
work() {
  if [ "$now" -ne "$looked_at" ] && { [ "$first" -lt "$next" ] || [ "$now" -ge "$due" ]; }; then
    settle || return
    looked_at=$now
  fi
  publish || return
  [ -z "$stopping" ] && [ "$now" -ge "$due" ] || return 0
  # A delay of less than an interval is caught up. The transfers that an outage prevented are not.
  due=$((due + INTERVAL_SECONDS))
  [ "$due" -ge "$now" ] || due=$((due + ((now - due) / INTERVAL_SECONDS + 1) * INTERVAL_SECONDS))
  if [ $((next - first)) -ge "$pending_limit" ]; then
    [ -n "$full" ] || warn "waiting: $pending_limit transfers are pending"
    full=1
    return
  fi
  full=
  make && publish
}

stopping=
trap 'stopping=1' TERM INT

# Checks before the first transfer

for tool in cast script timeout; do
  command -v "$tool" >/dev/null || fail "the image has no $tool"
done
is_number "$INTERVAL_SECONDS" || fail "INTERVAL_SECONDS must be a number above 0, not $INTERVAL_SECONDS"
is_number "$AMOUNT_WEI" || [ "$AMOUNT_WEI" = 0 ] || fail "AMOUNT_WEI must be a number, not $AMOUNT_WEI"
for file in privateKey toAddress; do
  [ -s "$SECRETS_DIR/$file" ] || fail "the Secret has no $file"
done
unset key # otherwise a variable from the environment would be passed on to cast
key=$(cat "$SECRETS_DIR/privateKey")
key=${key#0x}
is_hex "$key" 64 || fail "privateKey in the Secret is not a private key: it must be 32 bytes in hex"
to=$(cat "$SECRETS_DIR/toAddress")
case $to in 0x*) ;; *) to= ;; esac
is_hex "${to#0x}" 40 || fail "toAddress in the Secret is not an address: it must be 0x and 20 bytes in hex"

umask 077
export ETH_RPC_URL="$RPC_URL" ETH_RPC_TIMEOUT=10
rm -rf "$WORK_DIR/keystore"
mkdir -p "$WORK_DIR/keystore"
case ${to#0x} in
  *[a-f]*[A-F]* | *[A-F]*[a-f]*)
    ask to-check-sum-address "$to" || fail "cast does not run: $reason"
    [ "$answer" = "$to" ] || fail "toAddress in the Secret is misspelled: the case of its letters does not match EIP-55"
    ;;
esac

# `script` gives cast a terminal, which it requires to read a key. The terminal's output is discarded. The password only
# satisfies the format: anyone who can read the keystore can also read the key itself.
printf 'unused' >"$WORK_DIR/password"
printf '%s\n' "$key" |
  CAST_UNSAFE_PASSWORD=unused timeout 60 script -qec \
    "cast wallet import --keystore-dir '$WORK_DIR/keystore' sender --interactive" /dev/null >/dev/null 2>&1 ||
  fail "cast rejected privateKey: it must be a private key of secp256k1"
unset key
export ETH_KEYSTORE="$WORK_DIR/keystore/sender" ETH_PASSWORD="$WORK_DIR/password"
ask wallet address || fail "the keystore made from the private key can't be read: $reason"
from=$answer
transfers=$WORK_DIR/$from
mkdir -p "$transfers"

# The nonces of the kept transfers are first, first + 1, … next - 1. next is 0 if there never was a transfer.
first=0 next=0
for file in "$transfers"/*; do
  nonce=${file##*/}
  [ "$nonce" != '*' ] || continue
  [ "$next" -gt 0 ] && [ "$first" -lt "$nonce" ] || first=$nonce
  [ "$next" -gt "$nonce" ] || next=$((nonce + 1))
done

full='' chain_id=''
backoff=1 retry_at=0 prices_until=0 unknown_since=0 stop_at=0 looked_at=0
look_at_clock
due=$now moved_at=$now published=$first

while :; do
  look_at_clock
  if [ -n "$stopping" ]; then
    [ "$stop_at" -gt 0 ] || stop_at=$((now + stop_seconds)) retry_at=0
    [ "$first" -lt "$next" ] && [ "$now" -lt "$stop_at" ] || break
  fi
  if [ "$now" -ge "$retry_at" ]; then
    if { [ -n "$chain_id" ] || greet; } && work; then
      backoff=1
    else
      back_off "$reason"
    fi
  fi
  sleep 0.2
done
while [ "$first" -lt "$next" ]; do
  read_transfer "$first"
  [ -z "$hash" ] || warn "still pending: $what: $hash"
  first=$((first + 1))
done
echo "stopped"
