"""Slugs are plain, short, never reserved."""

import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.accounts.users import RESERVED, SLUG_LENGTH, slug_candidates, slugify


@given(st.text(max_size=64))
def test_every_candidate_is_a_slug_and_none_is_reserved(local: str) -> None:
    candidates = list(islice(slug_candidates(f"{local}@example.org"), 12))
    assert len(set(candidates)) >= 11
    for slug in candidates:
        assert re.fullmatch(r"[a-z0-9]{1,24}", slug)
        assert len(slug) <= SLUG_LENGTH
        assert slug not in RESERVED


@pytest.mark.parametrize(
    ("address", "slug"),
    [
        ("alice@example.org", "alice"),
        ("Alice.B-Smith+lab@example.org", "alicebsmithlab"),
        ("jörg.groß@example.org", "jorggross"),
        ("łukasz@example.org", "lukasz"),
        ("测试@example.org", "user"),
        ("a" * 40 + "@example.org", "a" * 24),
    ],
)
def test_the_slug_is_the_local_part_in_plain_letters(address: str, slug: str) -> None:
    assert slugify(address) == slug


@pytest.mark.parametrize("name", ["api", "auth", "internal", "static", "docs", "www", "admin", "open", "mail"])
def test_a_reserved_name_gets_a_number(name: str) -> None:
    assert next(slug_candidates(f"{name}@example.org")) == f"{name}2"
