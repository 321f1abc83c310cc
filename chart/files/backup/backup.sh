#!/bin/sh
# Copies the folders besu and maru of SOURCE_DIR to a new backup below s3:BUCKET/PREFIX/, reads all
# of it back, marks it as complete, and then removes the backups that retention does not keep.
#
# SOURCE_DIR must not change meanwhile: it is a clone of a node's volume, or the volume of a stopped
# node. The files of a running node change during the copy, so the copy would be inconsistent. Files
# go from SOURCE_DIR directly to S3. common.sh describes the parts of a backup.
#
# RETENTION_KEEP    this many of the newest complete backups are kept, whatever their age
# RETENTION_DAYS    others are removed when they are older than this; 0: age removes none
# RETENTION_DAILY   for this many days, the last one of each day (UTC) is kept
# RETENTION_WEEKLY  for this many weeks, the last one of each week (Thursday to Wednesday) is kept.
#                   Unless both are 0, those that neither of the two keeps are removed
# CHAIN             the chain, for restore.sh; may be empty
# Exits with 1 if there is no new backup; earlier ones are then unchanged.
# shellcheck disable=SC1091,SC2154 # common.sh sets work and root
set -eu
. "${0%/*}/common.sh"

leave() {
  rm -rf "$work"
}

first() {
  echo "$1" | head -n 1
}

# ago SECONDS: prints the time that many seconds ago, in the form that is_before compares.
ago() {
  date -u -d "@$(($(date +%s) - $1))" +%Y%m%d%H%M%S
}

# is_before BACKUP TIME: whether a backup is older than a time from ago, and is not the new one.
is_before() {
  [ "$1" != "$time" ] && [ "$(echo "$1" | tr -d TZ)" -lt "$2" ]
}

# period BACKUP SECONDS: prints the number of the day or week since 1970 in which it was made.
period() {
  when=$(echo "$1" | sed 's/^\(....\)\(..\)\(..\)T\(..\)\(..\)\(..\)Z$/\1-\2-\3 \4:\5:\6/')
  seconds=$(date -u -d "$when" +%s) || seconds=0
  echo $((seconds / $2))
}

# is_newest_of_one BACKUP SECONDS COUNT KIND: whether a backup is the newest of its period, and at
# most COUNT periods old. Must be called for all complete backups, the newest first.
is_newest_of_one() {
  at=$(period "$1" "$2")
  grep -qx "$4 $at" "$work/periods" && return 1
  echo "$4 $at" >>"$work/periods"
  ! is_before "$1" "$(ago $(($2 * $3)))"
}

# Whether retention keeps a complete backup.
is_kept() {
  by=age
  if [ $((daily + weekly)) -gt 0 ]; then
    by=
    # Both are called for each backup: otherwise an older one of the same week could count as its newest.
    is_newest_of_one "$1" 86400 "$daily" day && by=day
    is_newest_of_one "$1" 604800 "$weekly" week && by=week
  fi
  [ "$kept" -gt "$keep" ] || return 0
  [ "$days" -eq 0 ] || ! is_before "$1" "$limit" || return 1
  [ -n "$by" ]
}

# Removes a backup. Its mark goes first, so that a partly removed backup does not count as complete.
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
  : >"$work/periods"
  sort -r "$work/complete" >"$work/newest"
  while read -r old; do
    kept=$((kept + 1))
    is_kept "$old" || remove "$old" || return 1
  done <"$work/newest"
  # A younger one may still be uploading.
  limit=$(ago 86400)
  while read -r old; do
    if ! grep -qx "$old" "$work/complete" && is_before "$old" "$limit"; then
      remove "$old" || return 1
    fi
  done <"$work/backups"
  # A killed upload leaves parts of large files: S3 bills them, but no listing shows them. Some servers
  # return an error if there are none.
  run backend cleanup -o max-age=24h "$root/" || told NoSuchUpload
}

need SOURCE_DIR RETENTION_DAYS RETENTION_KEEP
days=$RETENTION_DAYS
keep=$RETENTION_KEEP
daily=${RETENTION_DAILY:-0}
weekly=${RETENTION_WEEKLY:-0}
for number in "$days" "$keep" "$daily" "$weekly"; do
  case $number in
  *[!0-9]*) fail "RETENTION_DAYS, _KEEP, _DAILY and _WEEKLY must be whole numbers, not $number" ;;
  esac
