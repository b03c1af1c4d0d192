"""What a receiver's answer means."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from ditto.errors import AckTimeout, NotNow, WebhookRefused
from ditto.sinks.webhook.answers import LONGEST_WAIT_S, judge, wait_of

NOW = 1_800_000_000.0


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_taken(status: int) -> None:
    assert judge(status, None, receiver="webhook h", now=NOW) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((each, NotNow) for each in (429, 500, 501, 502, 503, 507, 599)),
        *((each, AckTimeout) for each in (408, 504)),
        *((each, WebhookRefused) for each in (300, 301, 302, 304, 307, 400, 401, 403, 404, 409, 410, 413, 422, 499)),
    ],
)
def test_not_taken(status: int, kind: type) -> None:
    error = judge(status, "7", receiver="webhook https://h", now=NOW)
    assert type(error) is kind
    assert error is not None
    assert error.message.startswith(f"webhook https://h answered {status}")
    assert error.hint
    assert error.is_retryable is (kind is not WebhookRefused)
    assert error.retry_after_s == (7 if error.is_retryable else 0)
    assert error.exit_code == 4


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        (None, 0),
        ("", 0),
        ("0", 0),
        (" 120 ", 120),
        ("1.5", 0),
        ("-1", 0),
        ("soon", 0),
        ("999999999", LONGEST_WAIT_S),
        ("9" * 5000, 0),
        (formatdate(NOW + 90, usegmt=True), 90),
        (formatdate(NOW - 90, usegmt=True), 0),
        (formatdate(NOW + 1e7, usegmt=True), LONGEST_WAIT_S),
        ("Thu, 99 Foo 2026 00:00:00 GMT", 0),
    ],
)
def test_retry_after(text: str | None, wait_s: float) -> None:
    assert wait_of(text, now=NOW) == wait_s
