"""Private files: their owner's alone from the first moment on, and a key is never replaced."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.core import safe_files
from scripts.core.findings import Finding, Severity, UserError

TOP = ".secrets"

_FOLDER, _FILE = 0o700, 0o600
_WRITABLE = 0o022
"""By others than the owner."""
_NEW = ".new"
_MOST_BYTES = 64 * 1024


def folder(root: Path, name: str) -> Path:
    """Return where an environment's private files stand: one folder a Secret, one file a key."""
    return root / TOP / name


def inspect(root: Path, name: str) -> list[Finding]:
    """Return a warning for each file and folder that others could use, and close it to them.

    Raises UserError for a link, or what is neither file nor folder, anywhere among them.
    """
    top = folder(root, name)
    warnings = []
    for path in (top.parent, top):
        if os.path.lexists(path):
            warnings += _inspect(path, root, must_be_folder=True)
    for path in sorted(top.rglob("*")):
        warnings += _inspect(path, root)
    return warnings


def _inspect(path: Path, root: Path, *, must_be_folder: bool = False) -> list[Finding]:
    mode = path.lstat().st_mode
    file = safe_files.name(path, root)
    if stat.S_ISLNK(mode):
        message = "this is a symbolic link: what is private could end up anywhere"
        raise _refused(file, message, "put the folder or file itself here")
    if not stat.S_ISDIR(mode) and (must_be_folder or not stat.S_ISREG(mode)):
        message = "this is no folder" if must_be_folder else "this is neither file nor folder"
        raise _refused(file, message, "remove it")
    wanted = _FOLDER if stat.S_ISDIR(mode) else _FILE
    if not stat.S_IMODE(mode) & ~wanted:
        return []
    path.chmod(wanted)
    was, now = f"its mode was {stat.S_IMODE(mode):04o}", f"its mode is {wanted:04o} now"
    if stat.S_ISDIR(mode) and not mode & _WRITABLE:
        # A file in it that they could read has a warning of its own.
        message, fix = f"{was}: others on this machine could see which files are in it", now
    else:
        message = f"{was}: others on this machine could use it"
        fix = f"{now}; where others were on this machine, make a new chain"
    return [Finding(file, 0, 0, "open-to-others", message, fix, severity=Severity.WARNING)]


def read(path: Path) -> str | None:
    """Return what a private file holds, None where it isn't there; inspect() comes first.

    What is no text comes back as other characters, for whoever reads it to refuse.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(opened, "rb") as file:
        return file.read(_MOST_BYTES).decode("ascii", "replace")


def write(root: Path, name: str, contents: dict[str, str], *, replace: bool = False) -> None:
    """Write files, by path under the environment's folder; on disk, whole, when this returns.

    Raises OSError with the file's name where the system refuses, and FileExistsError for a file
    that is there, unless it may be replaced.
    """
    top = folder(root, name)
    changed = set[Path]()
    for made in (top.parent, top):
        _make_folder(made)
    ignore = top.parent / ".gitignore"
    if not os.path.lexists(ignore):
        put(ignore, "*\n", top / _NEW, _FILE)
    for path, text in contents.items():
        _make_folder((top / path).parent)
        put(top / path, text, top / _NEW, _FILE, replace=replace)
        changed |= {top / path, top, top.parent}
    for made in {path.parent for path in changed}:
        _sync(made)


def put(path: Path, text: str, new: Path, mode: int, *, replace: bool = False) -> None:
    """Write a file under another name of the same file system, and then give it its own.

    Call it while the repository is locked. Raises as write does.
    """
    try:
        new.unlink(missing_ok=True)  # half of what a killed run was writing
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, mode), "w", encoding="utf-8") as file:
            # Its owner can read and write it, whatever the umask took away.
            os.fchmod(file.fileno(), stat.S_IMODE(os.fstat(file.fileno()).st_mode) | _FILE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(new, path)
        else:
            os.link(new, path)
            new.unlink()
    except OSError as error:
        new.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def script(name: str, namespace: str, chain: str, secrets: Mapping[str, Sequence[str]]) -> str:
    """Return the commands that make an environment's Secrets, each labelled with its chain.

    secrets: Secret → its keys. All is looked at before anything is made, and no secret is on a
    command line.
    """
    looks = "".join(f"look {secret} {' '.join(keys)}\n" for secret, keys in secrets.items())
    return _SCRIPT.format(
        name=name, namespace=namespace, chain=chain, label="linea-stack/chain", looks=looks
    )


_SCRIPT = """\
#!/bin/sh
# Written by nox -s network: makes the Secrets of {name} where kubectl points at.
# What is there already stays as it is.
set -eu
cd "$(dirname "$0")"

