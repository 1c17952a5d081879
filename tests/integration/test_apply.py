"""Another configuration for a manager whose plugins serve: all of it holds, or nothing of it does."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from forge import GREETER, Command, Forge
from pluginhost import ConfigurationError, PluginHostError, PluginManager, PluginRefused

from pluginapi import Greeter, Host, Plugin, PluginError

SERVING = """
import threading
from pluginapi import Greeter

class Serving(Greeter):
    lang = "Some"
    over = False

    def init(self, host):
        self.text, self.emit = host.config.get("text", "none"), host.emit
        self.emit("began", text=self.text)

    def greet(self, name: str) -> str:
        assert not self.over, "called after its shutdown"
        return f"{self.text} {name}"

    def shutdown(self) -> None:
        self.over = True
        self.emit("ended", text=self.text)

def New() -> Serving:
    return Serving()
"""
BROKEN = {
    "is refused": ("pin-unsatisfied", GREETER),
    "cannot be imported": ("import-failed", "import zoo_of_nothing"),
    "has no factory": ("symbol-missing", "import pluginapi"),
    "wants another configuration": (
        "config-wrong",
        f"{GREETER}\nimport dataclasses\n@dataclasses.dataclass\nclass Config:\n    size: int",
    ),
    "cannot be made": ("factory-failed", f"{GREETER}\ndef New():\n    raise ValueError('made of nothing')"),
    "is of another type": ("wrong-type", "def New():\n    return {}"),
    "does not begin": ("init-failed", GREETER.replace("def greet", "def init(self, host): 1 / 0\n    def greet")),
    "is not fit": ("validate-failed", GREETER.replace("def greet", "def validate(self): 1 / 0\n    def greet")),
    "needs what is not there": ("requirement-missing", GREETER),
}
PROGRAM = """
import json, sys, threading, time
from pluginhost import PluginHostError, PluginManager
from pluginapi import Greeter

broken = dict(zip(sys.argv[1::2], sys.argv[2::2]))
off = {name: {"enabled": False} for name in broken}
manager = PluginManager(configuration={"plugins": off | {
    name: {"config": {"text": "old"}} for name in ("first", "second")
}})
lives, events, failed = [], [], []
manager.subscribe(lambda event: lives.append((event.topic, event.source, event.fields["text"])), "began")
manager.subscribe(lambda event: lives.append((event.topic, event.source, event.fields["text"])), "ended")
manager.subscribe(lambda event: events.append(dict(event.fields)), "configuration.applied")
stubs = [manager.get(name, Greeter) for name in ("first", "second")]
is_over = threading.Event()
sys.setswitchinterval(0.0001)  # whoever applies takes its turn many times among those that call

def call(stub, count):
    try:
        while not is_over.is_set():
            for _ in range(20):
                answer = stub.greet("Ada")
                count[answer] = count.get(answer, 0) + 1
            time.sleep(0.001)  # there is something left for what is applied
    except BaseException as exc:
        failed.append(repr(exc))

def until_each_got(answer):
    while not failed and not all(answer in count for count in counts):
        time.sleep(0.001)

counts = [{} for _ in range(4)]
threads = [threading.Thread(target=call, args=(stubs[number % 2], counts[number]), daemon=True) for number in range(4)]
for thread in threads:
    thread.start()
until_each_got("old Ada")
new = {name: {"config": {"text": "new"}} for name in ("first", "second")}
codes = {}
for name in broken:
    try:
        manager.apply({"plugins": off | new | {name: {}}})
    except PluginHostError as exc:
        codes[name] = exc.finding.code
    assert [stub.greet("Ada") for stub in stubs] == ["old Ada", "old Ada"], name
    assert sorted(manager.loaded()) == ["first", "second"]
told = len(events)
manager.apply({"plugins": off | new})
assert [stub.greet("Ada") for stub in stubs] == ["new Ada", "new Ada"]
until_each_got("new Ada")
is_over.set()
for thread in threads:
    thread.join()
