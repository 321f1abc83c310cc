#!/bin/sh
# Copies the folders besu and maru of SOURCE_DIR to a new backup below s3:BUCKET/PREFIX/, reads all
# of it back, marks it as complete, and then removes what is older than RETENTION_DAYS.
#
# SOURCE_DIR holds still and is of one moment: a clone of a node's volume, or a stopped node's. A
# copy of the files of a running node is torn. Nothing is staged here: a file goes from SOURCE_DIR
# to S3. common.sh says what a backup looks like.
#
# RETENTION_DAYS  complete backups older than this are removed; 0 keeps them all
# RETENTION_KEEP  but never one of this many newest
# Exit 1 where there is no new backup; earlier ones are then as they were.
# shellcheck disable=SC1091,SC2154 # common.sh sets work and root
set -eu
. "${0%/*}/common.sh"

leave() {
  rm -rf "$work"
}

first() {
  echo "$1" | head -n 1
}

# Prints the time so many seconds ago, to be compared with a backup's.
ago() {
  date -u -d "@$(($(date +%s) - $1))" +%Y%m%d%H%M%S
}

# Whether a backup is older than a time that ago printed, and not the one just made.
is_before() {
  [ "$1" != "$time" ] && [ "$(echo "$1" | tr -d TZ)" -lt "$2" ]
}

# Removes a backup. Without its mark first, for one that is half removed must not look complete.
remove() {
  echo "removing $root/$1"
  if grep -qx "$1" "$work/complete"; then
    run deletefile "$root/$1/$MARK" || return 1
  fi
  run purge "$root/$1/"
}

retire() {
  list || return 1
  kept=0
  limit=$(ago $((days * 86400)))
  sort -r "$work/complete" >"$work/newest"
  while read -r old; do
    kept=$((kept + 1))
    if [ "$days" -gt 0 ] && [ "$kept" -gt "$keep" ] && is_before "$old" "$limit"; then
      remove "$old" || return 1
    fi
  done <"$work/newest"
  # A younger one may still be on its way.
  limit=$(ago 86400)
  while read -r old; do
    if ! grep -qx "$old" "$work/complete" && is_before "$old" "$limit"; then
      remove "$old" || return 1
    fi
  done <"$work/backups"
  # The parts of large files that a killed upload left: S3 shows them to nobody, and bills them.
  # Some servers call it an error where there are none.
  run backend cleanup -o max-age=24h "$root/" || told NoSuchUpload
}

need SOURCE_DIR RETENTION_DAYS RETENTION_KEEP
days=$RETENTION_DAYS
keep=$RETENTION_KEEP
case "$days.$keep" in
*[!0-9.]*) fail "RETENTION_DAYS and RETENTION_KEEP must be whole numbers, not $days and $keep" ;;
esac
begin
time=$(date -u +%Y%m%dT%H%M%SZ)

# RocksDB keeps the name of its manifest in CURRENT; a folder without one is no database.
[ -f "$SOURCE_DIR/besu/database/CURRENT" ] ||
  fail "$SOURCE_DIR/besu is no data folder of Besu: it has no file database/CURRENT"
[ -f "$SOURCE_DIR/maru/CURRENT" ] ||
  fail "$SOURCE_DIR/maru is no data folder of Maru: it has no file CURRENT"
unreadable="$SOURCE_DIR can't be read: are its files those of the user who runs this?"
(cd "$SOURCE_DIR" && find besu maru -type d) >"$work/found" || fail "$unreadable"
sort "$work/found" >"$work/FOLDERS" || fail "${TMPDIR:-/tmp} is full"
odd=$(find "$SOURCE_DIR/besu" "$SOURCE_DIR/maru" ! -type d ! -type f) || fail "$unreadable"
[ -z "$odd" ] || fail "neither a file nor a folder, so it can't be copied: $(first "$odd")"
odd=$(find "$SOURCE_DIR/besu" "$SOURCE_DIR/maru" -name '*[[:cntrl:]]*') || fail "$unreadable"
[ -z "$odd" ] || fail "a name with a control character can't be listed in $MARK: $(first "$odd")"

list || fail "no backup was made: $(why)"
# A time names one backup: the last one may have begun in this very second.
while grep -qx "$time" "$work/backups"; do
  sleep 1
  time=$(date -u +%Y%m%dT%H%M%SZ)
done
new="$root/$time"

# What belongs to one node and not to the chain: its keys (Besu's key, Maru's private-key), the
# Engine API's secret, and the addresses of its last run. RocksDB makes its LOCK when it opens.
set -- \
  --filter '- /besu/key' --filter '- /besu/key.pub' --filter '- /besu/jwt.hex' \
  --filter '- /besu/besu.ports' --filter '- /besu/besu.networks' \
  --filter '- /maru/private-key' --filter '- LOCK' \
  --filter '+ /besu/**' --filter '+ /maru/**' --filter '- *'

# A file that changes between the two readings is found when the copy is compared.
echo "reading $SOURCE_DIR"
run_long hashsum SHA256 "$SOURCE_DIR" "$@" >"$work/found" || fail "no backup was made: $unreadable"
sed 's|^\(.\{64\}  \)|\1data/|' "$work/found" | LC_ALL=C sort -k 2 >"$work/$MARK"
(cd "$work" && sha256sum FOLDERS) >>"$work/$MARK" || fail "${TMPDIR:-/tmp} is full"

unfinished="the backup $time is not complete and won't be used; earlier ones are as they were"
echo "copying $SOURCE_DIR to $new"
run_long copy "$SOURCE_DIR" "$new/data/" "$@" || fail "the upload failed: $(why); $unfinished"
run copyto "$work/FOLDERS" "$new/FOLDERS" || fail "the upload failed: $(why); $unfinished"
echo "reading $new back"
run_long checksum SHA256 "$work/$MARK" "$new/" --download ||
  fail "what S3 holds is not what $SOURCE_DIR has: $(why); $unfinished"
run copyto "$work/$MARK" "$new/$MARK" || fail "the upload failed: $(why); $unfinished"
unfinished="the backup $time is complete, and older ones were not all removed"
echo "complete: $new"

# An error would make the Job start again, with another whole backup, which helps nothing here.
retire || echo "warning: $unfinished: $(why); the next backup tries again" >&2
