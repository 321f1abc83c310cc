#!/bin/sh
# Starts Maru beside a public Besu, with the arguments given to java.
#
# TMP_TO_CLEAR: the folder for temporary files, which outlives a container. JAVA: the program, for tests.
set -eu

[ -z "${TMP_TO_CLEAR:-}" ] || find "$TMP_TO_CLEAR" -mindepth 1 -delete || echo "some files stay in $TMP_TO_CLEAR" >&2
exec "${JAVA:-java}" "$@"
