"""For consumers in Python: the whole event where the stream has a reference to it (`events.oversize: object_store`).

from ditto.reader import whole_event

event = await whole_event(jetstream, json.loads(message.data))
"""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec
from nats.js import JetStreamContext
from nats.js.errors import BucketNotFoundError, DigestMismatchError, NotFoundError

_TIMEOUT_S: Final = 60.0
"""For all of an object: where its chunks are gone, nats-py would wait for ever."""


class ObjectGone(LookupError):
    """The object to which an event refers is not there: it has expired, or somebody has removed it."""


class ObjectDamaged(ValueError):
    """The object to which an event refers is another one than the event says."""


async def whole_event(jetstream: JetStreamContext, event: dict[str, Any]) -> dict[str, Any]:
    """The event itself, or the one to which it refers, in the same format. Raises ObjectGone and ObjectDamaged."""
    inner = event["data"] if "specversion" in event else event  # a CloudEvent has Ditto's event as its data
    if "object" not in inner:
        return event
    data = await read_object(jetstream, inner["object"])
    found: dict[str, Any] = json.loads(data) if data.startswith(b"{") else msgspec.msgpack.decode(data)
    return found


async def read_object(jetstream: JetStreamContext, reference: Mapping[str, Any]) -> bytes:
    """The bytes to which the `object` of an event refers. Raises ObjectGone and ObjectDamaged."""
    bucket, name = str(reference["bucket"]), str(reference["name"])
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            store = await jetstream.object_store(bucket)
            data = (await store.get(name)).data or b""
    except (BucketNotFoundError, NotFoundError, TimeoutError) as error:
        raise ObjectGone(f"object {name} is not in bucket {bucket}") from error
    except DigestMismatchError as error:
        raise ObjectDamaged(f"object {name} of bucket {bucket} has another digest than the bucket says") from error
    digest = "SHA-256=" + urlsafe_b64encode(sha256(data).digest()).decode()
    if (len(data), digest) != (reference["size"], reference["digest"]):
        raise ObjectDamaged(f"object {name} of bucket {bucket} is another one than the event says")
    return data
