from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginhost import names
from pluginhost.survey import Candidate, Distribution


def candidate(name: str, distribution: str = "some") -> Candidate:
    return Candidate("pluginhost.plugins", name, "some:New", Distribution(distribution, "1.0", "", "/info"))


def codes(*candidates: Candidate) -> list[str]:
    clashes = names.clashes(candidates)
    return [clashes[each].code if each in clashes else "" for each in candidates]


@pytest.mark.parametrize("name", ["a", "english", "http.handlers.rate", "my-plugin_2", "3d"])
def test_these_names_are_allowed(name: str) -> None:
    assert list(names.check_name(candidate(name))) == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../etc",
        "a/b",
        "a\\b",
        "C:",
        "a b",
        "a\nb",
        "\x1b[2J",
        "good-а",
        "ｅnglish",
        "a..b",
        "-a",
        "a-",
        "x" * 129,
    ],
)
def test_these_names_are_not_and_are_shown_escaped(name: str) -> None:
    for plugin, distribution in ((name, "some"), ("some", name)):
        [finding] = names.check_name(candidate(plugin, distribution))
        assert finding.code == "name-invalid"
        assert finding.message.isascii() or plugin == "some"
        assert "\x1b" not in finding.message


@given(st.text(max_size=200))
def test_an_allowed_name_is_one_plain_path_part(name: str) -> None:
    if not list(names.check_name(candidate(name))):
        assert name.isascii()
        assert name.isprintable()
        assert not set(name) & set("/\\: ")
        assert name not in (".", "..")


def test_the_same_name_of_two_distributions_is_a_clash_and_like_names_are_confusable() -> None:
    same = candidate("x", "one"), candidate("x", "two")
    assert codes(*same) == ["name-clash"] * 2
    like = candidate("my-plugin", "one"), candidate("My_Plugin", "two"), candidate("my.plugin", "three")
    assert codes(*like) == ["name-confusable"] * 3
    assert codes(candidate("a"), candidate("b")) == ["", ""]


def test_a_clash_names_both_distributions_and_how_to_pick_one() -> None:
    one, two = candidate("x", "one"), candidate("x", "two")
    finding = names.clashes([one, two])[one]
    assert "one 1.0" in finding.message
    assert "two 1.0" in finding.message
    assert "x@one" in finding.hint
