"""The names of a key: in the file, in the environment, on the command line."""

from __future__ import annotations

import functools
from types import MappingProxyType, NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from ditto.config.documented import Mask
from ditto.config.model import Config
from ditto.config.server import ServerConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FLAGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "postgres.dsn": ("--dsn",),
        "postgres.slot": ("--slot", "--slot-name"),
        "postgres.publication": ("--publication", "--publication-name"),
        "nats.url": ("--nats-url",),
        "nats.stream": ("--stream",),
        "events.prefix": ("--prefix",),
        "log.level": ("--log-level",),
        "log.format": ("--log-format",),
        "output_plugin": ("--output-plugin",),
    }
)
"""The keys that have a flag. `output_plugin` is not part of the configuration: it is checked and dropped."""

ORIGINAL_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "postgres.dsn": "DB_DSN",
        "postgres.publication": "PUBLICATION_NAME",
        "postgres.slot": "SLOT_NAME",
        "nats.url": "NATS_PUB_URI",
        "events.tables": "TABLE_FILTER",
        "events.topics": "TOPIC_MAPPING",
        "output_plugin": "OUTPUT_PLUGIN",
    }
)
"""The variables of Ditto 1.x, by key. A `DITTO_` variable wins over them."""


FORMER: Mapping[str, str] = MappingProxyType(
    {
        "nats.max_in_flight": "delivery.max_in_flight",
        "nats.max_in_flight_bytes": "delivery.max_in_flight_bytes",
        "nats.confirm_delay": "delivery.confirm_delay",
        "nats.lease_ttl": "delivery.lease_ttl",
        "nats.on_gap": "delivery.on_gap",
    }
)
"""Former paths of keys, and the current ones. Files and the environment may use either."""


def variable_of(path: str) -> str:
    """The environment variable of a path: `DITTO_NATS_TLS_CA` of `nats.tls.ca`."""
    return "DITTO_" + path.replace(".", "_").upper()


class Key(Struct, frozen=True, kw_only=True):
    """One key that holds a value (a leaf of the model).

    `path` is the key as in the file, with dots: `nats.tls.ca`. `annotation` is its type with the model's documentation,
    `default` its value where none is given; a key that is required has none.
    """

    path: str
    annotation: Any
    default: Any
    description: str
    examples: tuple[Any, ...] = ()
    mask: Mask | None = None
    is_duration: bool = False
    is_size: bool = False
    is_required: bool = False

    @property
    def variable(self) -> str:
        """The environment variable, `DITTO_NATS_TLS_CA`."""
        return variable_of(self.path)

    @property
    def variables(self) -> tuple[str, ...]:
        """Its environment variables, but for the one of its former path; the first one that is set counts."""
        original = ORIGINAL_VARIABLES.get(self.path)
        return (self.variable, original) if original else (self.variable,)

    @property
    def former(self) -> str | None:
        """The former path, which may still be used."""
        return next((former for former, current in FORMER.items() if current == self.path), None)

    @property
    def choices(self) -> tuple[str, ...]:
        """The only values there are, or nothing if the key is open."""
        bare = members(self.annotation)[0]
        return get_args(bare) if get_origin(bare) is Literal else ()


def members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, without None and documentation; what is no union is its only alternative."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in {Union, UnionType}:
        return tuple(member for member in get_args(annotation) if member is not NoneType)
    return (annotation,)


def section(annotation: Any) -> type[Struct] | None:
    """The struct that a key holds if it is a section (`nats`, `nats.tls`), otherwise None."""
    for member in members(annotation):
        if isinstance(member, type) and issubclass(member, Struct):
            return member
    return None


class Model(Struct, frozen=True, kw_only=True):
    """All that is known about the keys of one configuration: that of a pipeline, or that of a node of a fleet."""

    struct: type[Struct]
    keys: Mapping[str, Key]
    """By path, in the order of the struct."""
    sections: tuple[str, ...]
    """Every section by its path: `nats`, `nats.tls`."""
    required: Mapping[str, tuple[str, ...]]
    """By section: the keys that it cannot be without."""
    former: Mapping[str, str] = MappingProxyType({})
    originals: Mapping[str, str] = MappingProxyType({})


@functools.cache
def _fields(struct: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Once each: the types are written as text, and every start of a command would evaluate all of them three times."""
    return msgspec.structs.fields(struct)


def _walk(struct: type[Struct], prefix: str = "") -> Iterator[Key]:
    for field in _fields(struct):
        path = prefix + field.encode_name
        if (nested := section(field.type)) is not None:
            yield from _walk(nested, path + ".")
            continue
        metas: tuple[Meta, ...] = get_args(field.type)[1:]
        documentation = next(meta for meta in metas if meta.description)
        extra = {name: value for meta in metas for name, value in (meta.extra or {}).items()}
        yield Key(
            path=path,
            annotation=field.type,
            default=None if field.required else _default(field),
            description=str(documentation.description),
            examples=tuple(documentation.examples or ()),
            mask=extra.get("mask"),
            is_duration="duration" in extra,
            is_size="size" in extra,
            is_required=field.required,
        )


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default is msgspec.NODEFAULT else field.default


def _walk_sections(struct: type[Struct], prefix: str = "") -> Iterator[str]:
    for field in _fields(struct):
        if (nested := section(field.type)) is not None:
            yield prefix + field.encode_name
            yield from _walk_sections(nested, f"{prefix}{field.encode_name}.")


def _walk_optional(struct: type[Struct], prefix: str = "") -> Iterator[str]:
    for field in _fields(struct):
        if (nested := section(field.type)) is not None:
            if field.default is None:
                yield prefix + field.encode_name
            yield from _walk_optional(nested, f"{prefix}{field.encode_name}.")


def model_of(
    struct: type[Struct], *, former: Mapping[str, str] | None = None, originals: Mapping[str, str] | None = None
) -> Model:
    """Read off the struct."""
    keys = {key.path: key for key in _walk(struct)}
    sections = tuple(_walk_sections(struct))
    required = {
        name: paths
        for name in sections
        if (paths := tuple(path for path, key in keys.items() if key.is_required and path.rpartition(".")[0] == name))
    }
    return Model(
        struct=struct,
        keys=MappingProxyType(keys),
        sections=sections,
        required=MappingProxyType(required),
        former=MappingProxyType(former or {}),
        originals=MappingProxyType(originals or {}),
    )


PIPELINE: Final = model_of(Config, former=FORMER, originals=ORIGINAL_VARIABLES)
"""The configuration of a pipeline."""

SERVER: Final = model_of(ServerConfig)
"""The configuration of a node of a fleet."""

KEYS: Mapping[str, Key] = PIPELINE.keys
"""Every key of the pipeline's model by its path, in the model's order."""

SECTIONS: tuple[str, ...] = PIPELINE.sections
OPTIONAL_SECTIONS: Final = frozenset((*_walk_optional(Config), *_walk_optional(ServerConfig)))
"""Those that mean something by being there: `kafka`, `nats.tls`, `events.group`."""
REQUIRED: Mapping[str, tuple[str, ...]] = PIPELINE.required
