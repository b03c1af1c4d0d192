"""The two implementations of the core, for tests that run on each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from unit.implementations import IMPLEMENTATIONS

if TYPE_CHECKING:
    from unit.implementations import Implementation


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda implementation: implementation.name)
def impl(request: pytest.FixtureRequest) -> Implementation:
    """The compiled core, then the plain-Python one."""
    implementation: Implementation = request.param
    return implementation
