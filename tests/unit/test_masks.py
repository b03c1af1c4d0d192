"""Masks: what stands in place of a value tells nothing of it but what the mask is meant to leave."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.config.events import Mask
from ditto.routing.masks import is_one_to_one, mask_function

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("mask", "text", "masked"),
    [
        (Mask(constant="***"), "Anna", "***"),
        (Mask(constant=""), "Anna", ""),
        (Mask(constant="***"), None, "***"),
        (Mask(null=True), "Anna", None),
        (Mask(null=True), None, None),
        (Mask(keep_last=4), "DE02120300000000202051", "*" * 18 + "2051"),
        (Mask(keep_last=4), "12345", "*2345"),
        (Mask(keep_last=4), "1234", "****"),  # nothing would be hidden: all of it is
        (Mask(keep_last=4), "1", "*"),
        (Mask(keep_last=4), "", ""),
        (Mask(keep_last=4), None, None),
        (Mask(keep_first=2), "Anna", "An**"),
        (Mask(keep_first=2), "Añ€😀", "Añ**"),  # characters, not bytes
        (Mask(keep_first=2), "An", "**"),
        (Mask(keep_first=2), None, None),
        (Mask(hash="sha256"), "Anna", hashlib.sha256(b"Anna").hexdigest()),
        (Mask(hash="sha256"), None, None),
        (Mask(hash="hmac-sha256", key="k"), None, None),
    ],
)
def test_what_a_mask_makes(mask: Mask, text: str | None, masked: str | None) -> None:
    assert mask_function(mask)(text) == masked


@given(TEXTS, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100))
def test_hmac_is_that_of_the_standard_library(text: str, key: str) -> None:
    expected = hmac.new(key.encode(), text.encode(), "sha256").hexdigest()
    function = mask_function(Mask(hash="hmac-sha256", key=key))
    assert (function(text), function(text)) == (expected, expected)


@given(TEXTS, st.integers(1, 20))
def test_nothing_but_what_is_kept_is_shown(text: str, count: int) -> None:
    for mask, kept in ((Mask(keep_first=count), text[:count]), (Mask(keep_last=count), text[-count:])):
        masked = mask_function(mask)(text)
        assert masked is not None
        assert len(masked) == len(text)
        assert masked.replace("*", "") == (kept.replace("*", "") if len(text) > count else "")


def test_only_hashes_tell_values_apart() -> None:
    assert is_one_to_one(Mask(hash="sha256"))
    assert not any(map(is_one_to_one, [Mask(constant="x"), Mask(null=True), Mask(keep_last=1), Mask(keep_first=1)]))
