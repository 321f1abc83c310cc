"""What finds mutants beside validate: gitleaks, and the API server's own code. CI runs both."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.checks import secret_scan
from scripts.core import yamlio
from scripts.kubernetes import api_validation
from scripts.rules.snapshot import Objects
from tests.checks.file_mutants import FileMutant
from tests.checks.mutants import Mutant
from tests.conftest import EXAMPLE
from tests.rules import examples


def found(mutants: Sequence[Mutant | FileMutant]) -> set[str]:
    """Return the names of the mutants that one of them finds."""
    of_objects = [one for one in mutants if isinstance(one, Mutant)]
    return _by_admission(of_objects) | _by_gitleaks(mutants)


def _by_admission(mutants: Sequence[Mutant]) -> set[str]:
    """Return the names of the mutants that the API server rejects, also as a change."""
    rejected = set[str]()
    for version in {one.objects.kubernetes_version for one in mutants}:
        asked, names = list[api_validation.Change](), dict[int, str]()
        for mutant in mutants:
            if mutant.objects.kubernetes_version == version:
                old = {each.identity: each for each in _unbroken(mutant).manifests}
                asked += ((each, old.get(each.identity)) for each in mutant.changed)
                names |= {id(each): mutant.name for each in mutant.changed}
        answer = api_validation.ask(asked, api_validation.nearest(version))
        rejected |= {names[id(each.manifest)] for each in answer.rejections}
    return rejected


def _unbroken(mutant: Mutant) -> Objects:
    return examples.objects(mutant.objects.name)


def _by_gitleaks(mutants: Sequence[Mutant | FileMutant]) -> set[str]:
    """Return the names of the mutants with a secret that the unbroken files do not have."""
    with tempfile.TemporaryDirectory() as temporary:
        for number, mutant in enumerate(mutants):
            for part, texts in (("old", _old(mutant)), ("new", _new(mutant))):
                target = Path(temporary, part, str(number), _file(mutant))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text("\n".join(texts), "utf-8")
        secrets = secret_scan.search(Path(temporary))
    there = Counter((*each.file.split("/")[:2], each.check) for each in secrets)
    more = {
        number
        for part, number, check in there
        if there["new", number, check] > there["old", number, check]
    }
    return {mutant.name for number, mutant in enumerate(mutants) if str(number) in more}


def _file(mutant: Mutant | FileMutant) -> str:
    return mutant.file if isinstance(mutant, FileMutant) else "objects.yaml"


def _new(mutant: Mutant | FileMutant) -> Iterator[str]:
    if isinstance(mutant, FileMutant):
        yield mutant.text
    else:
        yield from (yamlio.dump(each.object) for each in mutant.changed)


def _old(mutant: Mutant | FileMutant) -> Iterator[str]:
    if isinstance(mutant, FileMutant):
        yield (EXAMPLE / mutant.file).read_text("utf-8")
    else:
        changed = {each.label for each in mutant.changed}
        unbroken = _unbroken(mutant).manifests
        yield from (yamlio.dump(each.object) for each in unbroken if each.label in changed)
