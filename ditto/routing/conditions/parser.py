"""Text to syntax tree: the grammar of CEL, read with lark."""

from __future__ import annotations

import functools
from typing import Any, Final, cast

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from ditto.routing.conditions.errors import ConditionError
from ditto.routing.conditions.literals import BadLiteral, text_or_bytes
from ditto.routing.conditions.syntax import Call, Entries, Items, Literal, Name, Node, Select, depth

MAX_LENGTH: Final = 32_768
"""Characters of a condition."""
MAX_DEPTH: Final = 100
"""Levels of its tree."""

# https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
_GRAMMAR: Final = r"""
    ?start: expression
    ?expression: disjunction
        | disjunction "?" disjunction ":" expression    -> conditional
    ?disjunction: conjunction
        | disjunction OR conjunction                    -> binary
    ?conjunction: relation
        | conjunction AND relation                      -> binary
    ?relation: addition
        | relation (RELATION | IN) addition             -> binary
    ?addition: multiplication
        | addition (PLUS | MINUS) multiplication        -> binary
    ?multiplication: unary
        | multiplication TIMES unary                    -> binary
    ?unary: member
        | NOT+ member                                   -> negation
        | MINUS+ member                                 -> negation
    ?member: primary
        | member "." NAME                               -> select
        | member "." NAME OPEN [arguments] ")"          -> method
        | member BRACKET expression "]"                 -> index
    ?primary: NAME                                      -> name
        | NAME OPEN [arguments] ")"                     -> function
        | OPEN expression ")"                           -> parenthesized
        | BRACKET [listed] "]"                          -> items
        | BRACE [pairs] "}"                             -> entries
        | (INT | FLOAT | UINT)                          -> number
        | TEXT                                          -> text
        | (TRUE | FALSE | NULL)                         -> word
    arguments: expression ("," expression)*
    listed: expression ("," expression)* ","?
    pairs: pair ("," pair)* ","?
    pair: expression ":" expression

    OR: "||"
    AND: "&&"
    RELATION: "==" | "!=" | "<=" | ">=" | "<" | ">"
    IN: "in"
    PLUS: "+"
    MINUS: "-"
    TIMES: "*" | "/" | "%"
    NOT: "!"
    OPEN: "("
    BRACKET: "["
    BRACE: "{"
    TRUE: "true"
    FALSE: "false"
    NULL: "null"
    NAME: /[_a-zA-Z][_a-zA-Z0-9]*/
    UINT.3: /(0x[0-9a-fA-F]+|[0-9]+)[uU]/
    FLOAT.2: /[0-9]+\.[0-9]+([eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+([eE][+-]?[0-9]+)?/
    INT.1: /0x[0-9a-fA-F]+|[0-9]+/
    TEXT.4: /[bB]?/ (RAW | TRIPLE | SINGLE)
    RAW: /[rR]("{3}(.|\n)*?"{3}|'{3}(.|\n)*?'{3}|"(?!"")[^"\r\n]*"|'(?!'')[^'\r\n]*')/
    TRIPLE: /"{3}(\\(.|\n)|[^\\])*?"{3}|'{3}(\\(.|\n)|[^\\])*?'{3}/
    SINGLE: /"(?!"")(\\.|[^"\\\r\n])*"|'(?!'')(\\.|[^'\\\r\n])*'/
    %ignore /[ \t\r\n\f]+/
    %ignore /\/\/[^\n]*/
"""

_INSTEAD: Final = {
    "=": "equality is written ==",
    "<>": "inequality is written !=",
    "and": "and is written &&",
    "AND": "and is written &&",
    "or": "or is written ||",
    "OR": "or is written ||",
    "not": "not is written !",
    "NOT": "not is written !",
    "is": "a column that is NULL is equal to null: data.x == null",
    "IS": "a column that is NULL is equal to null: data.x == null",
    "IN": "in is written in small letters, with a list in brackets: data.x in ['a', 'b']",
    "like": "patterns are startsWith(), endsWith(), contains() and matches()",
    "LIKE": "patterns are startsWith(), endsWith(), contains() and matches()",
    "&": "and is written &&",
    "|": "or is written ||",
    "`": "a column whose name is no word is written data['its name']",
    "'": "a text begins and ends with the same quote, on one line",
    '"': "a text begins and ends with the same quote, on one line",
}


def parse(text: str) -> Node:
    """The tree of a condition. Raises ConditionError."""
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"longer than {MAX_LENGTH} characters", text=text, offset=0)
    try:
        tree: Any = _lark().parse(text)
    except UnexpectedInput as error:
        raise _unexpected(error, text) from None
    except _At as error:
        raise ConditionError(error.message, text=text, offset=error.offset, hint=error.hint) from None
    if depth(tree) > MAX_DEPTH:
        raise ConditionError(f"nested more than {MAX_DEPTH} levels deep", text=text, offset=0)
    found: Node = tree
    return found


