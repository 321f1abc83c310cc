#!/bin/sh
# Starts the Maru in the pod of a public Besu, with the given arguments for java.
#
# TMP_TO_CLEAR: the folder for temporary files, which outlives the container. JAVA: the program, for tests.
set -eu

[ -z "${TMP_TO_CLEAR:-}" ] || find "$TMP_TO_CLEAR" -mindepth 1 -delete || echo "could not empty $TMP_TO_CLEAR" >&2
exec "${JAVA:-java}" "$@"
