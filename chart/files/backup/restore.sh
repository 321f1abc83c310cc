#!/bin/sh
# Restores the folders PARTS (besu, maru) of TARGET_DIR, the top of a node's volume, from the backup
# s3:BUCKET/PREFIX/BACKUP. common.sh says what a backup looks like.
#
# Runs before each start of the node, so it does nothing where there is data already, and it may be
# killed anywhere: it works in TARGET_DIR/.restore-<time>, where the file "verified" says that all
# files are there, right, and on the disk. Before it exists, that folder is thrown away; from then
# on its parts are only moved, each by one rename, and a later run goes on with those still in it.
# Exit 1 where the node must not start; the parts are then as empty as they were.
# shellcheck disable=SC1091,SC2154 # common.sh sets work and root
set -eu
. "${0%/*}/common.sh"
stage=

leave() {
  [ -e "$stage/verified" ] || [ -z "$stage" ] || rm -rf "$stage"
  rm -rf "$work"
}

is_empty() {
  [ -z "$(ls -A "$1" 2>/dev/null)" ]
}

# Prints those of PARTS that are in the folder, and not empty.
filled() {
  for part in $PARTS; do
    is_empty "$1/$part" || printf '%s ' "$part"
  done
}

# Prints those of PARTS that still have to be moved out of a folder .restore-<time>.
waiting() {
  for part in $PARTS; do
    [ ! -d "$1/data/$part" ] || printf '%s ' "$part"
  done
}

discard() {
  # Without its mark first: what is half removed is not verified.
  rm -f "$1/verified"
  rm -rf "$1"
}

place() {
  for part in $(waiting "$stage"); do
    # Fails if it isn't empty.
    [ ! -e "$TARGET_DIR/$part" ] || rmdir "$TARGET_DIR/$part" ||
      fail "$TARGET_DIR/$part got data during the restore of $BACKUP: delete the volume"
    mv "$stage/data/$part" "$TARGET_DIR/$part" || fail "$TARGET_DIR/$part can't be put in place"
  done
  sync
  discard "$stage"
  echo "restored: $PARTS of $root/$BACKUP"
}

need TARGET_DIR PARTS BACKUP
expr "$BACKUP" : "$TIME\$" >/dev/null ||
  fail "BACKUP must be a time like 20261125T060000Z: it is $BACKUP"
for part in $PARTS; do
  case $part in
  besu | maru) ;;
  *) fail "PARTS can be besu and maru: $part is neither" ;;
  esac
done
[ -d "$TARGET_DIR" ] || fail "there is no folder $TARGET_DIR"
begin
from="$root/$BACKUP"

for other in "$TARGET_DIR"/.restore-*; do
  [ -d "$other" ] || continue
  if [ ! -e "$other/verified" ] || [ -z "$(waiting "$other")" ]; then
    discard "$other"
  elif [ "$other" = "$TARGET_DIR/.restore-$BACKUP" ]; then
    echo "going on with the restore of $BACKUP"
    stage=$other
    place
    exit 0
  elif [ -z "$(filled "$TARGET_DIR")" ]; then
    discard "$other"
  else
    fail "$TARGET_DIR is half restored from ${other##*-}: name that one, or delete the volume"
  fi
done

present=$(filled "$TARGET_DIR")
if [ -n "$present" ]; then
  echo "nothing to restore: there is data already in $TARGET_DIR: $present"
  exit 0
fi

list || fail "nothing was restored: $(why)"
if ! grep -qx "$BACKUP" "$work/complete"; then
  there=$(tr '\n' ' ' <"$work/complete")
  there=${there% }
  if grep -qx "$BACKUP" "$work/backups"; then
    fail "the backup $BACKUP is not complete: its upload never ended. Complete are: ${there:-none}"
  fi
  fail "there is no backup $BACKUP in $root. There are: ${there:-none}"
fi

stage=$TARGET_DIR/.restore-$BACKUP
unfinished="nothing was restored, and $TARGET_DIR is as it was"
full="$TARGET_DIR can't be written, or is full; $unfinished"
mkdir "$stage" || fail "$full"

# Only these parts, and the list of folders.
set -- --filter '+ /FOLDERS'
run copy "$from/" "$stage/" "$@" --filter "+ /$MARK" --filter '- *' ||
  fail "the download failed: $(why); $unfinished"
damaged="$MARK of $BACKUP is damaged"
sums="$stage/$MARK"
if [ ! -f "$sums" ] || grep -Evq '^[0-9a-f]{64}  (FOLDERS|data/(besu|maru)/.+)$' "$sums"; then
  fail "$damaged; $unfinished"
fi
grep '^.\{64\}  FOLDERS$' "$sums" >"$work/sums" || fail "$damaged; $unfinished"
: >"$work/sizes"
for part in $PARTS; do
  grep "^.\{64\}  data/$part/" "$sums" >>"$work/sums" ||
    fail "the backup $BACKUP has no $part; $unfinished"
  set -- "$@" --filter "+ /data/$part/**"
done
set -- "$@" --filter '- *'

run lsf -R --files-only --format s "$from/" "$@" >"$work/sizes" ||
  fail "the backup can't be listed: $(why); $unfinished"
needed=$(awk '{ sum += $1 } END { printf "%.0f", sum / 1024 }' "$work/sizes")
free=$(df -Pk "$TARGET_DIR" | awk 'NR == 2 { print $4 }')
[ "$needed" -le "$free" ] ||
  fail "$TARGET_DIR is too small: the backup has $needed KiB, and $free are free; $unfinished"

echo "downloading $from to $stage"
run_long copy "$from/" "$stage/" "$@" || fail "the download failed: $(why); $unfinished"
run_long checksum SHA256 "$work/sums" "$stage" "$@" ||
  fail "the backup $BACKUP is damaged: $(why); $unfinished"

if grep -Eq '(^|/)\.\.(/|$)' "$stage/FOLDERS"; then
  fail "FOLDERS of $BACKUP is damaged; $unfinished"
fi
while IFS= read -r folder; do
  for part in $PARTS; do
    case $folder in
    "$part" | "$part"/*) mkdir -p "$stage/data/$folder" || fail "$full" ;;
    esac
  done
done <"$stage/FOLDERS"

sync
: >"$stage/verified" || fail "$full"
sync
place
