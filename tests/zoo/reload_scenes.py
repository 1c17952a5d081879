"""Reloads of several plugins, and of one at a bad moment: each scene is told, played, and asserted as a test is."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from zoo import reloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo.reload_driver import Stage

SCENES: dict[str, Callable[[Any], None]] = {}


def scene(function: Callable[[Any], None]) -> Callable[[Any], None]:
    SCENES[function.__name__.replace("_", " ")] = function
    return function


MORE = "def export_state(self): return {number}\ndef restore_state(self, state): note(f'restored {{state}}')"


def two(number: int, **second: str) -> dict[str, str]:
    """Returns the files of a distribution of two plugins, each a package of its own."""
    other = reloads.source(number, package="zoo_more", **second)
    return reloads.source(number) | other


NAMES = "bad = zoo_bad:New\nmore = zoo_more:New"


def install_two(stage: Stage, number: int, **second: str) -> None:
    stage.site.install(f"{number}.0.0", two(number, **second), NAMES)


def serve(stage: Stage, *names: str) -> None:
    """Has more plugins asked for, which may come to be of another version."""
    from pluginapi import Greeter

    stage.stubs |= {name: stage.manager.get(name, Greeter) for name in names}
    stage.served = (*stage.served, *names)


def says(stage: Stage, number: int, *names: str) -> None:
    for name in names or ("bad",):
        assert stage.greet(name) == f"{number} {number} Ada", (name, stage.greet(name))


def ended(stage: Stage, *wanted: str) -> None:
    """Returns if these have been shut down, in any order, and nothing else."""
    notes = sorted(note.removeprefix("shutdown of zoo_") for note in stage.notes() if note.startswith("shutdown"))
    assert notes == sorted(wanted), notes


def background(stage: Stage, deed: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Returns a thread that does something, and where it puts what it gets or what is raised."""
    from pluginhost import PluginHostError

    got: list[Any] = []

    def run() -> None:
        try:
            got.append(deed())
        except PluginHostError as exc:
            got.append(exc)

    thread = threading.Thread(target=run, name="caller in the background")
    thread.start()
    return thread, got


# ---------------------------------------------------------------------------------------------------------- several
@scene
def two_plugins_of_one_distribution_and_the_second_fails(stage: Stage) -> None:
    install_two(stage, 1)
    stage.open()
    serve(stage, "more")
    before = stage.state()
    with stage.called():
        install_two(stage, 2, init="1 / 0")
        error = stage.error("bad")
        assert "more (zoo-bad 2.0.0): init raised ZeroDivisionError" in error.finding.message
        says(stage, 1, "bad", "more")
        stage.failed(error, "bad")
        stage.failed(error, "more")
        stage.as_before(before)
        ended(stage, "bad 2")
        install_two(stage, 3)
        assert sorted(stage.manager.reload("more").plugins) == ["bad", "more"]
        says(stage, 3, "bad", "more")
    ended(stage, "bad 1", "bad 2", "more 1")
    stage.manager.close()
    ended(stage, "bad 1", "bad 2", "more 1", "bad 3", "more 3", "good_a 1", "good_z 1")


@scene
def one_of_two_plugins_is_not_there_any_more(stage: Stage) -> None:
    install_two(stage, 1)
    stage.open()
    serve(stage, "more")
    with stage.called():
        stage.install(2)
        assert stage.manager.reload("bad").plugins == ["bad"]
        says(stage, 2, "bad")
        says(stage, 1, "more")
        assert stage.error("more").finding.code == "plugin-unknown"
        install_two(stage, 3)
        assert sorted(stage.manager.reload("bad").plugins) == ["bad", "more"]
        says(stage, 3, "bad", "more")
    ended(stage, "bad 1", "bad 2", "more 1")


def _uses(stage: Stage, number: int, *, fails: bool = False) -> None:
    """Installs a distribution whose plugin uses the bad one by its host."""
    init = "self.bad = host.get('bad', Greeter)" + ("\n1 / 0" if fails else "")
    more = f"{MORE.format(number=number)}\ndef greet(self, name):\n    self.bad.greet(name)\n    return f'{{NUMBER}} {{part.NUMBER}} {{name}}'"
    files = reloads.source(number, package="zoo_user", init=init, more=more)
    stage.site.install(f"{number}.0.0", files, "user = zoo_user:New", distribution="zoo-user")


