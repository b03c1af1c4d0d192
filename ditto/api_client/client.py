"""Asks the nodes of a fleet: the first one that can be reached answers for all."""

from __future__ import annotations

import ipaddress
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Struct

from ditto import errors
from ditto.errors import ConfigError, DittoError, FleetError, NodeStarting, NoServer, SinkError, SourceError

DEFAULT_SERVER: Final = "http://127.0.0.1:7480"
_CONNECT_TIMEOUT_S: Final = 5.0
_TIMEOUT_S: Final = 95.0
"""Longer than a node takes for its answer (`api/fleet/connections.py`)."""
_LOOK_TIMEOUT_S: Final = 15.0
"""The same of a GET: a node waits for another one for 5 s (`fleet/requests.py`). A node that takes longer hangs."""
_STARTING_S: Final = 15.0
"""How long a node that has just been started is waited for: it knows the fleet after a second or two."""
_POLL_S: Final = 0.5
_ADDRESS_HINT: Final = "it looks like http://127.0.0.1:7480; several are separated by commas"
_NOBODY: Final = "does a node of the fleet run there (ditto serve)? Give the address of one: --server, or DITTO_SERVER"
_NUMBER: Final = re.compile(r"^\[Errno -?\d+\] ")
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "record layer failure")
"""In the words of OpenSSL, where the other end answers in plain text."""
_PROBLEM: Final = "application/problem+json"
_TYPE: Final = "urn:ditto:error:"
_BY_EXIT_CODE: Final[Mapping[int, type[DittoError]]] = {1: DittoError, 2: ConfigError, 3: SourceError, 4: SinkError}

T = TypeVar("T")


class _Problem(Struct):
    detail: str
    type: str = ""
    hint: str | None = None
    code: int = 1


class _NobodyListens(NoServer):
    """Every server refuses the connection, and one of them is on this machine (`server`): a node may be about to listen
    there.
    """


class FleetClient:
    """A client; to be closed. `servers` are addresses of nodes, `ca` trusts other authorities than the system does."""

    def __init__(
        self,
        servers: Sequence[str],
        *,
        token: str | None = None,
        ca: Path | None = None,
        on_wait: Callable[[FleetError], None] = lambda _: None,
        listening_s: float = 0.0,
    ) -> None:
        """Raises ConfigError for what is no address, and for a file that holds no certificate. `on_wait` is called with
        the answer of a node that is starting, or with why there is none, before the node is waited for. For
        `listening_s` from now a node on this machine may still have to open its port.
        """
        self._listens_by = time.monotonic() + listening_s
        self._on_wait = on_wait
        self._servers = [_checked(each) for each in servers] or [DEFAULT_SERVER]
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(
            headers=headers,
            verify=_trust(ca),
            trust_env=False,
        )

    def __enter__(self) -> FleetClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, kind: type[T], *, params: Mapping[str, Any] | None = None) -> T:
        """Raises the error that the node answers with, and NoServer."""
        return self.ask("GET", path, kind, params=params)

    def ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        revision: int | Literal["*"] | None = None,
        is_new: bool = False,
    ) -> T:
        """The same of any request; with `revision` only if the pipeline is at it (`*`: at any one), with `is_new` if
        there is none.
        """
        headers = {"Content-Type": "application/json"} if method != "GET" else {}
        if revision is not None:
            headers["If-Match"] = "*" if revision == "*" else f'"{revision}"'
        if is_new:
            headers["If-None-Match"] = "*"
        content = b"" if body is None else msgspec.json.encode(body)
        deadline = time.monotonic() + _STARTING_S
        while True:
            try:
                answer, server = self._send(method, path, headers, content, params)
            except _NobodyListens as error:
                if time.monotonic() > self._listens_by:
                    raise NoServer(error.message, hint=error.hint) from error
                self._on_wait(NoServer(f"nothing listens at {error.context['server']} yet"))
                time.sleep(_POLL_S)
                continue
            self._listens_by = 0.0  # a node that refuses from now on has ended
            starting = _starting(answer)
            if starting is None:
                break
            if time.monotonic() > deadline:
                raise starting
            self._on_wait(starting)
            time.sleep(_POLL_S)
        try:
            if answer.is_success:
                return msgspec.json.decode(answer.content, type=kind)
            if answer.headers.get("content-type", "").startswith(_PROBLEM):
                raise _error(msgspec.json.decode(answer.content, type=_Problem))
        except msgspec.MsgspecError as error:
            raise NoServer(
                f"the answer of {server} cannot be read: {error}", hint="is the node of another version of Ditto?"
            ) from error
        raise NoServer(f"{server} answers {answer.status_code}, and not as a node of a fleet does", hint=_NOBODY)

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes, params: Mapping[str, Any] | None
    ) -> tuple[httpx.Response, str]:
        """The answer of the first node to which a connection can be made, and its address; one that is starting is
        passed over, as long as there are others.

        A GET goes on to the next node where one does not answer. A change does not: the node may have made it.
        """
        is_look = method == "GET"
        timeout = httpx.Timeout(_LOOK_TIMEOUT_S if is_look else _TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        reasons: list[str] = []
        hint = _NOBODY
        starting: tuple[httpx.Response, str] | None = None
        refusing: list[str] = []
        for server in self._servers:
            try:
                url = f"{server}{path}"
                answer = self._http.request(
                    method, url, headers=headers, content=content, params=params, timeout=timeout
                )
                if _starting(answer) is None:
                    return answer, server
                starting = answer, server
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise _untrusted(server, error) from error
                if any(each in str(error) for each in _NO_TLS):
                    reasons.append(f"{server} does not use TLS")
                    hint = f"ask it without: http{server.removeprefix('https')}"
                    continue
                reasons.append(f"no answer from {server}: {_reason(error)}")
                if _is_refused(error):
                    refusing.append(server)
            except httpx.HTTPError as error:
                if is_look and isinstance(error, httpx.ReadTimeout):
                    reasons.append(f"no answer from {server} within {_LOOK_TIMEOUT_S:g} s")
                    continue
                if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError) and server.startswith("http:"):
                    hint = f"does the node use TLS (http.tls)? Then ask https{server.removeprefix('http')}"
                raise NoServer(f"no answer from {server}: {_reason(error)}", hint=hint) from error
        if starting is not None:
            return starting
        local = next((each for each in refusing if _is_this_machine(each)), None)
        if local is not None and len(refusing) == len(self._servers):
            raise _NobodyListens("; ".join(reasons), hint=hint, server=local)
        raise NoServer("; ".join(reasons), hint=hint)


