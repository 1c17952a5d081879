"""A plugin's first load happens in a process that may be lost; what it shows is remembered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forge import GREETER, Forge, obey_signals
from pluginhost import PluginImportError, PluginManager, PluginProbeError
from pluginhost.throwaway import MEMORY
from waiting import is_alive, until

from pluginapi import Greeter

COUNT = "import os\nopen(os.environ['ZOO_COUNT'], 'a').write(f'{os.getpid()}\\n')\n"
"""Notes each import of a plugin: the process that did it."""

HOST = """
import sys
from pluginapi import Greeter
from pluginhost import PluginHostError, PluginManager
settings = {"probe": sys.argv[1], "probe_timeout": float(sys.argv[2])}
with PluginManager(**{} if settings == {"probe": "new", "probe_timeout": 30} else settings) as manager:
    try:
        print(manager.get("some", Greeter).greet("Ada"))
    except PluginHostError as exc:
        print(*[finding.code for finding in (exc.finding, *exc.more)])
"""


class Host:
    """A host in a process of its own, over the forge's folder."""

    def __init__(self, forge: Forge, folder: Path) -> None:
        self.count = folder / "count"
        self.script = HOST
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(forge.site),
            "ZOO_COUNT": str(self.count),
        }

    def start(self, probe: str = "new", seconds: float = 30) -> subprocess.Popen[str]:
        """Returns the host's process."""
        return subprocess.Popen(
            [sys.executable, "-c", self.script, probe, str(seconds)],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            preexec_fn=obey_signals,
        )

    def __call__(self, probe: str = "new", seconds: float = 30) -> tuple[str, int]:
        """Returns what a host prints, which must end with 0, and how many processes imported the plugin meanwhile."""
        before = self.imports()
        host = self.start(probe, seconds)
        out, err = host.communicate(timeout=60)
        assert host.returncode == 0, err
        return out.strip(), len(self.imports()) - len(before)

    def imports(self) -> list[str]:
        return self.count.read_text().split() if self.count.exists() else []


@pytest.fixture
def host(forge: Forge, tmp_path: Path) -> Host:
    return Host(forge, tmp_path)


def test_a_good_plugin_pays_once(forge: Forge, host: Host) -> None:
    forge.plugin("some", COUNT + GREETER)
    assert host() == ("some Ada", 2), "the first load is tried"
    assert host() == ("some Ada", 1), "then it is known"
    assert host("always") == ("some Ada", 2)
    assert host("never") == ("some Ada", 1)


def test_a_known_plugin_needs_nothing_of_what_tries_first_loads(forge: Forge, host: Host) -> None:
    forge.plugin("some")
    host.script += 'print(*sorted({"pluginhost.probe", "msgspec"} & {*sys.modules}))'
    assert host()[0] == "some Ada\nmsgspec pluginhost.probe"
    assert host()[0] == "some Ada"


def test_a_wheel_of_another_content_is_new(forge: Forge, host: Host) -> None:
    forge.plugin("some", COUNT + GREETER)
    assert host()[1] == 2
    forge.plugin("some", COUNT + GREETER.replace("some {name}", "other {name}"))
    assert host() == ("other Ada", 2)
    assert host() == ("other Ada", 1)


def test_an_editable_is_new_when_a_source_of_it_changes(forge: Forge, host: Host, tmp_path: Path) -> None:
    project = tmp_path / "project"
    module = project / "src" / "zoo_some.py"
    module.parent.mkdir(parents=True)
    module.write_text(COUNT + GREETER)
    helper = project / "src" / "zoo_helper.py"
    helper.write_text("")
    forge.plugin("some", "")
    info = next(forge.site.glob("zoo_some-*.dist-info"))
    forge.site.joinpath("zoo_some.py").unlink()
    info.joinpath("direct_url.json").write_text(json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}}))
    host.environment["PYTHONPATH"] += f":{module.parent}"
    assert host() == ("some Ada", 2)
    if time.time() - helper.stat().st_ctime < 2:  # on a busy machine they may be older when the first has ended
        assert host()[1] == 2, "sources younger than two seconds are not taken for known"
    until(lambda: time.time() - helper.stat().st_ctime > 2.1, "the time after which files have settled")
    host()
    assert host()[1] == 1
    helper.write_text("import this")
    assert host()[1] == 2


