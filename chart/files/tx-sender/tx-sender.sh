#!/bin/sh
# Sends AMOUNT_WEI to the address in SECRETS_DIR/toAddress every INTERVAL_SECONDS, signed with SECRETS_DIR/privateKey.
#
# The key stays out of process lists, environments and the log: cast takes it once, over a terminal as a person would
# type it, into a keystore under WORK_DIR (memory), and each transfer is signed with that keystore.
#
# A transfer is signed once, for a nonce of its own, and kept in WORK_DIR/<account>/<nonce> with its hash. The same
# bytes are published until that nonce is used, so the money moves once, whatever the node forgets. Then the log
# reports the transfer, and its file is emptied. The file of the last nonce stays: a container that starts again goes
# on behind it.
#
# As long as WORK_DIR lasts, each transfer is reported at least once, always under the same hash. A container that is
# killed after the line and before the file is emptied reports that transfer again when it starts: at most one line for
# each kill. So count distinct hashes, not lines. A new pod, or one whose machine was restarted, has an empty WORK_DIR:
# transfers that were not reported by then move their money once or never, and no line reports them as sent.
#
# WORK_DIR/mined has the time of the last report of a sent transfer, for ready.sh.
set -eu
export LC_ALL=C NO_COLOR=1

: "${RPC_URL:?}" "${INTERVAL_SECONDS:?}" "${AMOUNT_WEI:?}" "${SECRETS_DIR:?}" "${WORK_DIR:?}"

pending_limit=8         # a chain that stands still gets no more than these at once when it goes on
republish_seconds=5     # a node that was restarted has forgotten what was published
unknown_seconds=10      # behind one name there may be several nodes, some a little late
stop_seconds=60         # of the pod's terminationGracePeriodSeconds
max_backoff_seconds=60
gas_limit=100000        # 21000 for an account; a contract that takes money may need some more
min_max_fee=1000000000  # in wei; the fee paid is the block's own, and this only what it may rise to
prices_seconds=10
somebody="does another sender have this key?"

warn() {
  printf '%s\n' "$*" >&2
}

fail() {
  warn "error: $*"
  exit 1
}

# The seconds since the machine started are in $now: no clock that is set disturbs them.
look_at_clock() {
  read -r now _ </proc/uptime
  now=${now%%.*}
}

# The answer is in $answer; where there is none, the reason is in $reason.
ask() {
  answer=$(cast "$@" 2>"$WORK_DIR/error") && return
  reason=$(tr -s ' \n' '  ' <"$WORK_DIR/error")
  reason=${reason% }
  [ -n "$reason" ] || reason="cast $1 ended without a word"
  return 1
}

# ask, where the answer must be a decimal number.
ask_number() {
  ask "$@" || return
  case $answer in
    '' | *[!0-9]*)
      reason="the node's answer to $1 is no number: $answer"
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

# Nothing is asked for a while, longer each time; then all is published again.
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

# Report what became of the transfers whose nonces are used. A transfer whose line can't be written is kept.
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
          # In one step: ready.sh may read it at any moment.
          echo "$now" >"$WORK_DIR/mined.new" && mv "$WORK_DIR/mined.new" "$WORK_DIR/mined"
          ;;
        *'"status":"0x0"'*) warn "failed, and is not tried again: $what: $hash" || return ;;
        *)
          [ "$unknown_since" -gt 0 ] || unknown_since=$now
          [ $((now - unknown_since)) -ge "$unknown_seconds" ] || return 0
          warn "not sent: $what: another transaction has its nonce, $first: $somebody" || return
          ;;
      esac
      : >"$transfers/$first"
    fi
    rm -f "$transfers/$((first - 1))"
    first=$((first + 1))
    unknown_since=0 moved_at=$now
  done
  if [ "$next" -lt "$used" ]; then
    warn "the next nonce was to be $next, and is $used: $somebody"
    first=$used next=$used
  fi
  [ "$published" -ge "$first" ] || published=$first
}

# Learn the chain's id, and where there is nothing to go on with, the nonce to start at.
greet() {
  if [ "$next" -eq 0 ]; then
    ask_number nonce "$from" || return
    used=$answer
    ask_number nonce --block pending "$from" || return
    if [ "$answer" -ne "$used" ]; then
      reason="waiting: the node has transactions of $from, as of an earlier pod, that are in no block yet"
      return 1
    fi
    first=$used next=$used published=$used
  fi
  ask_number chain-id || return
  chain_id=$answer
  echo "every ${INTERVAL_SECONDS}s: $AMOUNT_WEI wei from $from to $to through $RPC_URL" || true
}

