"""What a receiver's answer means: taken, to be tried again, or refused for good. Pure."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from ditto.errors import AckTimeout, NotNow, SinkError, WebhookRefused

LONGEST_WAIT_S: Final = 3600.0
"""A receiver that asks for more is asked again after an hour."""

_TOO_MANY: Final = 429
_TIMED_OUT: Final = frozenset({408, 504})
_HINTS: Final = {
    400: "see the receiver's log: it does not take the body. webhook.body and events.format decide on it",
    401: "check webhook.secret, webhook.token, webhook.user and webhook.password",
    403: "check webhook.secret, webhook.token, webhook.user and webhook.password, and what the receiver allows",
    404: "check webhook.url",
    405: "check webhook.url: nothing takes a POST there",
    410: "the receiver wants no more events. Give webhook.url another receiver; or where there is none any more, drop "
    "the slot with ditto slot drop: it retains WAL",
    413: "lower webhook.max_bytes or webhook.max_events, or raise the receiver's limit",
    415: "see the receiver's log: it does not take the content type. webhook.body and events.format decide on it",
}
_RETAINED: Final = "The slot keeps the events"


def judge(status: int, retry_after: str | None, *, receiver: str, now: float) -> SinkError | None:
    """None for an answer that takes the request; otherwise the error, which says whether it is retried.

    `retry_after` is the header of that name, `now` Unix seconds, `receiver` what it is called in messages.
    """
    if 200 <= status < 300:
        return None
    answered = f"{receiver} answered {status}{_phrase(status)}"
    if status == _TOO_MANY or status in _TIMED_OUT or status >= 500:
        kind = AckTimeout if status in _TIMED_OUT else NotNow
        wait_s = wait_of(retry_after, now=now)
        asked = f", and asks to wait {wait_s:g} s" if wait_s else ""
        error = kind(f"{answered}{asked}", hint=f"see the receiver's log. {_RETAINED}, and Ditto goes on trying")
        error.retry_after_s = wait_s
        return error
    hint = _HINTS.get(status, "see the receiver's log")
    if 300 <= status < 400:
        hint = "redirects are not followed: give webhook.url the address that takes the events"
    return WebhookRefused(answered, hint=f"{hint}. {_RETAINED}")


def wait_of(retry_after: str | None, *, now: float) -> float:
    """Seconds that a Retry-After header asks for: a number of them, or a date (RFC 9110); 0 for none and nonsense."""
    text = (retry_after or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        wait_s = float(text)
    else:
        try:
            wait_s = round(parsedate_to_datetime(text).timestamp() - now, 3)
        except (ValueError, OverflowError):
            return 0.0
    return min(max(wait_s, 0.0), LONGEST_WAIT_S)


def _phrase(status: int) -> str:
    """In our own words: the receiver's may be anything."""
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""