manager.close()
print(json.dumps({"codes": codes, "failed": failed, "counts": counts, "lives": lives, "events": events, "told": told}))
"""


def built(forge: Forge, name: str, source: str, **options: Any) -> Path:
    return forge.wheel(f"zoo-{name}", {f"zoo_{name}.py": source}, f'{name} = "zoo_{name}:New"', **options)


def test_whatever_fails_of_a_new_set_the_old_one_serves_without_a_failed_call(tmp_path: Path) -> None:
    """At each stage in turn, under 4 calling threads; the plugins that changed and began are shut down again, once."""
    import json

    forge = Forge(tmp_path)
    names = {f"bad{number}": code for number, (code, _) in enumerate(BROKEN.values())}
    wheels = []
    for name, (code, source) in zip(names, BROKEN.values(), strict=True):
        pins = ("pluginapi~=9.0",) if code == "pin-unsatisfied" else ("pluginapi~=1.0",)
        needs = f'[tool.pluginapi.plugins."pluginhost.plugins".{name}]\nrequires = {{ plugins = ["zoo-of-nothing"] }}'
        is_stamped = code == "requirement-missing"
        options: dict[str, Any] = {"hook": True, "settings": needs} if is_stamped else {}
        wheels.append(built(forge, name, source, dependencies=pins, **options))
    wheels += [built(forge, name, SERVING) for name in ("first", "second")]
    forge.install(*wheels)
    command = [sys.executable, "-c", PROGRAM, *(part for pair in names.items() for part in pair)]
    environment = {"PYTHONPATH": str(forge.site), "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["codes"] == names
    assert said["failed"] == []
    assert [set(count) for count in said["counts"]] == [{"old Ada", "new Ada"}] * 4
    assert said["told"] == 0, "what failed was not applied"
    assert said["events"] == [{"started": [], "replaced": ["first", "second"], "stopped": []}]
    began = [life[1:] for life in said["lives"] if life[0] == "began"]
    ended = [life[1:] for life in said["lives"] if life[0] == "ended"]
    assert sorted(began) == sorted(ended)
    for name in ("first", "second"):
        assert began.count([name, "old"]) == 1, "the old set went on, and was not begun anew"
        assert began.count([name, "new"]) == 1 + len(names)
    last = {
        name: max(place for place, life in enumerate(said["lives"]) if life[1] == name) for name in ("first", "second")
    }
    for name, place in last.items():
        assert said["lives"][place] == ["ended", name, "new"], "what serves last is shut down at the close"


RUNNING = """
import sys
from pluginhost import PluginHostError, PluginManager
from pluginapi import Greeter
with PluginManager(configuration="pluginhost.toml") as manager:
    stub = manager.get("some", Greeter)
    print(stub.greet("Ada"), flush=True)
    for line in sys.stdin:
        manager.apply("pluginhost.toml")
        try:
            print(stub.greet("Ada"), flush=True)
        except PluginHostError as exc:
            print(exc.finding.code, manager.status()["some"].state, flush=True)