@scene
def one_that_uses_it_fails(stage: Stage) -> None:
    _uses(stage, 1)
    stage.open()
    serve(stage, "user")
    before = stage.state()
    with stage.called():
        stage.install(2)
        _uses(stage, 2, fails=True)
        error = stage.error("bad")
        assert "user (zoo-user 2.0.0): init raised" in error.finding.message
        says(stage, 1, "bad", "user")
        stage.as_before(before)
        ended(stage, "bad 2")
        _uses(stage, 3)
        stage.install(3)
        assert stage.manager.reload("bad").plugins == ["bad", "user"]
        says(stage, 3, "bad", "user")
    ended(stage, "bad 2", "bad 1", "user 1")


@scene
def one_that_uses_it_has_a_state_and_so_has_it(stage: Stage) -> None:
    """Calls of the one are inside while the other is drained: none waits for what waits for it."""
    _uses(stage, 1)
    stage.install(1, more=MORE.format(number=1))
    stage.open(shutdown_timeout=4.0)
    serve(stage, "user")
    with stage.called():
        for number in range(2, 6):
            stage.install(number, more=MORE.format(number=number))
            _uses(stage, number)
            assert stage.manager.reload("bad").plugins == ["bad", "user"]
            says(stage, number, "bad", "user")
    assert [note for note in stage.notes() if "restored" in note] == [
        f"restored {n}" for n in range(1, 5) for _ in "ab"
    ]


@scene
def one_that_it_uses_is_left_alone(stage: Stage) -> None:
    _uses(stage, 1)
    stage.open()
    serve(stage, "user")
    with stage.called():
        _uses(stage, 2)
        assert stage.manager.reload("user").plugins == ["user"]
        says(stage, 2, "user")
        says(stage, 1, "bad")
    ended(stage, "user 1")


@scene
def the_second_of_two_instances_fails(stage: Stage) -> None:
    stage.open(instances={"one": {"plugin": "bad"}, "two": {"plugin": "bad", "config": {"fails": True}}})
    serve(stage, "one", "two")
    before = stage.state()
    with stage.called():
        stage.install(2, init="if host.config.get('fails'): raise ValueError('no')")
        error = stage.error("one")
        assert "two, bad (zoo-bad 2.0.0): init raised" in error.finding.message
        says(stage, 1, "bad", "one", "two")
        stage.as_before(before)
        stage.install(3)
        assert sorted(stage.manager.reload("two").plugins) == ["bad", "one", "two"]
        says(stage, 3, "bad", "one", "two")
    ended(stage, *["bad 1"] * 3, *["bad 2"] * 2)


@scene
def a_guest_is_made_anew_with_its_owner(stage: Stage) -> None:
    stage.site.install(
        "1.0.0", reloads.source(1, package="zoo_guest"), "own.guest = zoo_guest:New", distribution="zoo-guest"
    )
    owner = {"init": "self.guests = host.load('own', {'guest': {}}, Greeter)"}
    stage.install(1, **owner)
    stage.open()
    with stage.called():
        for number in (2, 3):
            stage.install(number, **owner)
            assert stage.manager.reload("bad").plugins == ["bad"]
            says(stage, number)
        stage.install(4, **owner, validate="1 / 0")
        stage.error()
        assert len(stage.manager.loaded()) == 4, "both good ones, this one and its guest"
    ended(stage, "bad 1", "bad 2", "bad 4", "guest 1", "guest 1", "guest 1")


# ------------------------------------------------------------------------------------------- what cannot be reloaded
@scene
def nobody_has_that_name(stage: Stage) -> None:
    stage.open()
    assert stage.error("nobody").finding.code == "plugin-unknown"
    says(stage, 1)


@scene
def it_is_the_applications_own(stage: Stage) -> None:
    from pluginapi import Greeter

    class Own(Greeter):
        lang = "Own"

        def greet(self, name: str) -> str:
            return "own"

    stage.open()
    stage.manager.register("own", Own)
    assert stage.manager.get("own", Greeter).greet("Ada") == "own"
    error = stage.error("own")
    assert error.finding.code == "reload-impossible"
    assert stage.manager.status()["own"].reload_error == str(error)
    assert stage.manager.get("own", Greeter).greet("Ada") == "own"


