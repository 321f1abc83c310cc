"""Private files: only their owner can ever read them, and a key is never replaced."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.chain.identity import CHAIN_LABEL
from scripts.core import safe_files
from scripts.core.findings import Finding, Severity, UserError

TOP = ".secrets"

_FOLDER, _FILE = 0o700, 0o600
_WRITABLE = 0o022
"""The mode bits with which others can write."""
_NEW = ".new"
_MOST_BYTES = 64 * 1024


def folder(root: Path, name: str) -> Path:
    """Return the folder of an environment's private files: a folder per Secret, a file per key."""
    return root / TOP / name


def inspect(root: Path, name: str) -> list[Finding]:
    """Restrict the modes of files and folders that others can use, and return warnings for them.

    Raises UserError for links, and for anything that is not a file or a folder.
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
        message = "a symbolic link: private keys could be written outside the repository"
        raise _invalid(file, message, f"replace the link {file} with a folder or file")
    if not stat.S_ISDIR(mode) and (must_be_folder or not stat.S_ISREG(mode)):
        kind = "a folder" if must_be_folder else "a file or a folder"
        raise _invalid(file, f"{file} must be {kind}", f"remove {file}")
    wanted = _FOLDER if stat.S_ISDIR(mode) else _FILE
    if not stat.S_IMODE(mode) & ~wanted:
        return []
    path.chmod(wanted)
    old, new = f"the mode was {stat.S_IMODE(mode):04o}", f"the mode is {wanted:04o} now"
    if stat.S_ISDIR(mode) and not mode & _WRITABLE:
        # Readable files in it have warnings of their own.
        message, fix = f"{old}: other users of this machine could list its files", new
    else:
        message = f"{old}: other users of this machine could read or change the file"
        fix = f"{new}; if this machine had other users, create a new chain"
    return [Finding(file, 0, 0, "insecure-file-mode", message, fix, severity=Severity.WARNING)]


def read(path: Path) -> str | None:
    """Return the text of a private file; None if it does not exist. Call inspect() first.

    Bytes that are not ASCII become other characters, which no valid file has.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(opened, "rb") as file:
        return file.read(_MOST_BYTES).decode("ascii", "replace")


def write(root: Path, name: str, contents: dict[str, str], *, replace: bool = False) -> None:
    """Write files, by path in the environment's folder; they are on the disk when this returns.

    Raises OSError with the file's name, and FileExistsError for an existing file, unless replace.
    """
    top = folder(root, name)
    changed = set[Path]()
    for parent in (top.parent, top):
        _make_folder(parent)
    ignore = top.parent / ".gitignore"
    if not os.path.lexists(ignore):
        put(ignore, "*\n", top / _NEW, _FILE)
    for path, text in contents.items():
        _make_folder((top / path).parent)
        put(top / path, text, top / _NEW, _FILE, replace=replace)
        changed |= {top / path, top, top.parent}
    for parent in {path.parent for path in changed}:
        _sync(parent)


def put(path: Path, text: str, new: Path, mode: int, *, replace: bool = False) -> None:
    """Write a file under a temporary name on the same file system, then rename it.

    new: the temporary name. Call it while the repository is locked. Raises as write does.
    """
    try:
        new.unlink(missing_ok=True)  # an incomplete file of a killed run
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, mode), "w", encoding="utf-8") as file:
            # The owner must be able to read and write it, whatever the umask.
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
    """Return the script that creates an environment's Secrets, each labelled with its chain.

    secrets: Secret → its keys. It checks all Secrets before it creates one, and has no private key
    on a command line.
    """
    checks = "".join(f"check {secret} {' '.join(keys)}\n" for secret, keys in secrets.items())
    return _SCRIPT.format(
        name=name, namespace=namespace, chain=chain, label=CHAIN_LABEL, checks=checks
    )