def _is_refused(error: BaseException | None) -> bool:
    """Whether nothing listens there, which httpx says only by what its error was raised from."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_this_machine(server: str) -> bool:
    host = httpx.URL(server).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _starting(answer: httpx.Response) -> NodeStarting | None:
    """Its error, where that node does not know the fleet yet: it has done nothing."""
    if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
        return None
    try:
        error = _error(msgspec.json.decode(answer.content, type=_Problem))
    except msgspec.MsgspecError:
        return None
    return error if isinstance(error, NodeStarting) else None


def _untrusted(server: str, error: httpx.HTTPError) -> NoServer:
    if "ostname mismatch" in str(error) or "IP address mismatch" in str(error):
        return NoServer(
            f"the certificate of {server} is that of another name: {error}",
            hint="ask the node by a name or an address that its certificate (http.tls.cert) has",
        )
    return NoServer(
        f"the certificate of {server} is not trusted: {error}",
        hint="give the file of its authority: --ca, or DITTO_SERVER_CA",
    )


def path_of(pipeline: str, *more: str) -> str:
    """The path of a pipeline's route. Raises ConfigError for a name that would lead to another one."""
    if "/" in pipeline or pipeline in {"", ".", ".."}:
        raise ConfigError(f"{pipeline!r} is no name of a pipeline", hint="ditto pipelines list shows all names")
    return "/".join(["/v1/pipelines", quote(pipeline, safe=""), *(quote(each, safe="") for each in more)])


def _checked(server: str) -> str:
    try:
        address = httpx.URL(server.rstrip("/"))
    except httpx.InvalidURL:
        address = httpx.URL("")
    if address.scheme not in {"http", "https"} or not address.host:
        raise ConfigError(f"{server!r} is no address of a node", hint=_ADDRESS_HINT)
    if address.userinfo:
        raise ConfigError("the address of a node takes no user and no password", hint="give the token: DITTO_TOKEN")
    return str(address).rstrip("/")


def _trust(ca: Path | None) -> ssl.SSLContext | bool:
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(
            f"the certificates of {ca} cannot be read: {reason}", hint="give a file in PEM format"
        ) from None


def _reason(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "timed out"
    return _NUMBER.sub("", str(error)) or type(error).__name__


def _error(problem: _Problem) -> DittoError:
    """The error that the node had."""
    kind = getattr(errors, problem.type.removeprefix(_TYPE), None) if problem.type.startswith(_TYPE) else None
    if not (isinstance(kind, type) and issubclass(kind, DittoError) and kind.exit_code == problem.code):
        kind = _BY_EXIT_CODE.get(problem.code, FleetError)
    return kind(problem.detail, hint=problem.hint)
