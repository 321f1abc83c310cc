#!/bin/sh
# Makes the secret that Besu and the Maru beside it share, in memory and for this pod alone.
set -eu
: "${SECRET_FILE:?}"

umask 077
od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$SECRET_FILE"
