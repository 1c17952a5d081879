from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginhost.catalogue import CODES
from pluginhost.errors import Finding, escape


@given(st.text())
def test_what_is_escaped_holds_no_control_and_can_be_encoded(text: str) -> None:
    shown = escape(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
    shown.encode()


@pytest.mark.parametrize("text", ["\x1b[2J", "\u202egnp.exe", "\u2066", "\x9b1m", "\r", "\ud800", "\u2028"])
def test_what_a_terminal_would_obey_is_escaped(text: str) -> None:
    assert escape(text).startswith("\\")


def test_scripts_stay_as_they_are() -> None:
    persian = "می\u200cخواهم، ¡Hola! 你好"
    assert escape(persian) == persian


def test_newlines_stay_where_they_are_wanted() -> None:
    assert escape("a\n\tb\x07", keep="\n\t") == "a\n\tb\\x07"


def test_a_finding_stays_below_four_kilobytes() -> None:
    finding = Finding("call-failed", "x" * 10**6, "y" * 10**6)
    assert len(str(finding).encode()) < 4_200
    assert "1,000,000 characters" in finding.message


def test_a_finding_takes_no_code_that_is_not_in_the_catalogue() -> None:
    with pytest.raises(KeyError):
        Finding("unheard-of", "", "")


def test_every_code_is_kebab_case_and_explained() -> None:
    for name, code in CODES.items():
        assert name == name.lower().strip("-")
        assert name.replace("-", "").isalpha()
        assert code.severity in ("error", "warning")
        for text in (code.meaning, code.cause, code.mend):
            assert text[0].isupper() or text[0] == "`"
            assert text.endswith(".")
