"""Each plugin takes its share of the keys, the same ones each time, in each process and on each Python."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pluginhost import shares
from pluginhost.shares import taker

ROUTE = "Greeter"
KEYS = [f"customer-{number}" for number in range(100_000)]
TENTH = "950d812d747a43aaea564cc1e12afc16b67ee1d22e0c653167ea356f9136d2e9"
"""Of those keys that a rollout of 10 % takes, one a line: another digest is another set, and customers who change."""

OF_ANOTHER_PROCESS = """
import hashlib
from pluginhost.shares import taker

keys = (f"customer-{number}" for number in range(100_000))
print(hashlib.sha256("\\n".join(key for key in keys if taker("Greeter", key, [("next", 10.0)])).encode()).hexdigest())
"""

some_keys = st.lists(st.text(), min_size=1, max_size=8)
# Plugins and their shares, which together are at most 100 %.
some_shares = st.lists(st.integers(0, 100), min_size=1, max_size=5).map(
    lambda parts: [(f"p{at}", part * 100.0 / max(sum(parts), 100)) for at, part in enumerate(parts)]
)


def taken(share: float, route: str = ROUTE) -> list[str]:
    return [key for key in KEYS if taker(route, key, [("next", share)])]


@pytest.fixture(scope="module")
def tenth() -> list[str]:
    return taken(10)


def test_a_rollout_of_a_tenth_takes_a_tenth_of_the_keys_and_always_these(tenth: list[str]) -> None:
    assert 9_500 <= len(tenth) <= 10_500
    assert tenth == taken(10)
    assert hashlib.sha256("\n".join(tenth).encode()).hexdigest() == TENTH


def test_another_process_has_the_same_keys() -> None:
    """Whatever its seed for the hashes of text is."""
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", OF_ANOTHER_PROCESS]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip() == TENTH


def test_a_fifth_contains_the_tenth(tenth: list[str]) -> None:
    fifth = taken(20)
    assert 19_500 <= len(fifth) <= 20_500
    assert {*tenth} < {*fifth}


def test_what_one_route_takes_says_nothing_of_another(tenth: list[str]) -> None:
    assert 800 <= len({*tenth} & {*taken(10, "Handler")}) <= 1_200


def test_several_have_their_shares_and_the_default_what_is_left() -> None:
    counts = Counter(taker(ROUTE, key, [("a", 20), ("b", 30), ("c", 10)]) for key in KEYS[:20_000])
    for name, share in {"a": 20, "b": 30, "c": 10, None: 40}.items():
        assert abs(counts[name] / 200 - share) < 1.5


@settings(max_examples=50)
@given(some_keys, some_shares, st.data())
def test_one_whose_share_grows_keeps_its_keys(
    keys: list[str], split: list[tuple[str, float]], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(split) - 1))
    name, share = split[at]
    more = data.draw(st.floats(0, max(0.0, 100 - sum(share for _, share in split))))
    grown = [*split[:at], (name, share + more), *split[at + 1 :]]
    for key in keys:
        if taker(ROUTE, key, split) == name:
            assert taker(ROUTE, key, grown) == name


@given(some_keys, some_shares)
def test_one_whose_share_grows_takes_no_key_of_those_before_it(keys: list[str], split: list[tuple[str, float]]) -> None:
    *before, (last, _) = split
    rest = 100 - sum(share for _, share in before)
    for key in keys:
        if (holder := taker(ROUTE, key, before)) is not None:
            assert taker(ROUTE, key, [*before, (last, rest)]) == holder


@given(st.none() | st.text(), st.lists(st.integers(1, 100), min_size=1, max_size=6))
def test_shares_of_100_percent_leave_nobody_to_the_default(key: str | None, parts: list[int]) -> None:
    split = [(f"p{at}", part * 100 / sum(parts)) for at, part in enumerate(parts)]
    assert taker(ROUTE, key, split) is not None


def test_nobody_is_left_to_the_default_by_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The greatest number that is drawn is, as a float, one more than there are."""
    monkeypatch.setattr(shares, "_drawn", lambda *of: 2.0**64)
    assert [taker(ROUTE, "c-7", [("a", share)]) for share in (100.0, 99.9)] == ["a", None]


@given(st.none() | st.text(), some_shares)
def test_one_without_a_share_takes_nothing(key: str | None, split: list[tuple[str, float]]) -> None:
    assert taker(ROUTE, key, [("none", 0.0)]) is None
    assert taker(ROUTE, key, [*split, ("none", 0.0)]) != "none"


def test_a_call_without_a_key_is_drawn_anew() -> None:
    random.seed(1)
    drawn = [taker(ROUTE, None, [("next", 10)]) for _ in range(10_000)]
    assert 900 <= drawn.count("next") <= 1_100


@settings(max_examples=20)
@given(st.text(st.characters(categories=["Cs"]), min_size=1))
def test_a_key_may_be_any_text(key: str) -> None:
    """Even one that no encoding has, as a header that was decoded badly."""
    assert taker(ROUTE, key, [("next", 100)]) == "next"
    assert taker(ROUTE, key, [("next", 50)]) in ("next", None)
