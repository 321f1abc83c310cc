# shellcheck shell=sh
# Shared by backup.sh and restore.sh: names of backups, calls of rclone, and reasons of failures.
#
# Below s3:BUCKET/PREFIX/ each backup is a folder named after its time (UTC):
#   <time>/data/besu/..., <time>/data/maru/...   the files
#   <time>/FOLDERS      every folder below data, one per line: S3 has no folders, but empty ones matter
#   <time>/CHAIN        the chain, if it is known: a line that only its first block determines
#   <time>/SHA256SUMS   the sum of every file above, as sha256sum writes it; uploaded last, it marks
#                       the backup as complete
# The remote s3 is set up by RCLONE_CONFIG_S3_* and AWS_*, so no secret is on a command line.

MARK=SHA256SUMS
# shellcheck disable=SC2034 # both scripts leave out this file, in which Besu records its version
VERSION=VERSION_METADATA.json
TIME='[0-9]\{8\}T[0-9]\{6\}Z'
child=

fail() {
  echo "error: $*" >&2
  exit 1
}

need() {
  for name; do
    eval "[ -n \"\${$name-}\" ]" || fail "$name is not set"
  done
}

# Creates $work, a folder for small files, and registers the script's function leave for its exit.
begin() {
  need BUCKET PREFIX
  root="s3:$BUCKET/$PREFIX"
  work=$(mktemp -d) || fail "no folder can be made in ${TMPDIR:-/tmp}"
  mkfifo "$work/pipe" || fail "nothing can be written to ${TMPDIR:-/tmp}"
  : >"$work/log"
  trap leave EXIT
  trap stop HUP INT TERM
  # All settings are in the environment. Otherwise rclone logs at each call that its file is missing.
  export RCLONE_CONFIG=/dev/null
  # These credentials can neither look up nor create buckets.
  export RCLONE_S3_NO_CHECK_BUCKET=true
  # SHA256SUMS is stronger than MD5 sums, for which rclone would read each large file once more.
  export RCLONE_S3_DISABLE_CHECKSUM=true
  # Names that differ only in the form of an accent are different files.
  export RCLONE_NO_UNICODE_NORMALIZATION=true
  # 4 transfers x 4 parts x 16 MiB are in memory at a time. rclone uses larger parts for files that
  # would have more than the 10000 that S3 allows.
  export RCLONE_S3_CHUNK_SIZE="${RCLONE_S3_CHUNK_SIZE:-16Mi}"
}

# A shell that runs as process 1 would ignore the signal while it waits for a foreground program.
stop() {
  trap - HUP INT TERM
  if [ -n "$child" ]; then
    kill "$child" 2>/dev/null || true
    wait "$child" || true
  fi
  fail "interrupted by a signal; ${unfinished-nothing was changed}"
}

# Runs rclone and returns its exit code. Its output goes to stderr and to $work/log.
run() {
  tee "$work/log" <"$work/pipe" >&2 &
  tee=$!
  rclone "$@" 2>"$work/pipe" &
  child=$!
  code=0
  wait "$child" || code=$?
  child=
  wait "$tee" || true
  return "$code"
}

# The same for what may take hours: it logs its progress every minute.
run_long() {
  run "$@" --stats 1m --stats-one-line --stats-log-level NOTICE
}

told() {
  grep -Eq "$1" "$work/log"
}

# Prints why the last rclone failed. The first pattern that matches decides.
why() {
  at=${RCLONE_CONFIG_S3_ENDPOINT:-AWS}
  if told 'get credentials|ExpiredToken|InvalidToken|InvalidIdentityToken'; then
    echo "there are no valid credentials for S3 at $at"
  elif told 'InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|StatusCode: 40[13]'; then
    echo "S3 at $at rejects the credentials: they are wrong, or lack a permission"
  elif told 'NoSuchBucket|directory not found'; then
    echo "the bucket $BUCKET does not exist at $at"
  elif told 'no space left on device|file too (large|big)|disk quota exceeded'; then
    echo "the disk is full"
  elif told 'StorageFull|InsufficientStorage|QuotaExceeded|StatusCode: 507'; then
    echo "the disk of S3 at $at is full"
  elif told 'StatusCode: 500|NoSuchUpload|InvalidPart'; then
    echo "S3 at $at has an internal error; most often its disk is full"
  elif told 'dial tcp|no such host|TLS handshake|x509|i/o timeout'; then
    echo "S3 at $at can't be reached"
  elif told 'connection reset|broken pipe|EOF|StatusCode: 0,'; then
    echo "the connection to S3 at $at was cut"
  elif told 'sum not found|files differ|file not in '; then
    sed -n 's/^.* ERROR : \(.*\): sum not found$/\1 was added/p
      s/^.* ERROR : \(.*\): files differ$/\1 has changed/p
      s/^.* ERROR : \(.*\): file not in .*$/\1 is missing/p' "$work/log" | sort -u |
      awk 'NR <= 3 { line = line (NR > 1 ? ", " : "") $0 }
        END { print line (NR > 3 ? " and " NR - 3 " more" : "") }'
  else
    echo "see rclone's last line above"
  fi
}

# Writes the times of all backups to $work/backups, of the complete ones to $work/complete,
# oldest first. It runs first and shows whether S3 works at all, so it has few retries.
list() {
  set -- --low-level-retries 2 --retries 1
  run lsf "$@" --dirs-only "$root/" >"$work/found" || return 1
  sed -n "s|^\($TIME\)/\$|\1|p" "$work/found" | sort >"$work/backups"
  run lsf "$@" --files-only --max-depth 2 --include "/*/$MARK" "$root/" >"$work/found" || return 1
  sed -n "s|^\($TIME\)/$MARK\$|\1|p" "$work/found" | sort >"$work/complete"
}
