"""The two implementations of the core, for tests that run on each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from unit.implementations import IMPLEMENTATIONS

if TYPE_CHECKING:
    from unit.implementations import Implementation

# A few seconds for all of them together; more examples: pytest --hypothesis-profile=thorough
settings.register_profile("quick", max_examples=60, deadline=None)
settings.register_profile("thorough", max_examples=5000, deadline=None)
settings.load_profile("quick")


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda implementation: implementation.name)
def impl(request: pytest.FixtureRequest) -> Implementation:
    """The compiled core, then the plain-Python one."""
    implementation: Implementation = request.param
    return implementation
