"""How the text of a column becomes JSON: one kind for each way of converting.

A kind is a small int, so that the compiled decoder can switch on it. An array's kind is its element's
with a flag for the delimiter.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import Final

TEXT: Final = 0
BOOL: Final = 1
INT: Final = 2
FLOAT: Final = 3
"""A number token unchanged, NaN and the infinities as text; also for `numeric` as a number."""
JSON: Final = 4
TIMESTAMP: Final = 5
TIMESTAMPTZ: Final = 6
BYTEA: Final = 7
TIMESTAMP_UTC: Final = 8
"""A timestamp without a zone that is said to be UTC."""
HSTORE: Final = 9
CHAR: Final = 10
"""The type "char", a byte, or the text of an array of it."""
ELEMENT: Final = 15
"""Mask: the bits of an array's kind that are its element's."""
ARRAY: Final = 16
"""Flag: an array of the kind in the lower bits, elements separated by commas."""
ARRAY_SEMICOLON: Final = 32
"""Flag: the same, separated by semicolons (`box[]`)."""
SKIP: Final = 64
"""The column is no part of events: never converted, and not named."""
CALL: Final = 65
"""A function of the plan makes the value, of the column's text or of None."""

CHAR_OIDS: Final = frozenset({18, 1002})
"""Of the type "char" and its array type: before PostgreSQL 15 their text may hold any bytes."""

# (typname, oid, oid of the array type, kind) of pg_type, PostgreSQL 18. The OIDs of built-in types never change.
_BUILT_IN: Final = (
    ("bool", 16, 1000, BOOL),
    ("bytea", 17, 1001, BYTEA),
    ("char", 18, 1002, CHAR),
    ("name", 19, 1003, TEXT),
    ("int8", 20, 1016, INT),
    ("int2", 21, 1005, INT),
    ("int2vector", 22, 1006, TEXT),
    ("int4", 23, 1007, INT),
    ("regproc", 24, 1008, TEXT),
    ("text", 25, 1009, TEXT),
    ("oid", 26, 1028, INT),
    ("tid", 27, 1010, TEXT),
    ("xid", 28, 1011, TEXT),
    ("cid", 29, 1012, TEXT),
    ("oidvector", 30, 1013, TEXT),
    ("json", 114, 199, JSON),
    ("xml", 142, 143, TEXT),
    ("point", 600, 1017, TEXT),
    ("lseg", 601, 1018, TEXT),
    ("path", 602, 1019, TEXT),
    ("polygon", 604, 1027, TEXT),
    ("line", 628, 629, TEXT),
    ("cidr", 650, 651, TEXT),
    ("float4", 700, 1021, FLOAT),
    ("float8", 701, 1022, FLOAT),
    ("circle", 718, 719, TEXT),
    ("macaddr8", 774, 775, TEXT),
    ("money", 790, 791, TEXT),
    ("macaddr", 829, 1040, TEXT),
    ("inet", 869, 1041, TEXT),
    ("aclitem", 1033, 1034, TEXT),
    ("bpchar", 1042, 1014, TEXT),
    ("varchar", 1043, 1015, TEXT),
    ("date", 1082, 1182, TEXT),
    ("time", 1083, 1183, TEXT),
    ("timestamp", 1114, 1115, TIMESTAMP),
    ("timestamptz", 1184, 1185, TIMESTAMPTZ),
    ("interval", 1186, 1187, TEXT),
    ("timetz", 1266, 1270, TEXT),
    ("bit", 1560, 1561, TEXT),
    ("varbit", 1562, 1563, TEXT),
    ("numeric", 1700, 1231, TEXT),
    ("refcursor", 1790, 2201, TEXT),
    ("regprocedure", 2202, 2207, TEXT),
    ("regoper", 2203, 2208, TEXT),
    ("regoperator", 2204, 2209, TEXT),
    ("regclass", 2205, 2210, TEXT),
    ("regtype", 2206, 2211, TEXT),
    ("uuid", 2950, 2951, TEXT),
    ("txid_snapshot", 2970, 2949, TEXT),
    ("pg_lsn", 3220, 3221, TEXT),
    ("tsvector", 3614, 3643, TEXT),
    ("tsquery", 3615, 3645, TEXT),
    ("gtsvector", 3642, 3644, TEXT),
    ("regconfig", 3734, 3735, TEXT),
    ("regdictionary", 3769, 3770, TEXT),
    ("jsonb", 3802, 3807, JSON),
    ("int4range", 3904, 3905, TEXT),
    ("numrange", 3906, 3907, TEXT),
    ("tsrange", 3908, 3909, TEXT),
    ("tstzrange", 3910, 3911, TEXT),
    ("daterange", 3912, 3913, TEXT),
    ("int8range", 3926, 3927, TEXT),
    ("jsonpath", 4072, 4073, TEXT),
    ("regnamespace", 4089, 4090, TEXT),
    ("regrole", 4096, 4097, TEXT),
    ("regcollation", 4191, 4192, TEXT),
    ("int4multirange", 4451, 6150, TEXT),
    ("nummultirange", 4532, 6151, TEXT),
    ("tsmultirange", 4533, 6152, TEXT),
    ("tstzmultirange", 4534, 6153, TEXT),
    ("datemultirange", 4535, 6155, TEXT),
    ("int8multirange", 4536, 6157, TEXT),
    ("pg_snapshot", 5038, 5039, TEXT),
    ("xid8", 5069, 271, TEXT),
)
_BOX: Final = ("box", 603, 1020)

