"""Recognise files that editors, merge tools and file managers leave beside the file they are of."""

from __future__ import annotations

import re
from collections.abc import Collection

SYSTEM_FILES = (".DS_Store", "Thumbs.db", "desktop.ini")
"""What file managers write into any folder that someone opens; nothing reads them."""

_SUFFIXES = (
    r"~|\.~\d+~"  # vim, emacs: https://www.gnu.org/software/emacs/manual/html_node/emacs/Backup-Names.html
    r"|\.(?:orig|rej|mine|theirs|r\d+)"  # git mergetool, patch, svn
    r"|\.(?:bak|backup|old|save|sav|tmp|copy)\d*"  # sed -i.bak, nano, people
    r"|\.sw[a-p]"  # vim's swap files
)
_WHOLE = (
    rf"(?P<name>.+?)(?:{_SUFFIXES})+",
    r"#(?P<name>.+)#",  # emacs' auto-save
    r"\.#(?P<name>.+)",  # emacs' lock, a link to nothing
)
_INSIDE = (
    # mergetool.keepBackup: https://git-scm.com/docs/git-mergetool
    r"(?P<stem>.+)_(?:BACKUP|BASE|LOCAL|REMOTE)_\d+(?P<end>\.[^.]+)",
    # Finder, Explorer and browsers.
    r"(?P<stem>.+?)(?:(?: -)? copy(?: \d+)?| - Copy(?: \(\d+\))?| ?\(\d+\))(?P<end>\.[^.]+)",
    r"(?P<stem>.+)[.](?:orig|bak|old|backup)(?P<end>\.[^.]+)",
)


def is_of_system(name: str) -> bool:
    """Return whether a file manager wrote the file, or vim, which has another one open."""
    return name in SYSTEM_FILES or bool(re.fullmatch(r"\..+\.sw[a-p]", name))


def original(name: str) -> str | None:
    """Return the name of the file that this is a backup of; None if it is no backup."""
    for pattern in _INSIDE:
        if match := re.fullmatch(pattern, name):
            return match["stem"] + match["end"]
    for pattern in _WHOLE:
        if match := re.fullmatch(pattern, name):
            # vim's swap files and locks begin with a dot.
            return match["name"].removeprefix(".") if ".sw" in name else match["name"]
    return None


def instruction(name: str, others: Collection[str]) -> str | None:
    """Return what to do with a file that nothing reads, if it is a backup; None if it is none.

    others: the names in its folder. A backup is old: it must not replace the file.
    """
    of = original(name)
    if of is None:
        return None
    if of in others:
        return f"remove {name}: it is a backup of {of}, which is there"
    return f"remove {name}; if {of} was lost, restore that from git"