done
begin
time=$(date -u +%Y%m%dT%H%M%SZ)

# RocksDB keeps the name of its manifest in CURRENT, so each of its folders has that file.
[ -f "$SOURCE_DIR/besu/database/CURRENT" ] ||
  fail "$SOURCE_DIR/besu is not a data folder of Besu: it has no file database/CURRENT"
[ -f "$SOURCE_DIR/maru/CURRENT" ] ||
  fail "$SOURCE_DIR/maru is not a data folder of Maru: it has no file CURRENT"
unreadable="$SOURCE_DIR can't be read: do its files belong to the user who runs this?"
(cd "$SOURCE_DIR" && find besu maru -type d) >"$work/found" || fail "$unreadable"
sort "$work/found" >"$work/FOLDERS" || fail "${TMPDIR:-/tmp} is full"
odd=$(find "$SOURCE_DIR/besu" "$SOURCE_DIR/maru" ! -type d ! -type f) || fail "$unreadable"
[ -z "$odd" ] || fail "neither a file nor a folder, so it can't be copied: $(first "$odd")"
odd=$(find "$SOURCE_DIR/besu" "$SOURCE_DIR/maru" -name '*[[:cntrl:]]*') || fail "$unreadable"
[ -z "$odd" ] || fail "a name with a control character can't be listed in $MARK: $(first "$odd")"

list || fail "no backup was made: $(why)"
# A time identifies one backup. The last one may have begun in the same second.
while grep -qx "$time" "$work/backups"; do
  sleep 1
  time=$(date -u +%Y%m%dT%H%M%SZ)
done
new="$root/$time"

# Left out is what belongs to the node and not to the chain: its keys (Besu's key, Maru's
# private-key), the secret of the Engine API, the addresses of its last run, and the version that ran:
# an older Besu does not start with it. RocksDB creates LOCK again when it opens.
set -- \
  --filter '- /besu/key' --filter '- /besu/key.pub' --filter '- /besu/jwt.hex' \
  --filter '- /besu/besu.ports' --filter '- /besu/besu.networks' --filter "- /besu/$VERSION" \
  --filter '- /maru/private-key' --filter '- LOCK' \
  --filter '+ /besu/**' --filter '+ /maru/**' --filter '- *'

# If a file changes between this and the upload, the comparison below finds it.
echo "reading $SOURCE_DIR"
run_long hashsum SHA256 "$SOURCE_DIR" "$@" >"$work/found" || fail "no backup was made: $unreadable"
sed 's|^\(.\{64\}  \)|\1data/|' "$work/found" | LC_ALL=C sort -k 2 >"$work/$MARK"
lists=FOLDERS
if [ -n "${CHAIN-}" ]; then
  echo "$CHAIN" >"$work/CHAIN" || fail "${TMPDIR:-/tmp} is full"
  lists="CHAIN FOLDERS"
fi
# shellcheck disable=SC2086 # two names
(cd "$work" && sha256sum $lists) >>"$work/$MARK" || fail "${TMPDIR:-/tmp} is full"

unfinished="the backup $time is not complete and won't be used; earlier ones are unchanged"
echo "copying $SOURCE_DIR to $new"
run_long copy "$SOURCE_DIR" "$new/data/" "$@" || fail "the upload failed: $(why); $unfinished"
for list in $lists; do
  run copyto "$work/$list" "$new/$list" || fail "the upload failed: $(why); $unfinished"
done
echo "reading $new back"
run_long checksum SHA256 "$work/$MARK" "$new/" --download ||
  fail "what S3 holds is not what $SOURCE_DIR has: $(why); $unfinished"
run copyto "$work/$MARK" "$new/$MARK" || fail "the upload failed: $(why); $unfinished"
unfinished="the backup $time is complete, and older ones were not all removed"
echo "complete: $new"

# An error would start the Job again, and with it another complete backup. That would not help.
retire || echo "warning: $unfinished: $(why); the next backup tries again" >&2
