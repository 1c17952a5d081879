"""The command as its user meets it: output, exit status, help towards the right words."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from forge import BIN, GREETER

import pluginapi

if TYPE_CHECKING:
    from forge import Command, Forge


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["english", "greet", "World"], "Hello, World! Nice to meet you.\n"),
        (["spanish", "greet", "World"], "¡Hola, World! Mucho gusto.\n"),
        (["persian", "greet", "دنیا"], "سلام، دنیا! خوشوقتم.\n"),
        (["uppercase", "transform", "straße"], "STRASSE\n"),
        (["reverse", "transform", "abc"], "cba\n"),
        (["add", "execute", "10", "5"], "15.0\n"),
        (["subtract", "execute", "-5", "2.5"], "-7.5\n"),
        (["transform", "handle", '{"id": "1", "body": "aGVsbG8="}'], "Response(status=200, body=b'HELLO')\n"),
        (["filter", "handle", '{"id": "1", "body": ""}'], "Response(status=400, body=b'empty body')\n"),
    ],
)
def test_call_prints_the_answer(command: Command, words: list[str], printed: str) -> None:
    done = command("call", *words)
    assert (done.stdout.decode(), done.stderr, done.returncode) == (printed, b"", 0)


def test_call_prints_json(command: Command) -> None:
    assert command.json("call", "add", "execute", "1", "2") == {"plugin": "add", "method": "execute", "result": 3.0}
    assert command.json("call", "filter", "handle", '{"id": "1", "body": "aGk="}')["result"] == {
        "status": 200,
        "body": "aGk=",
    }


@pytest.mark.parametrize(
    ("words", "status", "code", "hint"),
    [
        (["englsh", "greet", "x"], 2, "plugin-unknown", "did you mean english?"),
        (["english", "gret", "x"], 2, "method-unknown", "it has: greet"),
        (["english", "init", "x"], 2, "method-unknown", "it has: greet"),
        (["english", "greet"], 2, "arguments-wrong", "it is called as greet(name: str) -> str"),
        (["english", "greet", "a", "b"], 2, "arguments-wrong", "it is called as greet(name: str) -> str"),
        (["add", "execute", "1", "two"], 2, "arguments-wrong", "write a float, as JSON unless it is plain"),
        (["filter", "handle", '{"id": "1"}'], 2, "arguments-wrong", "write a Request, as JSON unless it is plain"),
        (["divide", "execute", "1", "0"], 1, "call-failed", "--traceback"),
    ],
)
def test_what_goes_wrong_ends_with_its_status_code_and_hint(
    command: Command, words: list[str], status: int, code: str, hint: str
) -> None:
    done = command("call", *words)
    first, *rest = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (status, b"")
    assert first.startswith(f"error: [{code}] ")
    assert len(rest) == 1, "no traceback"
    assert rest[0].startswith("hint: ")
    assert hint in rest[0]


def test_division_by_zero_is_a_clear_error(command: Command) -> None:
    assert "division by zero" in command("call", "divide", "execute", "1", "0").stderr.decode()


def test_traceback_shows_where_an_error_arose(command: Command) -> None:
    shown = command("call", "divide", "execute", "1", "0", "--traceback").stderr.decode()
    assert "Traceback (most recent call last)" in shown
    assert "pluginhost_calculator.py" in shown
    assert shown.splitlines()[-1].startswith("hint: ")


def test_wrong_usage_ends_with_2(command: Command) -> None:
    assert command("list", "--no-such-option").returncode == 2
    assert command("no-such-command").returncode == 2


BYTES = """
from pluginapi import Plugin

class Bytes(Plugin):
    def twice(self, data: bytes) -> bytes:
        return data * 2

    def kinds(self, number: int, yes: bool, names: list[str], *more: float) -> str:
        return repr((number, yes, names, more))

    def evil(self) -> str:
        return "\\x1b[2Jgone\\nline"

def New() -> Bytes:
    return Bytes()