@scene
def it_has_a_compiled_module(stage: Stage) -> None:
    import importlib.machinery
    import sys

    stage.open()
    before = stage.state()
    loader = importlib.machinery.ExtensionFileLoader("zoo_bad.part", "part.so")
    sys.modules["zoo_bad.part"].__spec__.loader = loader
    with stage.called():
        stage.install(2)
        error = stage.error()
        assert error.finding.code == "reload-impossible"
        assert "zoo_bad.part" in error.finding.message
        stage.failed(error)
        stage.as_before(before)


@scene
def it_was_stopped(stage: Stage) -> None:
    stage.open()
    stage.manager.stop("bad")
    stage.install(2, init="1 / 0")
    assert stage.error().finding.code == "init-failed"
    assert stage.manager.status()["bad"].state == "failed"
    stage.install(3)
    assert stage.manager.reload("bad").plugins == ["bad"]
    says(stage, 3)
    ended(stage, "bad 1")


@scene
def it_has_failed(stage: Stage) -> None:
    from pluginhost import PluginHostError

    stage.install(1, init="1 / 0")
    with contextlib.suppress(PluginHostError):
        stage.open()
    assert "init-failed" in stage.codes()
    stage.install(2)
    assert stage.manager.reload("bad").plugins == ["bad"]
    assert stage.manager.status()["bad"].version == "2.0.0"
    assert stage.manager.status()["bad"].error is None


@scene
def it_was_disabled(stage: Stage) -> None:
    stage.open()
    stage.manager.apply({**stage.settings, "plugins": {"bad": {"enabled": False}}})
    stage.install(2)
    assert stage.error().finding.code == "disabled"
    ended(stage, "bad 1")


# ---------------------------------------------------------------------------------------------------- back to before
@scene
def there_is_nothing_to_return_to(stage: Stage) -> None:
    stage.open()
    error = stage.error("bad", back=True)
    assert error.finding.code == "rollback-unknown"
    says(stage, 1)


@scene
def it_returns_and_returns_again(stage: Stage) -> None:
    stage.open()
    with stage.called():
        stage.install(2)
        stage.manager.reload("bad")
        assert stage.manager.rollback("bad").plugins == ["bad"]
        says(stage, 1)
        assert stage.manager.status()["bad"].version == "1.0.0"
        assert stage.manager.rollback("bad").plugins == ["bad"]
        says(stage, 2)
        stage.mended(3)
    ended(stage, "bad 1", "bad 2", "bad 1", "bad 2")


@scene
def a_start_takes_what_is_installed(stage: Stage) -> None:
    """After an upgrade, and after a return to the version before."""
    stage.open()
    stage.manager.stop("bad")
    stage.install(2)
    stage.manager.start("bad")
    says(stage, 2)
    stage.install(3)
    stage.manager.reload("bad")
    stage.manager.rollback("bad")
    says(stage, 2)
    stage.manager.stop("bad")
    stage.manager.start("bad")
    says(stage, 3)
    assert stage.manager.status()["bad"].version == "3.0.0"


@scene
def a_load_after_an_unload_takes_what_is_installed(stage: Stage) -> None:
    from pluginapi import Greeter

    stage.open()
    stage.install(2)
    stage.manager.reload("bad")
    stage.manager.rollback("bad")
    says(stage, 1)
    stage.manager.unload("bad")
    stage.stubs["bad"] = stage.manager.get("bad", Greeter)
    says(stage, 2)


@scene
def the_copy_that_it_returns_to_is_damaged(stage: Stage) -> None:
    stage.open()
    with stage.called():
        stage.install(2)
        stage.manager.reload("bad")
        found = list(stage.folder.glob("cache/**/zoo_bad/part.py"))
        assert found
        for path in found:
            path.chmod(0o600)
            path.write_text("NUMBER = 7\n")
        before = stage.state()
        error = stage.error("bad", back=True)
        assert error.finding.code in ("rollback-unknown", "distribution-incomplete")
        says(stage, 2)
        stage.as_before(before)
        stage.mended(3)


