"""The receiver of a webhook: name, connection, TLS, and who can read or forge what is sent. No request is made."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ditto.check.finding import Finding, bad, failed, ok
from ditto.errors import DittoError
from ditto.sinks.webhook.library import require_library

if TYPE_CHECKING:
    from ditto.check.source import Source
    from ditto.config import Config, Webhook


async def check_webhook(
    config: Config, source: Source | None, found: list[Finding], monitor_url: str | None, *, is_running: bool
) -> None:
    """See `check.choose`."""
    del source, monitor_url
    webhook = config.webhook
    if webhook is None:
        raise RuntimeError("there is no section webhook")
    if not is_running:
        found.append(await _check_connection(webhook))
    found.append(_check_privacy(webhook))
    found.append(_check_signature(webhook))


async def _check_connection(webhook: Webhook) -> Finding:
    try:
        require_library()
        from ditto.sinks.webhook.client import Client  # noqa: PLC0415 -- after it is known to be there

        client = Client(webhook)
        try:
            await client.connect()
        finally:
            with suppress(DittoError):
                await client.close()
    except DittoError as error:
        return failed("webhook.connect", error)
    return ok(
        "webhook.connect",
        f"{webhook.origin} takes connections",
        "every event is posted there. No request is made here, as that could have effects: whether the receiver takes "
        "the path, the token and the signature is seen with the first event",
    )


def _check_privacy(webhook: Webhook) -> Finding:
    check, why = "webhook.url", "events hold the rows of the tables"
    if webhook.is_exposed:
        what = f"the events go to {webhook.origin} in plain text, with the token or the password"
        return bad("warning", check, what, f"{why}: let the receiver do TLS, and webhook.url begin with https")
    secure = "over TLS" if webhook.url.startswith("https:") else "without leaving this machine"
    return ok(check, f"the events go to {webhook.origin} {secure}", why)


def _check_signature(webhook: Webhook) -> Finding:
    check, why = "webhook.secret", "without a signature a receiver cannot tell Ditto's requests from anybody else's"
    if webhook.secrets:
        return ok(check, f"each request has {len(webhook.secrets)} signature(s)", why)
    if webhook.token is not None or webhook.user is not None or (webhook.tls is not None and webhook.tls.cert):
        return ok(check, "requests are not signed, and show the receiver who sends them in another way", why)
    return bad("warning", check, "requests are not signed", why, configuration="webhook:\n  secret: ${WEBHOOK_SECRET}")