"""


def test_bytes_come_from_text_a_file_or_standard_input_and_go_out_as_they_are(
    forge: Forge, command: Command, tmp_path: Path
) -> None:
    forge.plugin("bytes", BYTES)
    data = bytes(range(256))
    tmp_path.joinpath("data").write_bytes(data)
    assert command("call", "bytes", "twice", "ab").stdout == b"abab"
    assert command("call", "bytes", "twice", "@data").stdout == data * 2
    assert command("call", "bytes", "twice", "-", stdin=data).stdout == data * 2
    missing = command("call", "bytes", "twice", "@nowhere")
    assert missing.returncode == 2
    assert b"arguments-wrong" in missing.stderr


def test_arguments_are_converted_by_the_type_hints(forge: Forge, command: Command) -> None:
    forge.plugin("bytes", BYTES)
    done = command("call", "bytes", "kinds", "-3", "true", '["a", "b"]', "1.5", "2")
    assert done.stdout.decode() == "(-3, True, ['a', 'b'], (1.5, 2.0))\n"


def test_what_a_plugin_returns_cannot_drive_the_terminal(forge: Forge, command: Command) -> None:
    forge.plugin("bytes", BYTES)
    assert command("call", "bytes", "evil").stdout == b"\\x1b[2Jgone\nline\n"


def test_metadata_is_escaped_in_info(forge: Forge, command: Command) -> None:
    site = forge.plugin("sly")
    [metadata] = site.glob("zoo_sly-*.dist-info/METADATA")
    metadata.write_text(metadata.read_text().replace("Version: 1.0.0", "Version: 1.0.0\nSummary: \x1b[31mred\u202e"))
    shown = command("info", "sly").stdout.decode()
    assert "\\x1b[31mred\\u202e" in shown
    assert "\x1b" not in shown


def test_info_tells_author_summary_licence_and_homepage(forge: Forge, command: Command) -> None:
    project = (
        'description = "A summary."\nlicense = "MIT"\nauthors = [{ name = "Ada" }]\n'
        'urls = { Homepage = "https://example.com/Path" }'
    )
    forge.plugin("told", project=project, hook=True)
    facts = command.json("info", "told")
    assert {key: facts[key] for key in ("summary", "author", "license", "homepage")} == {
        "summary": "A summary.",
        "author": "Ada",
        "license": "MIT",
        "homepage": "https://example.com/Path",
    }
    assert facts["built_against"]["fingerprint"] == pluginapi.fingerprint()
    assert facts["state"] == "ready"
    shown = command("info", "told").stdout.decode()
    assert "https://example.com/Path" in shown


def test_info_tells_what_a_plugin_requires(forge: Forge, command: Command) -> None:
    table = '[tool.pluginapi.plugins."pluginhost.plugins".needy]\n'
    settings = table + 'requires = { contracts = ["Transformer"], plugins = ["english", "persian"] }'
    forge.plugin("needy", hook=True, settings=settings)
    assert command.json("info", "needy")["requires"] == {
        "plugins": ["english", "persian"],
        "contracts": ["Transformer"],
    }
    shown = command("info", "needy").stdout.decode()
    assert "\nrequires:\n  plugins    english, persian\n  contracts  Transformer\norigin " in shown
    assert "\nrequires       -\norigin " in command("info", "english").stdout.decode()


def test_info_reads_a_wheel_file_without_installing_it(forge: Forge, command: Command) -> None:
    wheel = forge.wheel(
        "zoo-file", {"zoo_file.py": f"raise RuntimeError\n{GREETER}"}, 'file = "zoo_file:New"', hook=True
    )
    facts = command.json("info", wheel)
    assert (facts["distribution"], facts["version"]) == ("zoo-file", "1.0.0")
    assert facts["built_against"] == {
        "package": "pluginapi",
        "version": pluginapi.API_VERSION,
        "fingerprint": pluginapi.fingerprint(),
    }
    assert [(row["name"], row["state"]) for row in facts["plugins"]] == [("file", "ready")]
    assert "file" not in [row["name"] for row in command.json("list")["plugins"]]
    other = forge.wheel("zoo-late", {"zoo_late.py": GREETER}, 'late = "zoo_late:New"', dependencies=("pluginapi>=9",))
    [late] = command.json("info", other)["plugins"]
    assert (late["state"], late["findings"][0]["code"]) == ("refused", "pin-unsatisfied")


@pytest.mark.parametrize("content", [None, b"", b"PK no zip", b"\0" * 100])
def test_what_is_not_a_wheel_is_a_clear_error(command: Command, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.whl"
    if content is not None:
        path.write_bytes(content)
    done = command("info", path)
    assert done.returncode == 2
    assert b"[wheel-unreadable]" in done.stderr


@pytest.mark.parametrize("name", ["english", "spanish", "persian"])
def test_greeters_are_escaped_not_crashing_where_the_terminal_is_ascii(command: Command, name: str) -> None:
    """The C locale with Python's own repair of it switched off, so that standard output really is ASCII."""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    whole = command("call", name, "greet", "World")
    narrow = command("call", name, "greet", "World", env=ascii_only)
    assert narrow.returncode == 0, narrow.stderr.decode()
    assert narrow.stdout == whole.stdout.decode().encode("ascii", "backslashreplace")
    assert command("call", name, "greet", "World", env={"LC_ALL": "C"}).returncode == 0
    assert command("list", env=ascii_only).returncode == 0