@functools.cache
def _lark() -> Lark:
    """The parser. It makes the nodes itself, while it reads: a walk over a tree of lark's would be a recursion."""
    return Lark(_GRAMMAR, parser="lalr", transformer=_ToSyntax(), maybe_placeholders=True)


def _unexpected(error: UnexpectedInput, text: str) -> ConditionError:
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        if not text.strip():
            return ConditionError(
                "the condition is empty", text=text, offset=0, hint="leave the key out: then all pass"
            )
        end = len(text.rstrip())
        return ConditionError("the text ends here, and something is missing", text=text, offset=end)
    offset = error.pos_in_stream or 0
    if isinstance(error, UnexpectedToken):
        found = str(error.token)
    elif isinstance(error, UnexpectedCharacters):
        found = text[offset]
    else:
        found = text[offset : offset + 1]
    two = text[offset - 1 : offset + 1] if offset else ""
    hint = _INSTEAD["<>"] if two == "<>" else _INSTEAD.get(found)
    if hint is None and found.isalpha() and not found.isascii():
        hint = _INSTEAD["`"]
    before = text[:offset].split()[-1:] or [""]
    return ConditionError(f"{found} does not fit here", text=text, offset=offset, hint=hint or _INSTEAD.get(before[0]))


class _At(Exception):
    """A mistake that is found while the tree is made."""

    def __init__(self, message: str, offset: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.hint = hint


def _check_size(node: Node) -> None:
    """The least integer is one with its minus sign alone."""
    if isinstance(node, Literal) and isinstance(node.value, int) and node.value == 1 << 63:
        raise _At("the number does not fit into 64 bits", node.offset, "write its minus sign right before it, and once")


def _start(token: Token) -> int:
    return token.start_pos or 0


@v_args(inline=True)
class _ToSyntax(Transformer[Token, Node]):
    """Makes the nodes, from the leaves up."""

    def conditional(self, condition: Node, yes: Node, no: Node) -> Node:
        return Call(condition.offset, "_?_:_", None, (condition, yes, no))

    def binary(self, left: Node, operator: Token, right: Node) -> Node:
        return Call(_start(operator), f"_{operator}_", None, (left, right))

    def negation(self, operator: Token, *others: Token | Node) -> Node:
        """Two signs are none, as CEL's own parsers have it: `--x` is x, whatever x is, and `-(-x)` is not."""
        offset = _start(operator)
        operand = cast("Node", others[-1])
        if len(others) > 1:
            _check_size(operand)
        if len(others) % 2 == 0:
            return operand
        if operator == "-" and isinstance(operand, Literal) and operand.source[0] in "0123456789.":
            number = operand.value
            if isinstance(number, int | float):
                return Literal(offset, -number, f"-{operand.source}")
        return Call(offset, f"{operator}_", None, (operand,))

    def parenthesized(self, _open: Token, inner: Node) -> Node:
        _check_size(inner)
        return inner

    def select(self, operand: Node, field: Token) -> Node:
        if field in {"in", "true", "false", "null"}:  # the lexer knows that a name comes after a dot
            raise _At(f"{field} is a word of CEL", _start(field), f"as a name it is written ['{field}']")
        return Select(_start(field), operand, str(field))

    def method(self, target: Node, name: Token, _open: Token, arguments: tuple[Node, ...] | None) -> Node:
        return Call(_start(name), str(name), target, arguments or ())

    def index(self, operand: Node, bracket: Token, index: Node) -> Node:
        return Call(_start(bracket), "_[_]", None, (operand, index))

    def name(self, name: Token) -> Node:
        return Name(_start(name), str(name))

    def function(self, name: Token, _open: Token, arguments: tuple[Node, ...] | None) -> Node:
        return Call(_start(name), str(name), None, arguments or ())

    def items(self, bracket: Token, items: tuple[Node, ...] | None) -> Node:
        return Items(_start(bracket), items or ())

    def entries(self, brace: Token, entries: tuple[tuple[Node, Node], ...] | None) -> Node:
        return Entries(_start(brace), entries or ())

    def arguments(self, *nodes: Node) -> tuple[Node, ...]:
        return nodes

    listed = arguments

    def pairs(self, *pairs: tuple[Node, Node]) -> tuple[tuple[Node, Node], ...]:
        return pairs

    def pair(self, key: Node, value: Node) -> tuple[Node, Node]:
        return (key, value)

    def number(self, token: Token) -> Node:
        if token.type == "UINT":
            raise _At("unsigned numbers are not supported", _start(token), "without the u behind it, it is an int")
        value: Any = float(token) if token.type == "FLOAT" else int(token, 16 if token.startswith("0x") else 10)
        return Literal(_start(token), value, str(token))

    def text(self, token: Token) -> Node:
        try:
            return Literal(_start(token), text_or_bytes(token), str(token))
        except BadLiteral as error:
            raise _At(error.message, _start(token) + error.offset) from None

    def word(self, token: Token) -> Node:
        return Literal(_start(token), {"true": True, "false": False, "null": None}[token], str(token))
