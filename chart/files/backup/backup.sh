#!/bin/sh
# Copies SOURCE_DIR to s3:BUCKET/PREFIX/<time of start, UTC>/data and checks the copy against it.
#
# SOURCE_DIR holds still: a clone of a node's volume, or the volume of a stopped node. A copy of the files of a running
# node is torn. A backup is whole when it has a file "complete" beside "data"; one without it was interrupted.
set -eu

: "${SOURCE_DIR:?}" "${BUCKET:?}" "${PREFIX:?}"
backup="s3:$BUCKET/$PREFIX/$(date -u +%Y%m%dT%H%M%SZ)"

fail() {
  echo "error: $*" >&2
  exit 1
}

[ -d "$SOURCE_DIR/database" ] || fail "$SOURCE_DIR has no folder database: this is no Besu data folder"

# A private key, and the Engine API's secret, don't leave the cluster with the data.
# lost+found belongs to root on every volume's file system.
set -- --exclude '/key' --exclude '/key.pub' --exclude '/jwt.hex' --exclude '/lost+found/**'

# The slash after data: without it rclone first asks whether data is a file, and takes "access denied" for yes.
echo "copying $SOURCE_DIR to $backup"
rclone copy "$SOURCE_DIR" "$backup/data/" "$@" --s3-no-check-bucket --stats 1m --stats-one-line --stats-log-level NOTICE ||
  fail "the copy to $backup is incomplete: it has no file complete and is no backup"
rclone check "$SOURCE_DIR" "$backup/data/" "$@" --one-way ||
  fail "$backup differs from $SOURCE_DIR: it has no file complete and is no backup"
du -sk "$SOURCE_DIR" | rclone rcat "$backup/complete" --s3-no-check-bucket ||
  fail "$backup could not be marked as complete"
echo "complete: $backup"
