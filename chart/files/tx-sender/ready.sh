#!/bin/sh
# The readiness of the TX Sender: whether blocks include its transfers. Nothing else reports that.
#
# Not for liveness: if the chain has stopped, the sender is right to wait, and a restart would not help.
# Times are seconds since the machine started, as in tx-sender.sh.
set -eu

: "${INTERVAL_SECONDS:?}" "${WORK_DIR:?}"

# One transfer may be late, and after a failure the sender asks the node again within a minute.
limit=$((2 * INTERVAL_SECONDS + 60))

if ! read -r mined 2>/dev/null <"$WORK_DIR/mined"; then
  echo "no block has included a transfer yet"
  exit 1
fi
read -r now _ </proc/uptime
age=$((${now%%.*} - mined))
if [ "$age" -gt "$limit" ]; then
  echo "no block has included a transfer for ${age}s"
  exit 1
fi