_SCRIPT = """\
#!/bin/sh
# Written by nox -s network: creates the Secrets of {name} in a cluster of your kubeconfig.
# Existing Secrets do not change.
set -eu
cd "$(dirname "$0")"

namespace={namespace}
chain={chain}
wanted=
wrong=
context=

case ${{1:-}} in
  --context=*) context=${{1#*=}} ;;
  --context) context=${{2:-}} ;;
esac
contexts=$(command kubectl config get-contexts -o name)
if [ -z "$context" ] || ! printf '%s\\n' "$contexts" | grep -qxF -e "$context"; then
  [ -z "$context" ] || echo "kubeconfig has no context $context" >&2
  echo "choose the cluster of {name}: sh $0 --context NAME, with one of:" >&2
  printf '%s\\n' "${{contexts:-none: kubeconfig has no contexts}}" | sed 's/^/  /' >&2
  exit 2
fi

kubectl() {{
  command kubectl --context "$context" "$@"
}}

server=$(kubectl config view --minify -o 'jsonpath={{.clusters[0].cluster.server}}')
echo "context $context, server $server, namespace $namespace"

reject() {{
  echo "$secret: $*" >&2
  wrong=yes
}}

check() {{
  secret=$1
  shift
  existing=$(kubectl -n "$namespace" get secret "$secret" --ignore-not-found \\
    -o 'jsonpath={{.metadata.name}}={{.metadata.labels.{label}}}')
  case $existing in
    "$secret=$chain") echo "$secret: exists already, unchanged" ;;
    "$secret=")
      echo "$secret: exists already, unchanged; it has no label of a chain: check that it is right"
      ;;
    "$secret="*)
      reject "belongs to another chain: if that chain is gone, delete it and run this again:" \\
        "kubectl --context $context -n $namespace delete secret $secret"
      ;;
    *)
      wanted="$wanted $secret"
      for key; do
        [ -s "$secret/$key" ] && continue
        reject "the file $secret/$key is missing or empty: restore it from your backup"
      done
      ;;
  esac
}}

{checks}
if [ "$wrong" ]; then
  echo 'nothing was created' >&2
  exit 1
fi
[ "$wanted" ] || exit 0
kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"
for secret in $wanted; do
  kubectl -n "$namespace" create secret generic "$secret" --from-file="$secret" \\
    --dry-run=client -o yaml |
    kubectl label --local -f - "{label}=$chain" -o yaml |
    kubectl -n "$namespace" create -f - >/dev/null
  echo "$secret: created"
done
"""


def script_of_aws(
    prefix: str, region: str, chain: str, secrets: Mapping[str, Sequence[str]]
) -> str:
    """Return the script that creates an environment's Secrets in AWS Secrets Manager.

    prefix: the path before the Secret's name in each entry. Otherwise it is like script().
    """
    checks = "".join(f"check {secret} {' '.join(keys)}\n" for secret, keys in secrets.items())
    creates = "".join(f"create {secret} {' '.join(keys)}\n" for secret, keys in secrets.items())
    return _SCRIPT_OF_AWS.format(
        prefix=prefix,
        region=region,
        chain=chain,
        label=CHAIN_LABEL,
        checks=checks,
        creates=creates,
    )


_SCRIPT_OF_AWS = """\
#!/bin/sh
# Written by nox -s network: creates the Secrets below {prefix} in AWS Secrets Manager.
# Existing Secrets do not change.
set -eu
cd "$(dirname "$0")"

prefix={prefix}
chain={chain}
wanted=
wrong=
region={region}
export AWS_PAGER=

reject() {{
  echo "$prefix/$secret: $*" >&2
  wrong=yes
}}

check() {{
  secret=$1
  shift
  if answer=$(aws secretsmanager describe-secret --region "$region" --output text \\
    --secret-id "$prefix/$secret" --query "Tags[?Key=='{label}'].Value | [0]" 2>&1); then
    case $answer in
      "$chain") echo "$prefix/$secret: exists already, unchanged" ;;
      None)
        echo "$prefix/$secret: exists already, unchanged; it has no tag of a chain:" \\
          "check that it is right"
        ;;
      *)
        reject "belongs to another chain ($answer): if that chain is gone, delete it and run" \\
          "this again"
        ;;
    esac
    return
  fi
  case $answer in
    *ResourceNotFoundException*) ;;
    *)
      reject "$answer"
      return
      ;;
  esac
  wanted="$wanted $secret "
  for key; do
    [ -s "$secret/$key" ] && continue
    reject "the file $secret/$key is missing or empty: restore it from your backup"
  done
}}

# The keys of a Secret as one JSON object; their values need no escapes.
entry() {{
  separator='{{'
  for key; do
    printf '%s"%s":"%s"' "$separator" "$key" "$(cat "$secret/$key")"
    separator=,
  done
  echo '}}'
}}

create() {{
  secret=$1
  shift
  case $wanted in *" $secret "*) ;; *) return ;; esac
  # Through a pipe, as other users can see command lines.
  entry "$@" | aws secretsmanager create-secret --region "$region" --name "$prefix/$secret" \\
    --tags "Key={label},Value=$chain" --secret-string file:///dev/stdin >/dev/null
  echo "$prefix/$secret: created"
}}

{checks}
if [ "$wrong" ]; then
  echo 'nothing was created' >&2
  exit 1
fi
{creates}"""


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


def _invalid(file: str, message: str, fix: str) -> UserError:
    return UserError(Finding(file, 0, 0, "invalid-secret-file", message, fix))