namespace={namespace}
chain={chain}
wanted=
wrong=

refuse() {{
  echo "$secret: $*" >&2
  wrong=yes
}}

look() {{
  secret=$1
  shift
  there=$(kubectl -n "$namespace" get secret "$secret" --ignore-not-found \\
    -o 'jsonpath={{.metadata.name}}={{.metadata.labels.{label}}}')
  case $there in
    "$secret=$chain") echo "$secret: is there already, left as it is" ;;
    "$secret=")
      echo "$secret: is there already, left as it is; it has no label of a chain: is it this one's?"
      ;;
    "$secret="*)
      refuse "belongs to another chain: where that one is gone, delete it and run this again:" \\
        "kubectl -n $namespace delete secret $secret"
      ;;
    *)
      wanted="$wanted $secret"
      for key; do
        [ -s "$secret/$key" ] && continue
        refuse "the file $secret/$key is missing or empty: put it back from where it is kept"
      done
      ;;
  esac
}}

{looks}
if [ "$wrong" ]; then
  echo 'nothing was made' >&2
  exit 1
fi
[ "$wanted" ] || exit 0
kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"
for secret in $wanted; do
  kubectl -n "$namespace" create secret generic "$secret" --from-file="$secret" \\
    --dry-run=client -o yaml |
    kubectl label --local -f - "{label}=$chain" -o yaml |
    kubectl -n "$namespace" create -f - >/dev/null
  echo "$secret: made"
done
"""


def script_of_aws(
    prefix: str, region: str, chain: str, secrets: Mapping[str, Sequence[str]]
) -> str:
    """Return the commands that put an environment's Secrets into AWS Secrets Manager.

    prefix: the path that the entries have before the Secret's name. Else as script() does.
    """
    looks = "".join(f"look {secret} {' '.join(keys)}\n" for secret, keys in secrets.items())
    makes = "".join(f"make {secret} {' '.join(keys)}\n" for secret, keys in secrets.items())
    return _SCRIPT_OF_AWS.format(
        prefix=prefix,
        region=region,
        chain=chain,
        label="linea-stack/chain",
        looks=looks,
        makes=makes,
    )


_SCRIPT_OF_AWS = """\
#!/bin/sh
# Written by nox -s network: puts the Secrets under {prefix} into AWS Secrets Manager.
# What is there already stays as it is.
set -eu
cd "$(dirname "$0")"

prefix={prefix}
chain={chain}
wanted=
wrong=
region={region}
export AWS_PAGER=

refuse() {{
  echo "$prefix/$secret: $*" >&2
  wrong=yes
}}

look() {{
  secret=$1
  shift
  if told=$(aws secretsmanager describe-secret --region "$region" --output text \\
    --secret-id "$prefix/$secret" --query "Tags[?Key=='{label}'].Value | [0]" 2>&1); then
    case $told in
      "$chain") echo "$prefix/$secret: is there already, left as it is" ;;
      None)
        echo "$prefix/$secret: is there already, left as it is; it has no tag of a chain:" \\
          "is it this one's?"
        ;;
      *)
        refuse "belongs to another chain ($told): where that one is gone, delete it and run" \\
          "this again"
        ;;
    esac
    return
  fi
  case $told in
    *ResourceNotFoundException*) ;;
    *)
      refuse "$told"
      return
      ;;
  esac
  wanted="$wanted $secret "
  for key; do
    [ -s "$secret/$key" ] && continue
    refuse "the file $secret/$key is missing or empty: put it back from where it is kept"
  done
}}

# The keys of a Secret as one JSON object; what they hold has no character that JSON would escape.
entry() {{
  separator='{{'
  for key; do
    printf '%s"%s":"%s"' "$separator" "$key" "$(cat "$secret/$key")"
    separator=,
  done
  echo '}}'
}}

make() {{
  secret=$1
  shift
  case $wanted in *" $secret "*) ;; *) return ;; esac
  # Through a pipe: a command line is for everybody to see.
  entry "$@" | aws secretsmanager create-secret --region "$region" --name "$prefix/$secret" \\
    --tags "Key={label},Value=$chain" --secret-string file:///dev/stdin >/dev/null
  echo "$prefix/$secret: made"
}}

{looks}
if [ "$wrong" ]; then
  echo 'nothing was made' >&2
  exit 1
fi
{makes}"""


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(_FOLDER)
    except FileExistsError:
        return
    path.chmod(_FOLDER)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _refused(file: str, message: str, fix: str) -> UserError:
    return UserError(Finding(file, 0, 0, "no-private-file", message, fix))
