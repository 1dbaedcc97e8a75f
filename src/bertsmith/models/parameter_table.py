"""The table of a family's parameters: their names here and in a folder, used both ways.

A row names one kind of parameter. Where it stands in a numbered part, the placeholder in both names
is the field of the config that counts the parts, such as `{num_hidden_layers}`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Self

import msgspec

from bertsmith.core.errors import FolderError

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Row(NamedTuple):
    """One kind of parameter."""

    ours: str
    theirs: tuple[str, ...]
    """In a folder; of several, ours is the concatenation along the first axis."""
    transposed: bool = False
    """Whether the folder has the matrix transposed."""

    @property
    def counted_by(self) -> str | None:
        """The field of the config that counts the parts that have this parameter."""
        match = _PLACEHOLDER.search(self.ours)
        return None if match is None else match[1]

    def of_part(self, number: int) -> Self:
        """The row of one of the parts."""
        ours = _PLACEHOLDER.sub(str(number), self.ours)
        theirs = tuple(_PLACEHOLDER.sub(str(number), name) for name in self.theirs)
        return self._replace(ours=ours, theirs=theirs)


def with_bias(ours: str, *theirs: str, transposed: bool = False) -> list[Row]:
    """The rows of a layer's weight and bias; `transposed` is the weight's."""
    return [
        Row(f"{ours}.weight", tuple(f"{name}.weight" for name in theirs), transposed),
        Row(f"{ours}.bias", tuple(f"{name}.bias" for name in theirs)),
    ]


@dataclass(frozen=True, kw_only=True)
class ParameterTable:
    """A family's rows, and what else may be in a folder of its models."""

    rows: Sequence[Row]
    encoder: str
    """What the names of the encoder's parameters begin with here, `bert.`."""
    their_encoder: str
    """The same in a folder."""
    their_heads: tuple[str, ...]
    """Prefixes of heads in a folder, ours or `transformers`', that a command may not need."""
    strict_heads: tuple[str, ...] = ()
    """Of those, the ones of pre-training, of which no parameter may be without a row."""
    word_head: str
    """A parameter that every folder of a model that predicts words has, by its name there."""
    pair_head: str | None = None
    """The same of a model that judges pairs of sentences; None: the family has none."""
    word_rows: tuple[str, ...] = ()
    """Parameters with a row for each piece, by their names in a folder; empty: words cannot be
    added to a model of the family."""
    anchor: re.Pattern[str]
    """Of the word embeddings' name; group 1 is what a wrapper put before every name."""
    bare: tuple[str, ...] = ()
    """What names begin with where an encoder was saved alone, without `their_encoder`."""
    old_endings: Mapping[str, str] = field(default_factory=dict)
    """Ending of a name in old releases -> today's."""
    repeated: Mapping[str, str] = field(default_factory=dict)
    """Of tensors that a folder may hold twice: the copy's name -> the first's."""
    buffers: tuple[str, ...] = ()
    """Endings of names of masks and position ids, which old files hold beside the parameters."""
    parts: Sequence[tuple[str, str]]
    """What a name in a folder contains -> the part of the model it belongs to; first match wins."""

    def expanded(self, config: msgspec.Struct) -> list[Row]:
        """The rows of a model, one for each parameter."""
        expanded: list[Row] = []
        for row in self.rows:
            counter = row.counted_by
            if counter is None:
                expanded.append(row)
            else:
                expanded += [row.of_part(number) for number in range(counted(config, counter))]
        return expanded

    @cached_property
    def their_names(self) -> frozenset[str]:
        """All names in folders, of numbered parts with their placeholders."""
        return frozenset(name for row in self.rows for name in row.theirs)

    @cached_property
    def numbered(self) -> dict[str, re.Pattern[str]]:
        """Field of the config that counts parts -> names in a folder; group 1 is the number."""
        patterns: dict[str, re.Pattern[str]] = {}
        for row in self.rows:
            counter = row.counted_by
            if counter is not None:
                before = row.theirs[0].partition("{")[0]
                patterns.setdefault(counter, re.compile(re.escape(before) + r"(\d{1,9})\."))
        return patterns

    def names_in_file(self, names: Iterable[str], source: str) -> dict[str, str]:
        """Today's name of each parameter in a folder -> its name there.

        Known are an encoder alone (names without `their_encoder`), the endings of old releases,
        what a wrapper puts before every name, and a copy that is there instead of its original.
        Buffers are left out.

        Raises:
            FolderError: there are several encoders, or two names for one parameter.
        """
        found: dict[str, str] = {}
        for name, called in self._unwrapped(names, source).items():
            if name.startswith(self.bare):
                name = f"{self.their_encoder}{name}"
            for old, new in self.old_endings.items():
                if name.endswith(old):
                    name = name.removesuffix(old) + new
            if name in found:
                raise _twice(source, found[name], called)
            if not name.endswith(self.buffers):
                found[name] = called
        instead = {copy: name for copy, name in self.repeated.items() if name not in found}
        return {instead.get(name, name): called for name, called in found.items()}

    def _unwrapped(self, names: Iterable[str], source: str) -> dict[str, str]:
        """Each name without what a wrapper put before it -> the name itself.

        (Under DataParallel it is `module.`, under Lightning `model.`, after `torch.compile`
        `_orig_mod.`.)
        """
        names = list(names)
        prefixes = {match[1] for name in names if (match := self.anchor.fullmatch(name))}
        if len(prefixes) > 1 and "" not in prefixes:
            raise FolderError(
                f"{source} holds {len(prefixes)} encoders, with names that begin with "
                f"{', '.join(sorted(prefixes))}; expected one. Save only the encoder that you "
                "need."
            )
        prefix = "" if "" in prefixes else next(iter(prefixes), "")
        found: dict[str, str] = {}
        for called in names:
            name = called.removeprefix(prefix)
            if name in found:
                raise _twice(source, found[name], called)
            found[name] = called
        return found


def counted(config: msgspec.Struct, field: str) -> int:
    """How many parts a field of a config counts: a number, or a part each."""
    value = getattr(config, field)
    return value if isinstance(value, int) else len(value)


def _twice(source: str, first: str, second: str) -> FolderError:
    """The error for two tensors that are the same parameter."""
    return FolderError(
        f"{source}: {first} and {second} are the same parameter; save the model again with one."
    )
