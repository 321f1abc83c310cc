#!/bin/sh
# Whether transfers come into blocks: the readiness of the TX Sender, which nothing else reports.
#
# For readiness only: a sender that waits for a chain that stands still does right, and no restart would help it.
# Times are seconds since the machine started, as in tx-sender.sh.
set -eu

: "${INTERVAL_SECONDS:?}" "${WORK_DIR:?}"

# One transfer may be late, and a node that was away is asked again a minute later.
limit=$((2 * INTERVAL_SECONDS + 60))

if ! read -r mined 2>/dev/null <"$WORK_DIR/mined"; then
  echo "no transfer has come into a block yet"
  exit 1
fi
read -r now _ </proc/uptime
age=$((${now%%.*} - mined))
if [ "$age" -gt "$limit" ]; then
  echo "no transfer has come into a block for ${age}s"
  exit 1
fi
