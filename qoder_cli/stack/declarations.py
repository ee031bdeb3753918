"""What the files of a stack declare: checked, with what each refers to, in an order in which it can be made."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import IO, Any

from qoder_cli.files.documents import STDIN, Document, documents_of
from qoder_cli.files.filling import Filler
from qoder_cli.files.tree import BadFiles, Problem
from qoder_cli.nouns.declared import Declaration, Place, Reference
from qoder_cli.nouns.declaring import declare, plain_secrets
from qoder_cli.nouns.how import how_of
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.table import NOUNS
from qoder_cli.stack.folder import UNCLEAR, Folder, Source, holds_texts, in_types, is_within, texts_of


@dataclass(frozen=True)
class Reading:
    """What a folder declares: what is meant, and what is only referred to, each thing after those that it needs."""

    folder: Folder
    things: Sequence[Declaration]
    others: Sequence[Declaration] = ()
    warnings: Sequence[str] = ()


def read(
    folder: Folder, env: Mapping[str, str], *, only: Sequence[Noun] = (), stdin: IO[str] | None, may_lack: bool = False
) -> Reading:
    """Return what the files of a folder declare; `only` are the kinds that are meant, if not all.

    Variables that are not set are an error unless they `may_lack`. Raises BadFiles with every problem.
    """
    reader = _FileReader(env, os.path.realpath(folder.root), stdin, may_lack, [*folder.problems])
    for source in folder.sources:
        reader.take(source)
    holders = [declared for declared in reader.things if not only or (declared.parent or declared).noun in only]
    reader.follow()
    reader.check_names()
    order = reader.in_order()
    if reader.problems:
        raise BadFiles(reader.problems)
    targets = filter(None, (target for declared in holders for target in reader.targets[declared]))
    files = (target for target in targets if not target.noun.kind.is_declared)
    meant = {*holders, *files}  # what is brought along, too
    made: dict[Declaration, Declaration] = {}
    for declared in order:
        those = [target and made[target] for target in reader.targets[declared]]
        refs = [ref._replace(target=target) for ref, target in zip(declared.refs, those, strict=True)]
        parent = declared.parent and made[declared.parent]
        made[declared] = replace(declared, refs=tuple(refs), parent=parent)
    declarations = [made[declared] for declared in order if declared in meant]
    return Reading(folder, declarations, [made[path] for path in order if path not in meant], reader.warnings)


class _FileReader:
    """Reads one file after another, and gathers what is wrong with them."""

    def __init__(
        self, env: Mapping[str, str], root: str, stdin: IO[str] | None, may_lack: bool, problems: list[str]
    ) -> None:
        self.env, self.root, self.stdin, self.may_lack = env, root, stdin, may_lack
        self.problems, self.warnings = problems, list[str]()
        self.things: list[Declaration] = []
        self._of_file: dict[str, list[Declaration]] = {}  # by the real path
        self.targets: dict[Declaration, list[Declaration | None]] = {}  # of each of its references

    def take(self, source: Source) -> list[Declaration]:
        """Read a file, or a folder that is one thing; return what it declares, once."""
        identity = os.path.realpath(source.path)
        if identity not in self._of_file:
            filler = Filler(self.env, [], self.may_lack)
            self._of_file[identity] = declared = [*self._declared(source, filler)]
            self.things += declared
            problems = sorted(filler.problems, key=lambda problem: problem.line)
            self.problems += [problem.located(source.path) for problem in problems]
        return self._of_file[identity]

    def _declared(self, source: Source, filler: Filler) -> Iterator[Declaration]:
        try:
            if source.noun is not None and (read_content := how_of(source.noun).read) is not None:
                name, fields, files = read_content(source.path)
                yield Declaration(source.noun, Place(source.path), name, fields, content=files)
                return
            is_empty = True
            for document in documents_of(source.path, filler.problems, stdin=self.stdin):
                is_empty = False
                yield from self._of_document(document, source, filler)
            if is_empty and not filler.problems:
                raise Problem("declares nothing")
        except Problem as problem:
            filler.problems.append(problem)

    def _of_document(self, document: Document, source: Source, filler: Filler) -> Iterator[Declaration]:
        try:
            noun, type = source.noun, document.node.child("type")
            if type is not None and isinstance(type.content, str):
                noun = in_types().get(type.content, noun)
            if noun is None:
                raise Problem(UNCLEAR, line=document.node.line)
            for declared in declare(document, noun, source.path, filler):
                yield declared
                if declared.parent is None and holds_texts(noun):
                    yield from self._texts(declared)
        except Problem as problem:
            filler.problems.append(problem)
        self.warnings += [problem.located(source.path) for problem in plain_secrets(document.node)]

    def _texts(self, holder: Declaration) -> Iterator[Declaration]:
        """Yield the texts that a thing holds: those in the folder beside its file. Raises Problem."""
        noun, folder = NOUNS[holder.noun.kind.below], os.path.splitext(holder.place.file)[0]
        for path, text in texts_of(holder.place.file).items():
            place = Place(f"{folder}/{path}")
            if text.strip():
                yield Declaration(noun, place, path, {noun.naming.named_by: path, "content": text}, parent=holder)
            else:
                self.warnings.append(place.problem(f"is empty, which no {noun.called} can be; left out"))

    # What they refer to.

    def follow(self) -> None:
        """Find what each refers to by path or by name; a path may lead to files that were not read yet."""
        number = 0
        while number < len(self.things):
            declared = self.things[number]
            self.targets[declared] = [self._followed(declared, ref) if ref.path else None for ref in declared.refs]
            number += 1
        named: dict[tuple[Noun, str], list[Declaration]] = {}
        for declared in self.things:
            if (declared.parent is None and not declared.content) or declared.noun.kind.main:
                named.setdefault((declared.noun, declared.name), []).append(declared)
        for declared, targets in self.targets.items():
            for number, ref in enumerate(declared.refs):
                same = named.get((ref.noun, ref.name), ())
                if len(same) > 1 and all("id" in other.own for other in same):  # else that was reported
                    what = f"two {ref.noun.plural} here are named {ref.name!r}; write the id of one"
                    self.problems.append(ref.problem(declared.place, what))
                elif len(same) == 1:
                    targets[number] = same[0]

    def _followed(self, declared: Declaration, ref: Reference) -> Declaration | None:
        path = os.path.normpath(os.path.join(os.path.dirname(declared.place.file), ref.path)).replace(os.sep, "/")
        noun, main = ref.noun, ref.noun.kind.main
        if main and os.path.basename(path) == main:
            path = os.path.dirname(path)
        if declared.place.file == STDIN or not is_within(path, self.root):
            what = f"{ref.path} leads out of the folder"
        elif not os.path.exists(path):
            what = f"{ref.path} does not exist"
        else:
            declarations = [candidate for candidate in self.take(Source(path, noun)) if candidate.noun is noun]
            if len(declarations) == 1:
                return declarations[0]
            what = f"{ref.path} declares {len(declarations)} {noun.plural}; write a name"
            if not declarations:
                what = f"{ref.path} declares no {noun.called}"
        self.problems.append(ref.problem(declared.place, what))
        return None

    def check_names(self) -> None:
        """Gather what is declared twice, unless ids tell which is which."""
        first: dict[tuple[Any, ...], Declaration] = {}
        for declared in self.things:
            if declared.parent is None and not declared.noun.kind.is_declared:
                continue  # files may have one name
            other = first.setdefault((declared.noun, declared.parent, declared.name), declared)
            if other is not declared and not ("id" in declared.own and "id" in other.own):
                what = f"is that of another {declared.noun.called}, in {other.place}"
                self.problems.append(declared.place.problem(what, (declared.noun.naming.named_by.lstrip("_"),)))

    def in_order(self) -> list[Declaration]:
        """Return the things, each after those that it needs, or gather the cycle."""

        def rank(declared: Declaration) -> int:
            return declared.noun.kind.rank

        graph = {
            declared: [needed for needed in (*self.targets[declared], declared.parent) if needed is not None]
            for declared in sorted(self.things, key=rank)
        }
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            cycle = error.args[1]
            names = " → ".join(needed.name for needed in reversed(cycle))
            self.problems.append(cycle[0].place.problem(f"needs itself: {names}"))
            return self.things
        depth: dict[Declaration, int] = {}  # kinds together, as far as what they need allows
        for declared in order:
            depth[declared] = max((depth[needed] + 1 for needed in graph[declared]), default=0)
        return sorted(order, key=lambda declared: (rank(declared), depth[declared]))
