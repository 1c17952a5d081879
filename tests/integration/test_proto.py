"""`pluginhost proto`: a contract's file, printed or written."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pluginhost.goplugin import proto

from pluginapi import Greeter

if TYPE_CHECKING:
    from pathlib import Path

    from forge import Command


def test_a_contracts_file_is_printed_or_written(command: Command, tmp_path: Path) -> None:
    done = command("proto", "Greeter")
    assert (done.stdout.decode(), done.stderr, done.returncode) == (proto.file_of(Greeter).text, b"", 0)
    target = tmp_path / "new" / "plugin.proto"
    done = command("proto", "Plugin", "--output", target)
    assert (done.stdout.decode(), done.returncode) == (f"{target}: Plugin\n", 0)
    assert target.read_text("utf-8") == proto.PLUGIN.text


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["Greter"], "contract-unknown", "did you mean Greeter?"),
        (["Nothing"], "contract-unknown", "it has: Greeter, Handler, Operation, Plugin, Transformer"),
        (["Greeter", "--api", "none_such"], "api-missing", "install the distribution"),
        (["Greeter", "--output", "/dev/null/x.proto"], "target-unwritable", "choose another --output"),
    ],
)
def test_what_cannot_be_is_told(command: Command, words: list[str], code: str, hint: str) -> None:
    done = command("proto", *words)
    told = done.stderr.decode()
    assert told.startswith(f"error: [{code}]")
    assert hint in told
    assert (done.stdout, done.returncode) == (b"", 2 if code == "contract-unknown" else done.returncode)
    assert done.returncode


def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['google'] = None; sys.argv[1:] = ['proto', 'Greeter']; from pluginhost import cli; cli.main()"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    wanted = "error: [tool-missing] `pluginhost proto` needs grpclib, protobuf and cryptography\nhint: pip install 'pluginhost[goplugin]'\n"
    assert (done.stderr, done.returncode) == (wanted, 2)