def test_what_ends_the_process_is_refused_and_remembered(forge: Forge, host: Host) -> None:
    forge.plugin("some", f"{COUNT}os._exit(0)")
    assert host() == ("probe-crashed", 1)
    assert host() == ("probe-crashed", 0), "the verdict is known"
    forge.site.joinpath("zoo_other.py").write_text("")
    assert host() == ("probe-crashed", 1), "what was installed may have mended it"
    forge.folder.joinpath("notes.txt").write_text("")
    assert host() == ("probe-crashed", 0), "the program's own folder is no place of installs"


def test_the_command_forgets_verdicts(forge: Forge, host: Host) -> None:
    forge.plugin("some", f"{COUNT}os._exit(0)")
    host()
    done = subprocess.run(
        [sys.executable, "-m", "pluginhost", "cache", "--clear"], env=host.environment, capture_output=True, check=True
    )
    assert b" files removed" in done.stdout
    assert host()[1] == 1


def test_what_merely_fails_is_the_hosts_to_tell_and_not_remembered(forge: Forge, host: Host) -> None:
    forge.plugin("some", f"{COUNT}os.environ['ZOO_NEEDED']\n{GREETER}")
    assert host() == ("import-failed", 2)
    host.environment["ZOO_NEEDED"] = "yes"
    assert host() == ("some Ada", 2)


@pytest.mark.parametrize("source", ["while True: pass", f"{GREETER}\ndef New():\n    while True: pass"])
def test_what_hangs_is_told_with_its_place(source: str, forge: Forge, site: Path) -> None:
    forge.plugin("some", source)
    started = time.monotonic()
    with pytest.raises(PluginProbeError) as caught:
        PluginManager(probe_timeout=5).get("some", Greeter)
    assert caught.value.finding.code == "probe-hung"
    last = len(source.splitlines())
    assert f'zoo_some.py", line {last} in' in str(caught.value)
    assert time.monotonic() - started < 60


