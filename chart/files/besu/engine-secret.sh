#!/bin/sh
# Creates the secret that Besu and the Maru in the same pod share. It is in memory, and only for this pod.
set -eu
: "${SECRET_FILE:?}"

umask 077
od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$SECRET_FILE"
