from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pluginhost import ConfigurationError
from pluginhost.edits import edited, set_values

KEYS = ("plugins", "english", "enabled")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[plugins.english]\nenabled = false\n"),
        ("group = 'x'", "group = 'x'\n\n[plugins.english]\nenabled = false\n"),
        ("[plugins.english]\nenabled = true # why\n# end\n", "[plugins.english]\nenabled = false # why\n# end\n"),
        ("[plugins.english] # a\n\n# b\n[z]\n", "[plugins.english] # a\nenabled = false\n\n# b\n[z]\n"),
        ("[plugins.english]", "[plugins.english]\nenabled = false\n"),
        ("  [plugins.english]\n  a = 1\n", "  [plugins.english]\n  enabled = false\n  a = 1\n"),
        ("# x\r\n[plugins.english]\r\n", "# x\r\n[plugins.english]\r\nenabled = false\r\n"),
        ("a = 1 # x\r\n", "a = 1 # x\r\n\r\n[plugins.english]\r\nenabled = false\r\n"),
        ("plugins = {english = {a = 1}} # x\n", "plugins = {english = {a = 1,enabled = false}} # x\n"),
        ("plugins = {} # x\n", "plugins = {english = {enabled = false}} # x\n"),
        ("[plugins]\nenglish = {enabled=true} # x\n", "[plugins]\nenglish = {enabled=false} # x\n"),
        ("plugins.english.a = 1 # x\nb = 2\n", "plugins.english.a = 1 # x\nplugins.english.enabled = false\nb = 2\n"),
        ("plugins.b.a = nan # x\n", "plugins.b.a = nan # x\n\n[plugins.english]\nenabled = false\n"),
        ('[plugins."english"]\na = 1\n', '[plugins."english"]\nenabled = false\na = 1\n'),
        ('s = """\n[plugins.english]\n"""', 's = """\n[plugins.english]\n"""\n\n[plugins.english]\nenabled = false\n'),
        ("[plugins.english.config]\nx = 1 # y\n", "[plugins.english]\nenabled = false\n\n[plugins.english.config]\nx = 1 # y\n"),
        ("[plugins.english]\nenabled = 3 # no\n", None),
        ("plugins = 3\n", None),
        ("[[plugins]]\nx = 1\n", None),
        ("[[plugins.english]]\nx = 1\n", None),
    ],
)  # fmt: skip
def test_a_value_is_set_and_all_else_stays(before: str, after: str | None) -> None:
    assert edited(before, KEYS, False) == after


def test_a_name_that_is_not_plain_is_quoted() -> None:
    made = edited("", ("plugins", 'odd "name".x', "enabled"), True)
    assert made
    assert tomllib.loads(made) == {"plugins": {'odd "name".x': {"enabled": True}}}


# -- documents as persons write them

NAMES = st.sampled_from(["english", "b", "odd name", "a.b"])
COMMENT = st.sampled_from(["", "", " # why", "  # é “quoted” [plugins.english]", "#"])
END = st.sampled_from(["\n", "\r\n"])
VALUE = st.sampled_from(
    ["1", "1.50", "nan", "true", "'x # no comment'", '"\\u00e9"', "2030-01-01T00:00:00Z", "0x1F",
     "[ 1, 2,  # one\n  3,\n]", '"""\nenabled = true\n[plugins.english]\n"""', "{ x = 1, y = { z = 'a' } }"]
)  # fmt: skip
SPACE = st.sampled_from(["", "", "\n", "\n# a word\n", "   \n", "# enabled = true\n\n\n"])


def spelt(name: str) -> str:
    return name if name.isalpha() else f'"{name}"'


@st.composite
def table(draw: st.DrawFn, head: str) -> str:
    """A table with comments, and perhaps the switch, among other values."""
    indent = draw(st.sampled_from(["", "", "  "]))
    lines = [f"{indent}[{head}]{draw(COMMENT)}\n"]
    keys = draw(st.lists(st.sampled_from(["enabled", "call_timeout", "config.x", "config.y", "z"]), unique=True))
    for key in keys:
        value = draw(st.sampled_from(["true", "false"])) if key == "enabled" else draw(VALUE)
        lines.append(
            f"{draw(SPACE)}{indent}{key}{draw(st.sampled_from([' = ', '=', '   =  ']))}{value}{draw(COMMENT)}\n"
        )
    return "".join(lines) + draw(SPACE)