def test_what_a_hanging_plugin_started_is_killed_with_it(forge: Forge, site: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    start = "import subprocess, sys, time\n"
    start += "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
    forge.plugin("some", f"{start}open({str(pid)!r}, 'w').write(str(child.pid))\ntime.sleep(1000)")
    with pytest.raises(PluginProbeError, match="probe-hung"):
        PluginManager(probe_timeout=6).get("some", Greeter)
    until(lambda: not is_alive(int(pid.read_text())), "the end of the grandchild")


def test_a_host_that_is_killed_leaves_no_process(forge: Forge, host: Host) -> None:
    forge.plugin("some", f"{COUNT}import time\ntime.sleep(1000)")
    process = host.start()
    until(host.imports, "the import")
    process.kill()
    process.communicate()
    until(lambda: not is_alive(int(host.imports()[0])), "the end of the throw-away process")


PROBES = """
import os, threading, time
from pluginapi import Greeter
from pluginhost import PluginManager

def left():
    return threading.active_count(), len(os.listdir("/proc/self/fd"))

with PluginManager(probe="never") as manager:
    manager.get("english", Greeter)  # so that what watches the process's end is there
before = left()
with PluginManager(probe="always") as manager:
    manager.get("some", Greeter)
"""
LEAVES_NOTHING = """
assert left() == before, (left(), before)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("nothing is left")
"""


def test_no_process_and_no_thread_is_left(forge: Forge, site: Path) -> None:
    """In a process of its own: this one has the zoo's."""
    forge.plugin("some")
    env = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-c", PROBES + LEAVES_NOTHING]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "nothing is left\n", done.stderr


ESCAPES = """
import subprocess, sys
if "pluginhost.throwaway" in sys.modules:
    wait = "import os, time\\nwhile not os.path.exists('ends'): time.sleep(0.02)"
    child = subprocess.Popen([sys.executable, "-c", wait], start_new_session=True)
"""
LEAVES_NOTHING_LATE = """
assert left() > before, "what it started holds them"
open("ends", "w").close()
end = time.monotonic() + 60
while left() != before:
    assert time.monotonic() < end, (left(), before)
    time.sleep(0.02)
print("nothing is left")
"""


def test_what_a_grandchild_that_escaped_holds_is_closed_once_it_ends(forge: Forge, site: Path, tmp_path: Path) -> None:
    forge.plugin("some", GREETER + ESCAPES)
    done = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", PROBES + LEAVES_NOTHING_LATE],
        env=os.environ | {"PYTHONPATH": str(site)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("nothing is left\n", "")


@pytest.mark.parametrize(
    "word",
    [
        '{"reached": "usable", "is_last": true}',
        '{"nonce": "0", "reached": "usable", "is_last": true}',
        '{"nonce": 0}',
        "[" * 100_000,
        "x" * 5_000_000,
    ],
    ids=["no nonce", "another nonce", "no text", "nested", "long"],
)
def test_a_forged_word_is_none(word: str, forge: Forge, site: Path, tmp_path: Path) -> None:
    text = tmp_path / "word"
    text.write_text(f"{word}\n")
    forge.plugin("some", f"import os\nword = open({str(text)!r}, 'rb').read()\nfor fd in range(3, 20):\n"
                 "    try: os.write(fd, word)\n    except OSError: pass\nos._exit(0)")  # fmt: skip
    with pytest.raises(PluginProbeError, match="probe-crashed"):
        PluginManager().get("some", Greeter)


def test_memory_has_a_limit(forge: Forge, site: Path) -> None:
    forge.plugin("some", f"bytearray({MEMORY})")
    with pytest.raises(PluginProbeError, match="memory-exhausted"):
        PluginManager().get("some", Greeter)


def test_without_a_python_to_start_the_error_says_the_way_out(
    forge: Forge, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.plugin("some")
    monkeypatch.setattr(sys, "executable", "/no/python")
    with pytest.raises(PluginProbeError, match=r"probe-failed(.|\n)*/no/python(.|\n)*never"):
        PluginManager(probe="always").get("some", Greeter)
    assert PluginManager(probe="never").get("some", Greeter).greet("Ada") == "some Ada"


def test_a_process_that_fails_before_the_plugin_is_not_the_plugins_fault(
    forge: Forge, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.plugin("some")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(PluginProbeError, match="probe-failed"):
        PluginManager(probe="always").get("some", Greeter)


def test_a_keyboard_interrupt_of_the_plugins_own_is_contained(forge: Forge, site: Path) -> None:
    forge.plugin("some", "raise KeyboardInterrupt")
    with pytest.raises(PluginImportError, match="raised KeyboardInterrupt"):
        PluginManager().get("some", Greeter)


@pytest.mark.parametrize("probe", ["new", "never"])
def test_a_persons_interrupt_ends_the_wait(probe: str, forge: Forge, host: Host) -> None:
    forge.plugin("some", f"{COUNT}import time\ntime.sleep(1000)")
    process = host.start(probe)
    until(host.imports, "the import")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT, out
    assert "KeyboardInterrupt" in err
    until(lambda: not is_alive(int(host.imports()[0])), "the end of the import's process")


def test_threads_are_told_each_time(forge: Forge, site: Path, caplog: pytest.LogCaptureFixture) -> None:
    thread = "import threading\nthreading.Thread(target=threading.Event().wait, name='early', daemon=True).start()\n"
    forge.plugin("some", f"{thread}{GREETER}")
    for _ in range(2):
        assert PluginManager().get("some", Greeter).greet("Ada") == "some Ada"
    told = [record.getMessage() for record in caplog.records if "work-begun" in record.getMessage()]
    assert len(told) == 2
    assert "early" in told[0]


@pytest.mark.parametrize("settings", [{"probe": "sometimes"}, {"probe_timeout": 0}, {"probe_timeout": "3"}])
def test_a_wrong_setting_is_told(settings: dict[str, object]) -> None:
    from pluginhost import ConfigurationError

    with pytest.raises(ConfigurationError, match="configuration-wrong"):
        PluginManager(**settings)  # type: ignore[arg-type]
