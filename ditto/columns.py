"""How the text of a column becomes JSON: one kind for each way of converting.

A kind is a small int, so that the compiled decoder can switch on it. An array's kind is its element's
with a flag for the delimiter.
"""

from __future__ import annotations

from typing import Final

TEXT: Final = 0
BOOL: Final = 1
INT: Final = 2
FLOAT: Final = 3
JSON: Final = 4
TIMESTAMP: Final = 5
TIMESTAMPTZ: Final = 6
BYTEA: Final = 7
ARRAY: Final = 16
"""Flag: an array of the kind in the lower bits, elements separated by commas."""
ARRAY_SEMICOLON: Final = 32
"""Flag: the same, separated by semicolons (`box[]`)."""

# (typname, oid, oid of the array type, kind) of pg_type, PostgreSQL 18. The OIDs of built-in types never change.
_BUILT_IN: Final = (
    ("bool", 16, 1000, BOOL),
    ("bytea", 17, 1001, BYTEA),
    ("char", 18, 1002, TEXT),
    ("name", 19, 1003, TEXT),
    ("int8", 20, 1016, INT),
    ("int2", 21, 1005, INT),
    ("int4", 23, 1007, INT),
    ("text", 25, 1009, TEXT),
    ("oid", 26, 1028, INT),
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
    ("uuid", 2950, 2951, TEXT),
    ("pg_lsn", 3220, 3221, TEXT),
    ("tsvector", 3614, 3643, TEXT),
    ("tsquery", 3615, 3645, TEXT),
    ("jsonb", 3802, 3807, JSON),
    ("jsonpath", 4072, 4073, TEXT),
)

_BOX: Final = ("box", 603, 1020)

KIND_OF_OID: Final[dict[int, int]] = {oid: kind for _, oid, _, kind in _BUILT_IN}
KIND_OF_OID.update({array_oid: ARRAY | kind for _, _, array_oid, kind in _BUILT_IN})
KIND_OF_OID.update({_BOX[1]: TEXT, _BOX[2]: ARRAY_SEMICOLON | TEXT})

KIND_OF_NAME: Final[dict[str, int]] = {name: kind for name, _, _, kind in _BUILT_IN}
"""For domains, whose Type message names the base type; an array type is `_` and its element's name."""
KIND_OF_NAME.update({f"_{name}": ARRAY | kind for name, _, _, kind in _BUILT_IN})
KIND_OF_NAME.update({"box": TEXT, "_box": ARRAY_SEMICOLON | TEXT})
