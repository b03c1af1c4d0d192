"""What all errors have in common."""

from __future__ import annotations

from typing import ClassVar


class DittoError(Exception):
    """Base of all errors: `hint` says what to do; `context` holds slot, LSN, relation, never row values."""

    is_retryable: ClassVar[bool] = False
    is_retryable_later: ClassVar[bool] = False
    """Retried by a process that has streamed: the cause is at the other end then, and may go away."""
    depends_on_settings: ClassVar[bool] = False
    """Judged by settings of nats-server or the stream as the session read them when it began: final only where the next
    session, which reads them anew, says the same."""
    is_local: ClassVar[bool] = False
    """The cause is this machine: on another one, with the same configuration, it may not be there."""
    exit_code: ClassVar[int] = 1
    retry_after_s: float = 0.0
    """The other end asks not to be tried again before."""

    def __init__(self, message: str, *, hint: str | None = None, **context: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = context