@st.composite
def document(draw: st.DrawFn) -> str:
    parts = [draw(SPACE)]
    parts += [
        f"{key} = {draw(VALUE)}{draw(COMMENT)}\n"
        for key in draw(st.lists(st.sampled_from(["group", "api"]), unique=True))
    ]
    style = draw(st.sampled_from(["tables", "tables", "inline", "dotted"]))
    names = draw(st.lists(NAMES, unique=True))
    if style == "inline":
        inner = ", ".join(f"{spelt(name)} = {{ call_timeout = 3, enabled = true }}" for name in names)
        parts.append(f"plugins = {{ {inner} }}{draw(COMMENT)}\n")
    elif style == "dotted":
        parts += [f"plugins.{spelt(name)}.z = {draw(VALUE)}{draw(COMMENT)}\n" for name in names]
    else:
        heads = [f"plugins.{spelt(name)}" for name in names] + draw(
            st.lists(st.sampled_from(["host", "tool.x"]), unique=True)
        )
        parts += [draw(table(head)) for head in draw(st.permutations(heads))]
    text = "".join(parts)
    if draw(st.booleans()):
        text = text.rstrip("\n")
    return text.replace("\n", draw(END))


@given(document(), NAMES, st.booleans())
@settings(max_examples=300)
def test_a_document_differs_in_the_one_value_alone(text: str, name: str, value: bool) -> None:
    keys = ("plugins", name, "enabled")
    before: dict[str, Any] = tomllib.loads(text)
    after = edited(text, keys, value)
    assert after is not None
    wanted = before
    wanted.setdefault("plugins", {}).setdefault(name, {})["enabled"] = value
    assert repr(sorted(flat(tomllib.loads(after)))) == repr(sorted(flat(wanted)))
    old, new = lines(text), lines(after)
    lost = [line for line in old if line not in new]
    assert len(lost) <= 1, "a line stays as it is, but for the one with the value"
    for line in lost:
        assert line.partition("#")[2] in after, "with its comment"
    assert "\r\n" not in text or after.count("\n") - after.count("\r\n") == text.count("\n") - text.count("\r\n")
    assert edited(after, keys, value) == after


def lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").split("\n")


def flat(table: dict[str, Any], before: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
    found = []
    for key, value in table.items():
        found += flat(value, (*before, key)) if isinstance(value, dict) else [((*before, key), repr(value))]
    return found


# -- the file


def test_a_file_is_made_for_the_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "pluginhost.toml"
    assert set_values(str(file), [KEYS, ("instances", "a", "enabled")], False)
    assert tomllib.loads(file.read_text()) == {
        "plugins": {"english": {"enabled": False}},
        "instances": {"a": {"enabled": False}},
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert os.listdir(file.parent) == ["pluginhost.toml"]


def test_a_files_mode_and_link_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "pluginhost.toml"
    real.write_text("# mine\n")
    real.chmod(0o640)
    link.symlink_to("real.toml")
    assert set_values(str(link), [KEYS], True)
    assert (link.is_symlink(), stat.S_IMODE(real.stat().st_mode)) == (True, 0o640)
    assert real.read_text() == "# mine\n\n[plugins.english]\nenabled = true\n"
    inode = real.stat().st_ino
    assert not set_values(str(link), [KEYS], True)
    assert real.stat().st_ino == inode, "nothing was written"


def test_a_pyproject_has_it_in_its_table(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text("[project]\nname = 'x' # y\n")
    assert set_values(str(file), [KEYS], False)
    assert file.read_text() == "[project]\nname = 'x' # y\n\n[tool.pluginhost.plugins.english]\nenabled = false\n"


@pytest.mark.parametrize("content", [b"[plugins", b"\xff", b"plugins = 3\n", b"[plugins.english]\nenabled = 'yes'\n"])
def test_a_file_that_cannot_be_changed_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "f.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"f\.toml"):
        set_values(str(file), [("plugins", "fine", "enabled"), KEYS], False)
    assert (file.read_bytes(), os.listdir(tmp_path)) == (content, ["f.toml"])


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f.toml"
    file.write_text("# old\n")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="No space left") as raised:
        set_values(str(file), [KEYS], False)
    assert raised.value.finding.code == "target-unwritable"
    assert (file.read_text(), os.listdir(tmp_path)) == ("# old\n", ["f.toml"])