"""


def test_what_the_command_writes_reaches_a_running_host_that_applies_the_file(tmp_path: Path) -> None:
    forge = Forge(tmp_path)
    forge.plugin("some")
    file = tmp_path / "pluginhost.toml"
    file.write_text("# mine\n")
    command = Command(forge.site, tmp_path)
    environment = {"PYTHONPATH": str(forge.site), "HOME": str(tmp_path)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", RUNNING], cwd=tmp_path, env=environment, **pipes) as host:
        answers = [host.stdout.readline().strip()]
        for deed in ("disable", "enable"):
            assert command(deed, "some", "--config", str(file)).returncode == 0
            print(file=host.stdin, flush=True)
            answers.append(host.stdout.readline().strip())
        host.stdin.close()
    assert answers == ["some Ada", "plugin-stopped disabled", "some Ada"]
    assert host.returncode == 0
    assert file.read_text().startswith("# mine\n")


class Told(Greeter):
    lang = "Some"

    def init(self, host: Host) -> None:
        self.text = str(host.config.get("text", "none"))
        self.offered = host.capabilities
        if host.config.get("uses"):
            self.other = host.get(str(host.config["uses"]), Greeter)

    def greet(self, name: str) -> str:
        return f"{self.text} {name}"


def manager(*names: str, **options: Any) -> PluginManager:
    made = PluginManager(probe="never", **options)
    for name in names:
        made.register(name, Told)
    return made


def test_what_is_disabled_is_stopped_and_what_is_enabled_started_again_behind_the_same_stub() -> None:
    with manager("a", "b", configuration={"plugins": {"b": {"enabled": False}}}) as plugins:
        stub = plugins.get("a", Greeter)
        plugins.apply({"plugins": {"a": {"enabled": False}}})
        assert list(plugins.loaded()) == ["b"], "what was disabled before is started"
        with pytest.raises(PluginHostError, match="disabled"):
            stub.greet("Ada")
        with pytest.raises(PluginRefused) as caught:
            plugins.get("a", Greeter)
        assert caught.value.finding.code == "disabled"
        plugins.apply({})
        assert stub.greet("Ada") == "none Ada"
        assert plugins.get("a", Greeter) is stub


def test_what_did_not_change_goes_on_as_it_was() -> None:
    with manager("a", "b") as plugins:
        first, second = plugins.handle("a"), plugins.handle("b")
        plugins.apply({"plugins": {"b": {"config": {"text": "new"}}}})
        assert (first.generation, second.generation) == (1, 2)
        assert plugins.get("b", Greeter).greet("Ada") == "new Ada"


def test_arguments_stay_before_what_is_applied() -> None:
    with manager("a", plugins={"a": {"config": {"text": "given"}}}) as plugins:
        stub = plugins.get("a", Greeter)
        plugins.apply({"plugins": {"a": {"config": {"text": "file"}, "call_timeout": 5.0}}})
        assert stub.greet("Ada") == "given Ada"
        assert plugins.configuration.plugins["a"].call_timeout == 5.0


def test_a_plugin_that_another_uses_cannot_be_disabled_alone() -> None:
    with manager("a", "b", configuration={"plugins": {"a": {"config": {"uses": "b"}}}}) as plugins:
        plugins.handle("a")
        with pytest.raises(ConfigurationError, match=r"b .*cannot be switched off: a .* uses it"):
            plugins.apply({"plugins": {"a": {"config": {"uses": "b"}}, "b": {"enabled": False}}})
        assert list(plugins.loaded()) == ["b", "a"]
        with pytest.raises(PluginHostError, match="disabled"):
            plugins.apply({"plugins": {"a": {"config": {"uses": "b", "text": "new"}}, "b": {"enabled": False}}})
        assert plugins.get("a", Greeter).greet("Ada") == "none Ada"
        plugins.apply({"plugins": {"b": {"enabled": False}}})
        assert list(plugins.loaded()) == ["a"], "as it is made now it uses b no more"


def test_instances_come_and_go() -> None:
    with manager("a", configuration={"instances": {"x": {"plugin": "a", "config": {"text": "x"}}}}) as plugins:
        plugins.handle("x")
        plugins.apply({"instances": {"y": {"plugin": "a", "config": {"text": "y"}}}})
        assert {name: handle.require(Greeter).greet("Ada") for name, handle in plugins.loaded().items()} == {
            "y": "y Ada"
        }


def test_a_plugin_that_failed_is_started_once_its_settings_are_mended() -> None:
    class Particular(Plugin):
        def init(self, host: Host) -> None:
            if "size" not in host.config:
                raise PluginError("no size")

    with PluginManager(probe="never") as plugins:
        plugins.register("some", Particular)
        with pytest.raises(PluginHostError, match="no size"):
            plugins.get("some", Plugin)
        plugins.apply({"plugins": {"some": {"config": {"size": 1}}}})
        assert plugins.handle("some").state == "running"


def test_other_capabilities_reach_plugins_that_run() -> None:
    with manager("a", configuration={"capabilities": ["streaming"]}) as plugins:
        assert plugins.handle("a").plugin.offered == {"streaming"}
        plugins.apply({"capabilities": ["batch"]})
        assert plugins.handle("a").plugin.offered == {"batch"}


def test_a_wrong_configuration_and_another_group_change_nothing() -> None:
    with manager("a") as plugins:
        stub = plugins.get("a", Greeter)
        for wrong in ({"plugins": {"a": {"enable": False}}}, {"group": "other"}, {"api": "none"}):
            with pytest.raises(ConfigurationError):
                plugins.apply(wrong)
        assert stub.greet("Ada") == "none Ada"
        assert plugins.handle("a").generation == 1


def test_while_one_thread_tries_a_configuration_others_see_the_one_that_holds() -> None:
    entered, go_on, seen = threading.Event(), threading.Event(), []

    class Slow(Plugin):
        def init(self, host: Host) -> None:
            entered.set()
            assert go_on.wait(30)

    with manager("a", configuration={"plugins": {"slow": {"enabled": False}}}) as plugins:
        plugins.register("slow", Slow)
        plugins.handle("a")

        def look() -> None:
            assert entered.wait(30)
            seen.append(plugins.row("slow").state)
            seen.append(plugins.get("a", Greeter).greet("Ada"))
            go_on.set()

        other = threading.Thread(target=look)
        other.start()
        plugins.apply({"plugins": {"a": {"enabled": False}}})
        other.join()
        assert seen == ["disabled", "none Ada"]
        assert plugins.row("slow").state == "ready"
        assert plugins.row("a").state == "disabled"


def test_a_manager_that_is_closed_applies_nothing() -> None:
    plugins = manager("a")
    plugins.close()
    with pytest.raises(PluginHostError, match="shut down"):
        plugins.apply({})


def test_a_plugin_that_somebody_stops_meanwhile_stays_so() -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Slow(Told):
        def init(self, host: Host) -> None:
            super().init(host)
            if self.text == "new":
                entered.set()
                assert go_on.wait(30)

    with manager(configuration={}) as plugins:
        plugins.register("a", Slow)
        plugins.handle("a")

        def stop() -> None:
            assert entered.wait(30)
            plugins.stop("a")
            go_on.set()

        other = threading.Thread(target=stop)
        other.start()
        plugins.apply({"plugins": {"a": {"config": {"text": "new"}}}})
        other.join()
        assert plugins.loaded() == {}


def test_a_plugin_that_another_thread_does_not_let_go_of_keeps_the_old_set() -> None:
    held, go_on = threading.Event(), threading.Event()
    with manager("a", configuration={}, shutdown_timeout=0.2) as plugins:
        handle = plugins.handle("a")

        def hold() -> None:
            with plugins._runner.registry.turn(handle):
                held.set()
                assert go_on.wait(30)

        other = threading.Thread(target=hold)
        other.start()
        assert held.wait(30)
        with pytest.raises(PluginHostError, match="another thread"):
            plugins.apply({"plugins": {"a": {"config": {"text": "new"}}}})
        go_on.set()
        other.join()
        assert plugins.get("a", Greeter).greet("Ada") == "none Ada"
        assert plugins.configuration.plugins == {}
        plugins.apply({"plugins": {"a": {"config": {"text": "new"}}}})
        assert plugins.get("a", Greeter).greet("Ada") == "new Ada"
