"""`pluginhost profile`: the right stage of the right plugin gets the time, and nothing of any runs in the host."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from forge import GREETER, obey_signals
from pluginhost import PluginManager
from pluginhost.profile import measure

if TYPE_CHECKING:
    from pathlib import Path

    from forge import Command, Forge

SLOW = "import time\ntime.sleep(0.6)\n"

PLUGIN = """
import sys
from pluginapi import Greeter

class Some(Greeter):
    lang = "Some"

    def init(self, host):
        {init}

    def greet(self, name: str) -> str:
        return name

def New():
    {new}
    return Some()
"""

WAIT = "import time; time.sleep(0.6)"


def source(*, new: str = "pass", init: str = "pass") -> str:
    return PLUGIN.format(new=new, init=init)


def plugins(command: Command, *words: str) -> dict[str, Any]:
    """Returns what was measured, by plugin; the examples that are installed beside are left out."""
    return {each["name"]: each for each in command.json("profile", "--repeat", "1", *words)["plugins"]}


def slowest(plugin: dict[str, Any]) -> str:
    return max(plugin["stages"], key=lambda stage: plugin["stages"][stage]["ms"])


def test_each_stage_gets_its_own_time_and_modules(forge: Forge, command: Command) -> None:
    forge.plugin("early", SLOW + source())
    forge.plugin("making", source(new=f"{WAIT}; import wave"))
    forge.plugin("starting", source(init=f"{WAIT}; import chunk_of_mine"))
    forge.site.joinpath("chunk_of_mine.py").write_text("import this_one\n")
    forge.site.joinpath("this_one.py").write_text("")
    found = plugins(command, "early", "making", "starting", "english")
    assert {name: slowest(found[name]) for name in ("early", "making", "starting")} == {
        "early": "import",
        "making": "new",
        "starting": "init",
    }
    assert [*found][-1] == "english", "the slowest is first"
    [early] = [each for each in found["early"]["stages"]["import"]["imports"] if each["name"] == "zoo_early"]
    assert early["self_us"] >= 600_000
    assert "wave" in [each["name"] for each in found["making"]["stages"]["new"]["imports"]]
    imports = found["starting"]["stages"]["init"]["imports"]
    assert [(each["name"], each["depth"]) for each in imports] == [("chunk_of_mine", 0), ("this_one", 1)]
    assert found["starting"]["modules"] == 3, "its own and these two"
    assert found["english"]["modules"] == 1, "what the host itself needs is not the plugin's"


def test_what_a_plugin_requires_or_asks_for_is_not_counted_as_its_own(forge: Forge, command: Command) -> None:
    manifest = '[tool.pluginapi.plugins."pluginhost.plugins".user.requires]\nplugins = ["early"]'
    forge.plugin("early", SLOW + source(init="import this_one"))
    forge.site.joinpath("this_one.py").write_text("")
    forge.plugin("user", source(), settings=manifest, hook=True)
    forge.plugin("asking", source(init="import pluginapi; host.get('early', pluginapi.Greeter)"))
    found = plugins(command, "early", "user", "asking")
    assert next(iter(found)) == "early", "the slowest is first"
    assert found["user"]["modules"] == found["asking"]["modules"] == 1
    assert found["asking"]["stages"]["init"]["imports"] == []


def test_it_is_measured_as_it_is_configured(forge: Forge, site: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    forge.plugin(
        "some", source(init=f"open({str(said)!r}, 'a').write(str((*host.config.items(), *host.capabilities)))")
    )
    manager = PluginManager(plugins={"some": {"config": {"size": 3}}, "off": {"enabled": False}}, capabilities={"x"})
    [found] = measure([manager.row("some")], manager.configuration, repeat=2)
    assert (found.findings, said.read_text()) == ([], "(('size', 3), 'x')" * 2)
    barred = PluginManager(plugins={"some": {"enabled": False}})
    [found] = measure([barred.row("some")], barred.configuration)
    assert ([each.code for each in found.findings], found.run) == (["disabled"], None)


def test_a_plugin_that_has_a_process_of_its_own_is_measured_all_the_same(forge: Forge, site: Path) -> None:
    forge.plugin("some", source())
    isolated = {"isolation": "process", "limits": {"memory": 512}, "critical": True}
    manager = PluginManager(plugins={"some": isolated})
    [found] = measure([manager.row("some")], manager.configuration, repeat=1)
    assert (found.findings, found.run and found.run.modules) == ([], 1)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import-failed", "raise RuntimeError('<b>')"),
        ("init-failed", source(init="raise RuntimeError('no')")),
        ("pin-missing", GREETER),
    ],
)
def test_a_plugin_that_fails_is_told_in_its_line_and_the_others_are_measured(
    forge: Forge, command: Command, code: str, text: str
) -> None:
    forge.plugin("bad", text, dependencies=() if code == "pin-missing" else ("pluginapi~=1.0",))
    done = command("profile", "--repeat", "1", "bad", "english")
    _, good, bad = done.stdout.decode().splitlines()
    assert done.returncode == 1
    assert good.split()[0] == "english"
    assert bad.split() == ["bad", "-", "-", "-", "-", "-", code]
    assert f"[{code}] " in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_where_a_plugin_hangs_and_with_what_it_ends_is_told(forge: Forge, command: Command) -> None:
    forge.plugin("hung", source(init="import time; time.sleep(600)"))
    forge.plugin("gone", source(new="import os; print('last words', flush=True); os._exit(3)"))
    done = command("profile", "--timeout", "6", "hung", "gone")
    told = done.stderr.decode()
    assert {line.split()[-1] for line in done.stdout.decode().splitlines()[1:]} == {"profile-hung", "profile-crashed"}
    assert "its init did not come to an end in 6 s: File " in told
    assert "zoo_hung.py" in told
    assert "its factory ended the process, with exit status 3: last words" in told


def test_a_plugin_that_writes_what_python_would_write_breaks_nothing(forge: Forge, command: Command) -> None:
    forged = (
        "import os\nos.write(2, b'import time: 1 | 99999999999 | ' + b'  ' * 900 + b'<script>\\n')\n"
        "os.write(2, bytes(range(256)) * 50)\nos.write(1, b'{}\\n')\nos.close(2)\n"
    )
    forge.plugin("forger", forged + source())
    found = plugins(command, "forger")
    assert found["forger"]["findings"] == []
    assert found["forger"]["stages"]["import"]["ms"] > 0


def test_without_an_api_what_is_named_is_imported_and_not_called(forge: Forge, command: Command) -> None:
    files = {"fatal.py": "def main():\n    raise SystemExit(9)\n"}
    forge.install(forge.wheel("zoo-tool", files, project='[project.entry-points.tools]\nfatal = "fatal:main"'))
    [found] = plugins(command, "--group", "tools", "--api", "none").values()
    assert (found["findings"], found["modules"]) == ([], 1)
    assert found["stages"]["import"]["ms"] > 0 == found["stages"]["new"]["ms"] == found["stages"]["init"]["ms"]


def test_a_page_is_written_where_it_was_asked_for(forge: Forge, command: Command, tmp_path: Path) -> None:
    forge.plugin("bad", "raise RuntimeError('<b>')")
    page = tmp_path / "page.html"
    assert command("profile", "--repeat", "1", "english", "bad", "--html", page).returncode == 1
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>")
    assert "pluginhost_english" in text
    assert "RuntimeError: &lt;b&gt;" in text
    missing = command("profile", "--html", tmp_path / "no-folder" / "page.html")
    assert missing.returncode == 2
    assert b"no file can be written in" in missing.stderr


def test_nothing_of_a_plugin_is_imported_in_the_hosts_own_process(forge: Forge, tmp_path: Path) -> None:
    forge.plugin("spy", f"import os\nopen({str(tmp_path / 'spied')!r}, 'a').write(f'{{os.getpid()}}\\n')\n" + GREETER)
    script = (
        "import os, sys\nfrom pluginhost.cli import main\ntry:\n    main()\nfinally:\n"
        "    print(os.getpid(), 'zoo_spy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "profile", "--repeat", "3", "spy"],
        env={"PYTHONPATH": str(forge.site), "HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
        text=True,
        cwd=tmp_path,
    )
    host, imported = done.stdout.split()[-2:]
    importers = (tmp_path / "spied").read_text().split()
    assert (len({*importers}), imported) == (3, "False")
    assert host not in importers


def test_on_a_terminal_it_is_a_table_with_bars(forge: Forge, tmp_path: Path) -> None:
    forge.plugin("early", SLOW + source())
    receiver, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "pluginhost", "profile", "early", "--repeat", "1"],
        stdout=terminal, stdin=terminal, stderr=subprocess.DEVNULL, cwd=tmp_path, preexec_fn=obey_signals,
        env={
            "TERM": "xterm-256color", "COLUMNS": "80", "HOME": str(tmp_path), "PATH": os.environ["PATH"],
            "PYTHONPATH": str(forge.site),
        },
    ) as process:  # fmt: skip
        os.close(terminal)
        shown = b""
        while data := _read(receiver):
            shown += data
    assert process.returncode == 0
    assert b"\x1b[34m####" in shown, "in the colour of an import"
    assert len([line for line in shown.splitlines() if b"#" in line or b"=" in line]) == 2, "no line is broken"


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # the terminal's other end is closed
        return b""
