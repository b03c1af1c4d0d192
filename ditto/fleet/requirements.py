"""What a pipeline needs of the machine that runs it: variables, files, packages. No server is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ditto.config import ClientTls, Config
from ditto.config.dsn import parameters_of
from ditto.errors import ConfigError, MissingHere, PipelineRefused
from ditto.fleet.document import Document, resolve
from ditto.sinks.choose import require_library
from ditto.sinks.tls import check_readable

_HINT: Final = (
    "put the file there on every node that may run the pipeline, or let placement.labels choose the nodes; a node "
    "looks again every 10 s"
)
_SECTIONS: Final = ("nats", "kafka", "rabbitmq", "redis", "webhook")


def check_requirements(name: str, document: Document, environ: Mapping[str, str]) -> None:
    """Raise MissingHere for the first thing that is not here. A large document takes seconds."""
    try:
        config = resolve(name, document, environ)
        require_library(config)
        _check_files(config)
    except MissingHere as error:
        error.hint = error.hint or _HINT
        raise
    except (ConfigError, PipelineRefused):
        return  # wrong on every node: the one that runs it says so


def _check_files(config: Config) -> None:
    for section in _SECTIONS:
        tls = getattr(getattr(config, section), "tls", None)
        if isinstance(tls, ClientTls):
            check_readable(tls, f"{section}.tls")
    if config.nats.creds is not None:
        _check("nats.creds", config.nats.creds)
    try:
        parameters = parameters_of(config.postgres.dsn)
    except ValueError:
        return
    if str(parameters.get("sslmode", "")).startswith("verify-"):  # otherwise libpq goes on without it
        authorities = str(parameters.get("sslrootcert") or "system")
        if authorities != "system":
            _check("postgres.dsn: sslrootcert", authorities)


def _check(what: str, path: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise MissingHere(f"{what}: cannot read {path}: {error.strerror}") from None
