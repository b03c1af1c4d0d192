"""Prints the events of a running demonstration as a consumer gets them."""

from __future__ import annotations

import nats
import nats.errors
import nats.js.errors
from nats.js.api import ConsumerConfig, DeliverPolicy
from rich.console import Console

from ditto.demo.follower import PREFIX, STREAM
from ditto.errors import SinkLost, StreamNotFound
from ditto.routing.router import checkpoint_subject
from ditto.units import counted

MAX_CHARACTERS = 2000


async def watch(url: str) -> None:
    """Print subject and event of everything that is stored from now on, until cancelled or disconnected.

    Raises SinkLost when nobody answers, and StreamNotFound.
    """
    console = Console(highlight=False)
    try:
        client = await nats.connect(
            url, allow_reconnect=False, max_reconnect_attempts=1, connect_timeout=5, error_cb=_ignore
        )
    except (OSError, nats.errors.Error) as error:
        raise SinkLost(f"cannot connect to {url}", hint="is ditto demo --keep still running?") from error
    try:
        subscription = await client.jetstream().subscribe(
            ">", stream=STREAM, ordered_consumer=True, config=ConsumerConfig(deliver_policy=DeliverPolicy.NEW)
        )
        async for message in subscription.messages:
            if message.subject == checkpoint_subject(PREFIX):
                continue
            text = message.data.decode()
            if len(text) > MAX_CHARACTERS:
                text = f"{text[:MAX_CHARACTERS]}… ({counted(len(text), 'character')})"
            console.print(f"{message.subject} {text}", markup=False, soft_wrap=True)
    except nats.js.errors.NotFoundError as error:
        raise StreamNotFound(f"there is no stream {STREAM} at {url}", hint="is it a demo's server?") from error
    finally:
        await client.close()


async def _ignore(_error: Exception) -> None:
    """The call on the client raises the error, too; without a callback nats-py prints a traceback."""