# Types of PostGIS, whose arrays separate with a colon: text, also where the extension is created while Ditto runs.
_COLON_ARRAYS: Final = frozenset({"_geometry", "_geography"})

NAME_OF_OID: Final[dict[int, str]] = {oid: name for name, oid, _, _ in _BUILT_IN}
"""Names of the built-in types; an array is written `int4[]`."""
NAME_OF_OID.update({array_oid: f"{name}[]" for name, _, array_oid, _ in _BUILT_IN})
NAME_OF_OID.update({_BOX[1]: "box", _BOX[2]: "box[]"})

NO_CHANGES: Final[Mapping[str, int]] = MappingProxyType({})


class Kinds:
    """Finds a column's kind. `changes` gives some built-in types another one than usual, and `others` all that are not
    named there; arrays go with their elements, unless `arrays_are_text`. `not_arrays` are schema and name of types that
    have an array type's name, but are none, or do not separate their elements with a comma.
    """

    def __init__(
        self,
        changes: Mapping[str, int] = NO_CHANGES,
        *,
        others: int | None = None,
        arrays_are_text: bool = False,
        not_arrays: Set[tuple[str, str]] = frozenset(),
    ) -> None:
        self._not_arrays = not_arrays
        self._arrays_are_text = arrays_are_text
        self._by_oid: dict[int, int] = {}
        self._by_name: dict[str, int] = {}
        for name, oid, array_oid, usual in _BUILT_IN:
            kind = changes.get(name, usual if others is None or usual == CHAR else others)
            self._add(name, oid, array_oid, kind, ARRAY)
        self._add(*_BOX, TEXT, ARRAY_SEMICOLON)
        self._hstore = changes.get("hstore", HSTORE if others is None else others)

    def _add(self, name: str, oid: int, array_oid: int, kind: int, flag: int) -> None:
        self._by_oid[oid] = self._by_name[name] = kind
        as_text = CHAR if kind == CHAR else TEXT
        self._by_oid[array_oid] = self._by_name[f"_{name}"] = as_text if self._arrays_are_text else flag | kind

    def find(self, oid: int, namespace: str, name: str) -> int:
        """The kind of a column's type. Namespace and name are those of the Type message, empty where there was none.

        For a domain they are the base type's. An array type is named `_` and its element; that is all pgoutput tells
        about it, and a value that is no array literal stays text.
        """
        kind = self._by_oid.get(oid)
        if kind is not None or not name:
            return TEXT if kind is None else kind
        if namespace in {"", "pg_catalog"}:
            return self._by_name.get(name, TEXT)
        if name == "hstore":
            return self._hstore
        is_array = name.startswith("_") and name not in _COLON_ARRAYS and (namespace, name) not in self._not_arrays
        if not is_array or self._arrays_are_text:
            return TEXT
        return ARRAY | (self._hstore if name == "_hstore" else TEXT)

    def type_name(self, oid: int, namespace: str, name: str) -> str:
        """What a type is called in a description: `int4`, `numeric[]`, `public.mood`; its OID where it has no name."""
        if oid in NAME_OF_OID:
            return NAME_OF_OID[oid]
        if not name:
            return str(oid)
        element = name if (namespace, name) in self._not_arrays else name.removeprefix("_")
        full = element if namespace in {"", "pg_catalog"} else f"{namespace}.{element}"
        return full if element == name else f"{full}[]"


KINDS: Final = Kinds()
"""The usual ones."""
