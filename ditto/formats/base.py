"""What a format is: it makes the payloads that are published from changes.

Ditto's own format takes blocks as they are. Every other one is the format of some tables: it works out a layout for
each relation, the decoder hands that on with the relation's changes, and `choose.BlockFormat` puts the block together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Protocol

from msgspec import Struct

from ditto.decoding.messages import Begun, Block, Relation
from ditto.formats.payloads import Payloads

NONE: Set[int] = frozenset()


class Format(Protocol):
    """Encodes a block at a time: a call for each change would cost more than the encoding."""

    def encode(self, block: Block) -> Payloads:
        """One payload for each of the block's changes, in their order; none is changed.

        A format that says something in headers puts them into `block.headers`.
        """


class Rows(Struct, frozen=True):
    """Changes of tables that have the same format, in their order: four lists of one length."""

    changes: list[Any]
    layouts: list[Any]
    """What `layout` has made for the relation of each."""
    commit_lsns: list[int]
    ordinals: list[int]
    transactions: Mapping[int, Begun]
    """By commit LSN (`Block.transactions`)."""


class Layout(Struct, frozen=True, eq=False):
    """What a format has worked out for one relation: how the decoder makes the values, and what `encode` needs.

    A format whose events need more derives a class of its own.
    """

    format: TableFormat
    kinds: bytes
    """As in a plan."""
    functions: tuple[Callable[[str | None], Any] | None, ...]
    """As in a plan."""


class KeyedLayout(Layout, frozen=True, eq=False):
    """For a format that writes rows itself: the names of columns as its events have them, made once."""

    names: tuple[str, ...]
    """The columns of events, in their order; interned, as the decoder has them, and so found without comparing."""
    keys: tuple[bytes, ...]
    """What is written for each."""


class TableFormat(Protocol):
    """The format of the events of some tables."""

    @property
    def needs_types(self) -> bool:
        """`layout` has to know more of types than PostgreSQL sends: modifiers of domains, labels of enums."""

    def layout(
        self,
        relation: Relation,
        usual: bytes,
        *,
        skipped: Set[int] = NONE,
        masked: Set[int] = NONE,
        labels: Mapping[int, Sequence[str]] = {},
    ) -> Layout:
        """Work out a relation; `usual` are the kinds that its columns have in Ditto's own format.

        `skipped` columns are no part of events. The values of `masked` ones are text or null, whatever their type.
        `labels` are those of enums, by the OID of the type, and of its array.
        """

    def encode(self, rows: Rows) -> tuple[Payloads, list[bytes] | None]:
        """One payload for each change, in their order; and header lines for each, or None for none."""
