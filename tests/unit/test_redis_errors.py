"""Errors of Redis as Ditto's: the sentence, the class, and that no value is in them."""

from __future__ import annotations

import pytest
from redis import exceptions

from ditto.config import Redis
from ditto.errors import SinkError
from ditto.sinks.redis.access import access_of
from ditto.sinks.redis.server_errors import answered
from ditto.sinks.redis.stored_state import keys_of

ACCESS = access_of(Redis(), keys_of("", "ditto"))
CASES = [
    ("OOM command not allowed when used memory > 'maxmemory'.", "NotNow", "memory is full"),
    ("LOADING Redis is loading the dataset in memory", "NotNow", "loading its data"),
    ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", "NotNow", "busy"),
    ("MISCONF Errors writing to the AOF file: No space left on device", "NotNow", "cannot save its data"),
    ("NOREPLICAS Not enough good replicas to write.", "NotNow", "too few replicas"),
    (
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "NotNow",
        "without its master",
    ),
    ("CLUSTERDOWN The cluster is down", "NotNow", "the cluster is down"),
    ("TRYAGAIN Multiple keys request during rehashing of slot", "NotNow", "being moved"),
    ("NOSCRIPT No matching script. Please use EVAL.", "NotNow", "forgotten Ditto's scripts"),
    ("READONLY You can't write against a read only replica.", "SinkLost", "takes no writes"),
    ("MOVED 3999 127.0.0.1:6381", "SinkLost", "another node"),
    ("UNBLOCKED force unblock from blocking operation", "SinkLost", "became a replica"),
    ("NOAUTH Authentication required.", "LoginDenied", "asks for a password"),
    ("WRONGPASS invalid username-password pair or user is disabled.", "LoginDenied", "refuses user default or"),
    (
        "NOPERM User ditto has no permissions to run the 'xadd' command",
        "SinkDenied",
        "user default has no permission to give the command XADD",
    ),
    ("DITTOFENCED the state says 3-0", "ChainBroken", "another session"),
    ("WRONGTYPE Operation against a key holding the wrong kind of value [key a]", "StreamUnusable", "key a holds"),
    (
        "ERR The ID specified in XADD is equal or smaller than the target stream top item [key shop_t]",
        "StreamUnusable",
        "stream shop_t has an entry",
    ),
    ("CROSSSLOT Keys in request don't hash to the same slot", "RedisUnsuitable", "in one slot"),
    ("ERR unknown command 'XADD', with args beginning with: ", "RedisUnsuitable", "unknown command"),
    ("ERR something new", "PublishRejected", "something new"),
]


@pytest.mark.parametrize(("text", "kind", "said"), CASES, ids=[text.partition(" ")[0] for text, _, _ in CASES])
def test_an_answer(text: str, kind: str, said: str) -> None:
    error = answered(exceptions.ResponseError(text), "Redis at h:6379", "store events", access=ACCESS)
    assert isinstance(error, SinkError)
    assert type(error).__name__ == kind
    assert error.message.startswith("Redis at h:6379: ")
    assert said in error.message
    assert error.hint