def test_list_is_a_table_on_a_terminal_and_plain_columns_in_a_pipe(command: Command) -> None:
    lines = command("list").stdout.decode().splitlines()
    assert lines[0].split() == ["NAME", "DISTRIBUTION", "VERSION", "API", "STATE", "CONTRACTS", "CAPABILITIES"]
    assert ["english", "pluginhost-english", "1.0.0", "pluginapi~=1.0", "ready", "Greeter", "-"] in [
        line.split() for line in lines
    ]
    parent, child = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
    subprocess.run([BIN / "pluginhost", "list"], stdout=child, stderr=child, check=True, env=environment)
    os.close(child)
    shown = b""
    while True:
        try:
            chunk = os.read(parent, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(parent)
    assert b"\x1b[1mNAME" in shown
    assert b"pluginhost-english" in shown


def test_names_are_completed(tmp_path: Path) -> None:
    environment = os.environ | {
        "_PLUGINHOST_COMPLETE": "bash_complete",
        "COMP_WORDS": "pluginhost call pers",
        "COMP_CWORD": "2",
    }
    done = subprocess.run([BIN / "pluginhost"], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["plain,persian"]


def test_the_module_runs_as_the_command_does(command: Command) -> None:
    script = subprocess.run([BIN / "pluginhost", "list", "--json"], capture_output=True, check=True)
    assert json.loads(script.stdout)["plugins"] == command.json("list")["plugins"]
    version = subprocess.run(
        [sys.executable, "-m", "pluginhost", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("pluginhost 0.")


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_plugins_failure_says_what_why_where_and_the_one_command_that_helps(
    forge: Forge, command: Command, is_terminal: bool
) -> None:
    """Also when its traceback ends in a library; and on a terminal in the same words."""
    forge.plugin("ends", "import json\n" + GREETER.replace("return Some()", "return json.loads('{')"))
    arguments = [BIN / "pluginhost", "call", "ends", "greet", "Ada"]
    environment = {
        "PYTHONPATH": str(forge.site),
        "PATH": os.environ["PATH"],
        "HOME": str(forge.folder),
        "TERM": "xterm",
    }
    if is_terminal:
        parent, child = pty.openpty()
        done = subprocess.run(arguments, stdout=child, stderr=child, env=environment, check=False)
        os.close(child)
        with contextlib.suppress(OSError), os.fdopen(parent, "rb") as screen:
            shown = screen.read1(65_536).decode()
        assert "\x1b[" in shown, "what it is stands out"
        shown = re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("\r\n", "\n")
    else:
        done = subprocess.run(arguments, stderr=subprocess.PIPE, env=environment, check=False)
        shown = done.stderr.decode()
    what, hint, command_ = shown.splitlines()
    assert done.returncode == 1
    assert what.startswith("error: [factory-failed] ends (zoo-ends 1.0.0): New() raised JSONDecodeError: Expecting ")
    assert re.search(r", in /.+/json/decoder\.py, line \d+, called from /.+/zoo_ends\.py, line 12$", what)
    assert hint == "hint: tell the author of zoo-ends; --traceback shows more"
    assert command_ == "next: pluginhost disable ends"


def test_an_import_that_lacks_something_is_looked_into_by_pip(forge: Forge, command: Command) -> None:
    forge.plugin("lacks", f"import no_such_module\n{GREETER}")
    shown = command("call", "lacks", "greet", "Ada").stderr.decode().splitlines()
    assert "No module named 'no_such_module', in " in shown[0]
    assert shown[0].endswith("zoo_lacks.py, line 1")
    assert shown[2] == "next: pip check"


UNCAUGHT = {
    "import": "raise ValueError('no')\n",
    "New": "def New(): raise ValueError('no')\n",
    "init": "class Some(Greeter):\n    lang = ''\n    def greet(self, name): ...\n    def init(self, host): raise ValueError('no')\nNew = Some\n",
    "greet": "class Some(Greeter):\n    lang = ''\n    def greet(self, name): raise ValueError('no')\nNew = Some\n",
}


@pytest.mark.parametrize("stage", UNCAUGHT)
def test_an_applications_traceback_ends_with_the_plugin_and_its_version(forge: Forge, stage: str) -> None:
    site = forge.plugin("ends", f"from pluginapi import Greeter\n{UNCAUGHT[stage]}", version="3.2.1")
    code = "import pluginhost, pluginapi; pluginhost.PluginManager().get('ends', pluginapi.Greeter).greet('Ada')"
    environment = {"PYTHONPATH": str(site), "PATH": os.environ["PATH"], "HOME": str(forge.folder)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    last = done.stderr[done.stderr.rindex("\npluginhost.errors.") :].splitlines()[1]
    assert re.search(rf"ends \(zoo-ends 3\.2\.1\): .*{stage}.* raised ValueError: no", last)
