"""The sink that stores nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ditto.config import Config
from ditto.sinks.null import NullSink
from sinks.contract import SinkContract, Store

if TYPE_CHECKING:
    from ditto.sinks.base import Sink


class Nowhere(Store):
    keeps_messages = False

    def make(self) -> Sink:
        return NullSink(Config(), clock=time.monotonic)

    async def messages(self) -> list[bytes]:
        return []


class TestNullSink(SinkContract):
    @pytest.fixture
    def store(self) -> Store:
        return Nowhere()