# Publish what the node has not taken yet, or may have forgotten.
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
          reason="the transfer with nonce $published was not taken: $reason"
          return 1
          ;;
      esac
    fi
    published=$((published + 1))
  done
}

# Learn what a transaction may cost: ten times today's price, as a block's price rises by an eighth at most.
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

# Sign the next transfer and keep it, before anybody sees it.
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

# One look at the node; what there was to do is done, or $reason says why not.
work() {
  if [ "$now" -ne "$looked_at" ] && { [ "$first" -lt "$next" ] || [ "$now" -ge "$due" ]; }; then
    settle || return
    looked_at=$now
  fi
  publish || return
  [ -z "$stopping" ] && [ "$now" -ge "$due" ] || return 0
  # Late by less than an interval is made up for; what an outage took is not.
  due=$((due + INTERVAL_SECONDS))
  [ "$due" -ge "$now" ] || due=$((due + ((now - due) / INTERVAL_SECONDS + 1) * INTERVAL_SECONDS))
  if [ $((next - first)) -ge "$pending_limit" ]; then
    [ -n "$full" ] || warn "waiting: $pending_limit transfers are in no block yet"
    full=1
    return
  fi
  full=
  make && publish
}

stopping=
trap 'stopping=1' TERM INT

# What must be right before the first transfer

for tool in cast script timeout; do
  command -v "$tool" >/dev/null || fail "the image has no $tool"
done
is_number "$INTERVAL_SECONDS" || fail "INTERVAL_SECONDS must be a number above 0, not $INTERVAL_SECONDS"
is_number "$AMOUNT_WEI" || [ "$AMOUNT_WEI" = 0 ] || fail "AMOUNT_WEI must be a number, not $AMOUNT_WEI"
for file in privateKey toAddress; do
  [ -s "$SECRETS_DIR/$file" ] || fail "the Secret has no $file"
done
unset key # a variable that came with the environment would be passed on to cast
key=$(cat "$SECRETS_DIR/privateKey")
key=${key#0x}
is_hex "$key" 64 || fail "privateKey in the Secret is no private key: it must be 32 bytes in hex"
to=$(cat "$SECRETS_DIR/toAddress")
case $to in 0x*) ;; *) to= ;; esac
is_hex "${to#0x}" 40 || fail "toAddress in the Secret is no address: it must be 0x and 20 bytes in hex"

umask 077
export ETH_RPC_URL="$RPC_URL" ETH_RPC_TIMEOUT=10
rm -rf "$WORK_DIR/keystore"
mkdir -p "$WORK_DIR/keystore"
case ${to#0x} in
  *[a-f]*[A-F]* | *[A-F]*[a-f]*)
    ask to-check-sum-address "$to" || fail "cast does not run: $reason"
    [ "$answer" = "$to" ] || fail "toAddress in the Secret has a typing error: its letters are not those of EIP-55"
    ;;
esac

# `script` gives cast the terminal it wants to read a key from; what the terminal echoes is thrown away.
# Anyone who can read the keystore could read the key itself: the password only satisfies the format.
printf 'unused' >"$WORK_DIR/password"
printf '%s\n' "$key" |
  CAST_UNSAFE_PASSWORD=unused timeout 60 script -qec \
    "cast wallet import --keystore-dir '$WORK_DIR/keystore' sender --interactive" /dev/null >/dev/null 2>&1 ||
  fail "cast did not take privateKey: it must be a private key of secp256k1"
unset key
export ETH_KEYSTORE="$WORK_DIR/keystore/sender" ETH_PASSWORD="$WORK_DIR/password"
ask wallet address || fail "the keystore made from the private key can't be read: $reason"
from=$answer
transfers=$WORK_DIR/$from
mkdir -p "$transfers"

# The nonces of the kept transfers are first, first + 1, … next - 1; next is 0 where none was ever made.
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
  [ -z "$hash" ] || warn "still in no block: $what: $hash"
  first=$((first + 1))
done
echo "stopped"
