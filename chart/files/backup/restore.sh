#!/bin/sh
# Restores the folders PARTS (besu, maru) of TARGET_DIR, the top of a node's volume, from the backup
# s3:BUCKET/PREFIX/BACKUP. common.sh describes the parts of a backup.
#
# BACKUP  a backup's time; or latest: the newest complete one of this chain. If there is none, nothing
#         is restored, and the node starts from block 0
# CHAIN   this chain, as in the file CHAIN of a backup; if it is empty, backups of any chain count
# IF_NONE for latest: if it is fail, a missing backup is an error
#
# It runs before each start of the node, so it does nothing if there is already data. It may be killed
# at any time: it works in TARGET_DIR/.restore-<time>, whose file "verified" means that all files are
# present, correct and on the disk. Without that file, a later run deletes the folder. With it, the
# parts only have to be moved, each by one rename, and a later run continues with those that are left.
# Exits with 1 if the node must not start; the parts are then still empty.
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

# Prints those of PARTS that exist in the folder and are not empty.
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

# Whether the file CHAIN of a backup names this chain. The file may be missing.
is_of_this_chain() {
  [ -z "${CHAIN-}" ] || [ "$(cat "$1" 2>/dev/null)" = "$CHAIN" ]
}

# Sets BACKUP to the newest complete backup of this chain; empty if there is none.
find_latest() {
  BACKUP=
  mkdir "$work/chains"
  if [ -n "${CHAIN-}" ] && [ -s "$work/complete" ]; then
    run copy "$root/" "$work/chains/" --include '/*/CHAIN' --max-depth 2 || return 1
  fi
  while read -r made; do
    ! is_of_this_chain "$work/chains/$made/CHAIN" || BACKUP=$made
  done <"$work/complete"
}

# Ends the script if latest finds no backup.
begin_without() {
  told="no complete backup of this chain in $root"
  [ "${IF_NONE-}" != fail ] || fail "there is $told"
  echo "nothing to restore: there is $told yet, so the node starts from block 0"
  exit 0
}

discard() {
  # Its mark goes first, so that a partly removed folder does not count as verified.
  rm -f "$1/verified"
  rm -rf "$1"
}

place() {
  for part in $(waiting "$stage"); do
    # Fails if it is not empty.
    [ ! -e "$TARGET_DIR/$part" ] || rmdir "$TARGET_DIR/$part" ||
      fail "$TARGET_DIR/$part got data during the restore of $BACKUP: delete the volume"
    mv "$stage/data/$part" "$TARGET_DIR/$part" || fail "$TARGET_DIR/$part can't be created"
  done
  sync
  discard "$stage"
  echo "restored: $PARTS of $root/$BACKUP"
}

need TARGET_DIR PARTS BACKUP
[ "$BACKUP" = latest ] || expr "$BACKUP" : "$TIME\$" >/dev/null ||
  fail "BACKUP must be latest, or a time like 20261125T060000Z: it is $BACKUP"
for part in $PARTS; do
  case $part in
  besu | maru) ;;
  *) fail "PARTS can be besu and maru: $part is neither" ;;
  esac
done
[ -d "$TARGET_DIR" ] || fail "there is no folder $TARGET_DIR"
begin

for other in "$TARGET_DIR"/.restore-*; do
  [ -d "$other" ] || continue
  if [ ! -e "$other/verified" ] || [ -z "$(waiting "$other")" ]; then
    discard "$other"
  elif [ "$other" = "$TARGET_DIR/.restore-$BACKUP" ] ||
    { [ "$BACKUP" = latest ] && is_of_this_chain "$other/CHAIN"; }; then
    BACKUP=${other##*/.restore-}
    echo "continuing the restore of $BACKUP"
    stage=$other
    place
    exit 0
  elif [ -z "$(filled "$TARGET_DIR")" ]; then
    discard "$other"
  else
    fail "$TARGET_DIR is partly restored from ${other##*-}: set BACKUP to that, or delete the volume"
  fi
done

present=$(filled "$TARGET_DIR")
if [ -n "$present" ]; then
  echo "nothing to restore: there is already data in $TARGET_DIR: $present"
  exit 0
fi

list || fail "nothing was restored: $(why)"
if [ "$BACKUP" = latest ]; then
  find_latest || fail "nothing was restored: $(why)"
  [ -n "$BACKUP" ] || begin_without
fi
if ! grep -qx "$BACKUP" "$work/complete"; then
  there=$(tr '\n' ' ' <"$work/complete")
  there=${there% }
  if grep -qx "$BACKUP" "$work/backups"; then
    fail "the backup $BACKUP is not complete: its upload never ended. Complete backups: ${there:-none}"
  fi
  fail "there is no complete backup $BACKUP in $root. Complete backups: ${there:-none}"
fi

from="$root/$BACKUP"
stage=$TARGET_DIR/.restore-$BACKUP
unfinished="nothing was restored, and $TARGET_DIR is unchanged"
full="$TARGET_DIR can't be written, or is full; $unfinished"
mkdir "$stage" || fail "$full"

# Only these parts and the two lists. Older backups also have the version that the copied node ran:
# it is left out, because an older Besu would not start with it.
set -- --filter '+ /FOLDERS' --filter '+ /CHAIN' --filter "- /data/besu/$VERSION"
run copy "$from/" "$stage/" "$@" --filter "+ /$MARK" --filter '- *' ||
  fail "the download failed: $(why); $unfinished"
damaged="$MARK of $BACKUP is damaged"
sums="$stage/$MARK"
if [ ! -f "$sums" ] || grep -Evq '^[0-9a-f]{64}  (CHAIN|FOLDERS|data/(besu|maru)/.+)$' "$sums"; then
  fail "$damaged; $unfinished"
fi
grep '^.\{64\}  FOLDERS$' "$sums" >"$work/sums" || fail "$damaged; $unfinished"
grep '^.\{64\}  CHAIN$' "$sums" >>"$work/sums" || [ ! -e "$stage/CHAIN" ] ||
  fail "$damaged; $unfinished"
: >"$work/sizes"
for part in $PARTS; do
  grep "^.\{64\}  data/$part/" "$sums" | grep -vx ".\{66\}data/besu/$VERSION" >>"$work/sums" ||
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

is_of_this_chain "$stage/CHAIN" || [ ! -e "$stage/CHAIN" ] ||
  echo "warning: $BACKUP is of another chain: nodes with another genesis do not start with it" >&2

sync
: >"$stage/verified" || fail "$full"
sync
place