@scene
def what_it_returns_to_fails(stage: Stage) -> None:
    stage.install(1, init="if os.path.exists(HOME + '/no'): 1 / 0")
    stage.open()
    with stage.called():
        stage.install(2)
        stage.manager.reload("bad")
        stage.folder.joinpath("no").touch()
        before = stage.state()
        error = stage.error("bad", back=True)
        assert error.finding.code == "init-failed"
        says(stage, 2)
        stage.failed(error)
        stage.as_before(before)
        stage.mended(3)


# -------------------------------------------------------------------------------------------------- at a bad moment
@scene
def its_own_call_asks_for_it(stage: Stage) -> None:
    import builtins

    stage.install(
        1,
        greet="if name == 'reload': __import__('builtins').zoo.reload('bad')\nreturn f'{NUMBER} {part.NUMBER} {name}'",
    )
    stage.open(shutdown_timeout=1.0)
    builtins.zoo = stage.manager  # type: ignore[attr-defined]
    with stage.called():
        stage.install(2)
        assert stage.stubs["bad"].greet("reload") == "1 1 reload"
        says(stage, 2)
    assert "drain-timeout" in stage.codes()
    ended(stage, "bad 1")


@scene
def its_own_call_asks_for_it_and_it_has_a_state(stage: Stage) -> None:
    import builtins

    from pluginhost import PluginHostError

    stage.install(
        1,
        greet="if name == 'reload': __import__('builtins').zoo.reload('bad')\nreturn f'{NUMBER} {part.NUMBER} {name}'",
        more=MORE.format(number=1),
    )
    stage.open(shutdown_timeout=1.0)
    builtins.zoo = stage.manager  # type: ignore[attr-defined]
    with stage.called():
        stage.install(2, more=MORE.format(number=2))
        with contextlib.suppress(PluginHostError):
            assert not stage.stubs["bad"].greet("reload"), "it gave a state while a call was inside"
        assert "state-failed" in stage.codes()
        says(stage, 1)
    ended(stage, "bad 2")


@scene
def its_init_asks_for_it(stage: Stage) -> None:
    import builtins

    stage.open()
    builtins.zoo = stage.manager  # type: ignore[attr-defined]
    before = stage.state()
    with stage.called():
        stage.install(2, init="__import__('builtins').zoo.reload('bad')")
        error = stage.error()
        assert error.finding.code == "init-failed"
        assert "reload-impossible" in error.finding.message
        says(stage, 1)
        stage.as_before(before)
        stage.mended(3)
    ended(stage, "bad 1")


@scene
def its_first_init_asks_for_it(stage: Stage) -> None:
    import builtins

    from pluginhost import PluginHostError

    stage.open()
    builtins.zoo = stage.manager  # type: ignore[attr-defined]
    files = reloads.source(1, package="zoo_user", init="__import__('builtins').zoo.reload('user')")
    stage.site.install("1.0.0", files, "user = zoo_user:New", distribution="zoo-user")
    with contextlib.suppress(PluginHostError):
        serve(stage, "user")
        raise AssertionError("it started")
    assert "init-failed" in stage.codes()
    says(stage, 1)


@scene
def it_is_being_started_for_the_first_time(stage: Stage) -> None:
    """The reload waits for the start, and then takes its place."""
    files = reloads.source(1, package="zoo_user", init="open(HOME + '/begun', 'w').close()\ntime.sleep(0.3)")
    stage.site.install("1.0.0", files, "user = zoo_user:New", distribution="zoo-user")
    stage.open()
    thread, _ = background(stage, lambda: serve(stage, "user"))
    stage.until(lambda: (stage.folder / "begun").exists())
    stage.site.install("2.0.0", reloads.source(2, package="zoo_user"), "user = zoo_user:New", distribution="zoo-user")
    assert stage.manager.reload("user").plugins == ["user"]
    thread.join()
    says(stage, 2, "user")
    ended(stage, "user 1")


@scene
def two_threads_ask_for_it_at_once(stage: Stage) -> None:
    stage.open()
    with stage.called():
        stage.install(2, init="time.sleep(0.1)")
        threads = [background(stage, lambda: stage.manager.reload("bad")) for _ in range(2)]
        for thread, got in threads:
            thread.join()
            assert got[0].plugins == ["bad"]
        says(stage, 2)
    ended(stage, "bad 1", "bad 2")


@scene
def another_configuration_is_applied_at_once(stage: Stage) -> None:
    stage.open()
    with stage.called():
        stage.install(2, init="time.sleep(0.1)")
        one, got = background(stage, lambda: stage.manager.reload("bad"))
        stage.manager.apply({**stage.settings, "plugins": {"bad": {"config": {"a": 1}}}})
        one.join()
        assert got[0].plugins == ["bad"]
        says(stage, 2)
        stage.mended(3)


@scene
def the_manager_is_closed_meanwhile(stage: Stage) -> None:
    stage.open()
    stage.install(2, init="open(HOME + '/begun', 'w').close()\ntime.sleep(0.2)")
    thread, got = background(stage, lambda: stage.manager.reload("bad"))
    stage.until(lambda: (stage.folder / "begun").exists())
    stage.manager.close()
    thread.join()
    assert stage.manager.loaded() == {}
    notes = [note for note in stage.notes() if "zoo_bad" in note]
    assert sorted(notes) == ["shutdown of zoo_bad 1", "shutdown of zoo_bad 2"], (notes, got)
    assert stage.error().finding.code == "manager-closed"


@scene
def it_is_stopped_meanwhile(stage: Stage) -> None:
    stage.open()
    stage.install(2, init="open(HOME + '/begun', 'w').close()\ntime.sleep(0.2)")
    thread, _ = background(stage, lambda: stage.manager.reload("bad"))
    stage.until(lambda: (stage.folder / "begun").exists())
    stage.manager.stop("bad")
    thread.join()
    assert stage.manager.status()["bad"].state == "stopped"
    ended(stage, "bad 1", "bad 2")


def interrupted(stage: Stage) -> bool:
    """Returns whether a reload ended as Ctrl-C ends it."""
    try:
        stage.manager.reload("bad")
    except KeyboardInterrupt:
        return True
    return False


SIGINT = "import signal\nsignal.raise_signal(signal.SIGINT)\ntime.sleep(0)"


def ctrl_c(where: str) -> None:
    def play(stage: Stage) -> None:
        import signal

        signal.signal(signal.SIGINT, signal.default_int_handler)
        stage.install(1, more=MORE.format(number=1))
        stage.open()
        before = stage.state()
        with stage.called():
            second = {"more": MORE.format(number=2)}
            if where == "restore_state":
                second["more"] += (
                    f"\n{'def restore_state(self, state):'}\n    import signal\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(1)"
                )
            else:
                second[where] = SIGINT
            stage.install(2, **second)
            assert interrupted(stage)
            says(stage, 1)
            stage.as_before(before)
            assert stage.manager.status()["bad"].reload_error is None
            assert "shutdown of zoo_bad 1" not in stage.notes()
            assert stage.notes().count("shutdown of zoo_bad 2") == (where in ("validate", "restore_state"))
            stage.mended(3)

    play.__name__ = f"Ctrl-C_comes_in_{where}"
    scene(play)


for _where in ("head", "init", "validate", "restore_state"):
    ctrl_c(_where)


@scene
def Ctrl_C_comes_while_the_first_one_is_drained(stage: Stage) -> None:
    """It is too late: the next one serves, and the first one is shut down."""
    import os
    import signal

    signal.signal(signal.SIGINT, signal.default_int_handler)
    stage.install(
        1,
        greet="if name == 'hang':\n    open(HOME + '/begun', 'w').close()\n    time.sleep(1)\nreturn f'{NUMBER} {part.NUMBER} {name}'",
    )
    stage.open()
    with stage.called():
        thread, _ = background(stage, lambda: stage.stubs["bad"].greet("hang"))
        stage.until(lambda: (stage.folder / "begun").exists())
        stage.install(2)
        undo = stage.manager.subscribe(lambda event: os.kill(os.getpid(), signal.SIGINT), "plugin.replaced")
        assert interrupted(stage)
        undo()
        says(stage, 2)
        stage.mended(3)
        thread.join()
    ended(stage, "bad 1", "bad 2")
