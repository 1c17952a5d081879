from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# Taken once: pytest sets a variable at each test, and what another thread starts meanwhile must not read of them then.
ENVIRONMENT = dict(os.environ)
APPLICATION = """
import atexit, os, sys, threading, time
sys.path.insert(0, {folder!r})
from pluginhost.exits import guard
{before}
made = guard(lambda: print("closed", flush=True), lambda name: name.partition(".")[0] == "the_plugin",
             lambda text: print("told:", text, file=sys.stderr, flush=True), {grace})
import the_plugin
{after}
"""

PLUGIN = """
import atexit, functools, threading, time, weakref
from concurrent.futures import ThreadPoolExecutor

def hang(*_):
    time.sleep(1000)

def spin():
    while True:
        pass

def defy():
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass

class Worker(threading.Thread):
    @property
    def ident(self):
        raise SystemError

    name = ident

    def run(self):
        hang()

def defy_twice():
    while True:
        try:
            try:
                defy()
            except BaseException:
                pass
        except BaseException:
            pass

def start(target=hang, *args):
    thread = threading.Thread(target=target, args=args, name="stuck")
    thread.start()
    return thread

def quick():
    time.sleep(0.3)
    print("quick", flush=True)
"""


def run(folder: Path, after: str, code: int = 0, *, before: str = "", grace: float = 0.5) -> tuple[str, str]:
    (folder / "the_plugin.py").write_text(PLUGIN)
    script = APPLICATION.format(folder=str(folder), before=before, after=textwrap.dedent(after), grace=grace)
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )  # what hangs does so for longer
    assert done.returncode == code, done
    return done.stdout, done.stderr


HANGS = {
    "a thread in its own function": ("the_plugin.start()", 1, "thread stuck (in hang of the_plugin)"),
    "a claimed thread in C": (
        "made.claim([the_plugin.start(time.sleep, 1000)], 'some 1.0')",
        1,
        "thread stuck of some 1.0 (in Thread.run of",
    ),
    "a worker of an executor": ("the_plugin.ThreadPoolExecutor().submit(the_plugin.hang)", 1, "in hang of the_plugin"),
    "an atexit function that sleeps": ("atexit.register(the_plugin.hang)", 1, "function hang of the_plugin"),
    "a thread of a class that lies": ("the_plugin.Worker().start()", 1, "(in Worker.run of the_plugin)"),
    "an atexit function that spins": ("atexit.register(the_plugin.spin)", 1, "function spin of the_plugin"),
    "an atexit function that catches everything": (
        "atexit.register(the_plugin.defy)",
        1,
        "function defy of the_plugin",
    ),
    "two atexit functions": ("atexit.register(the_plugin.hang); atexit.register(the_plugin.spin)", 2, "hang of"),
    "the same function twice": ("atexit.register(the_plugin.hang); atexit.register(the_plugin.hang)", 2, "hang of"),
    "a finalizer": ("the_plugin.weakref.finalize(made.__class__, the_plugin.hang)", 1, "function hang of the_plugin"),
    "a thread and an atexit function": ("the_plugin.start(); atexit.register(the_plugin.hang)", 2, "hang of"),
    "a worker and a thread": (
        "the_plugin.ThreadPoolExecutor().submit(the_plugin.hang); the_plugin.start()",
        1,
        "stuck",
    ),
}


ENDS = [
    *((hang, "sys.exit(3)", 3) for hang in HANGS),
    *((hang, end, code) for hang in list(HANGS)[:6:2] for end, code in (("", 0), ("raise ValueError", 1))),
]


@pytest.fixture(scope="module")
def hung(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Any, Future[Any]]]:
    """What each application that is wanted prints whose end hangs; some wait at a time."""
    items = [item for item in request.session.items if item.path == Path(__file__)]
    wanted = [item.callspec.params for item in items if hasattr(item, "callspec")]
    with ThreadPoolExecutor(4) as pool:
        found = {}
        for hang, end, code in ((each["hang"], each["end"], each["code"]) for each in wanted):
            script = f"atexit.register(print, 'last')\n{HANGS[hang][0]}\n{end}"
            found[hang, end] = pool.submit(run, tmp_path_factory.mktemp("hung"), script, code)
        yield found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals")
@pytest.mark.parametrize(("hang", "end", "code"), ENDS)
def test_a_hang_is_broken_off_and_the_exit_code_kept(
    hung: dict[Any, Future[Any]], hang: str, end: str, code: int
) -> None:
    _, times, told = HANGS[hang]
    out, err = hung[hang, end].result()
    assert out == "closed\nlast\n"
    lines = [line for line in err.splitlines() if line.startswith("told: ")]
    assert len(lines) == times, err
    assert told in lines[-1]
    rest = [line for line in err.splitlines() if not line.startswith("told: ")]
    assert not rest if code != 1 else rest[-1] == "ValueError", err


def test_the_applications_own_threads_and_functions_are_waited_for(tmp_path: Path) -> None:
    after = """
        def late(text):
            time.sleep(0.8)
            sys.stdout.write(text + "\\n")  # at once: two threads write at the same time
            sys.stdout.flush()
        atexit.register(late, "function")
        threading.Thread(target=late, args=["thread"]).start()
        threading.Thread(target=time.sleep, args=[1000], daemon=True).start()
        the_plugin.ThreadPoolExecutor().submit(late, "worker")
        the_plugin.start()
    """
    out, err = run(tmp_path, after, grace=0.25)
    assert sorted(out.split()[:2]) == ["thread", "worker"], "plugins are shut down once nothing can use them"
    assert out.split()[2:] == ["closed", "function"]
    assert err.count("told: ") == len(err.splitlines()) == 1


def test_what_the_application_calls_of_a_plugin_is_the_applications(tmp_path: Path) -> None:
    after = """
        def save(text):
            the_plugin.time.sleep(0.1)
            for _ in range(4):
                the_plugin.quick()
            print(text)
        threading.Thread(target=save, args=["thread"]).start()
        atexit.register(save, "function")
    """
    out, err = run(tmp_path, after)
    assert out.split() == [*["quick"] * 4, "thread", "closed", *["quick"] * 4, "function"] or out.split() == [
        *["quick"] * 4,
        "thread",
        *["quick"] * 4,
        "function",
        "closed",
    ]
    assert err == ""


def test_a_plugins_thread_that_ends_when_it_is_shut_down_is_not_broken_off(tmp_path: Path) -> None:
    before = "import threading; stop = threading.Event()"
    after = """
        made.closes = stop.set
        the_plugin.start(stop.wait)
        made.claim(threading.enumerate()[1:], "some 1.0")
        threading.Thread(target=time.sleep, args=[0.5]).start()
        threading.Thread(target=lambda: threading.main_thread().join()).start()
    """
    assert run(tmp_path, after, before=before, grace=2) == ("", "")


def test_functions_that_are_quick_are_not_broken_off(tmp_path: Path) -> None:
    """Be it that they take longer together than one may; one takes much less, as a busy machine may add a second."""
    after = "for _ in range(7): atexit.register(the_plugin.quick)"
    assert run(tmp_path, after, grace=2) == ("closed\n" + "quick\n" * 7, "")


def test_what_cannot_be_broken_off_ends_the_process(tmp_path: Path) -> None:
    out, err = run(tmp_path, "atexit.register(the_plugin.defy_twice)")
    assert out == "closed\n"
    assert "cannot be broken off" in err.splitlines()[-1]


def test_without_signals_the_process_is_ended(tmp_path: Path) -> None:
    before = "import signal; del signal.pthread_kill"
    out, err = run(tmp_path, "the_plugin.start()", before=before)
    assert out == "closed\n"
    assert "cannot be broken off" in err
    run(tmp_path, "the_plugin.start(); raise ValueError", 1, before=before)


def test_two_managers_share_the_end(tmp_path: Path) -> None:
    after = """
        guard(lambda: print("other closed", flush=True), lambda name: name == "other", print, 0.5)
        space = {"__name__": "other", "__builtins__": __builtins__}
        exec("import time\\ndef wait(): time.sleep(1000)", space)
        threading.Thread(target=space["wait"]).start()
        the_plugin.start()
    """
    out, err = run(tmp_path, after)
    assert out.splitlines()[:2] == ["other closed", "closed"]
    assert "(in wait of other), stuck (in hang of the_plugin)" in out + err
    assert (out + err).count("\n") == 3


def test_a_first_start_in_another_thread_or_at_the_end_does_no_harm(tmp_path: Path) -> None:
    before = """
def call(function, *args):
    thread = threading.Thread(target=function, args=args); thread.start(); thread.join()
"""
    after = "the_plugin.start()\natexit.register(guard, print, bool, print)"
    script = (
        f"{before}\nreal, guard = guard, lambda *args: (call(lambda: made.append(real(*args))), made[0])[1]\nmade = []"
    )
    out, err = run(tmp_path, after, before=script)
    assert out.startswith("closed\n")
    assert "told: " in err


def test_a_child_of_fork_shuts_nothing_down(tmp_path: Path) -> None:
    after = """
        import multiprocessing
        child = multiprocessing.get_context("fork").Process(target=print, args=["child"])
        child.start()
        child.join()
        if not (pid := os.fork()):
            sys.exit(4)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    """
    out, _ = run(tmp_path, after)
    assert out == "child\n4\nclosed\n"


def test_what_fails_while_plugins_are_shut_down_keeps_no_thread_from_being_joined(tmp_path: Path) -> None:
    after = """
        made.closes = lambda: 1 / 0
        thread = threading.Thread(target=lambda: (threading.main_thread().join(), print("joined")))
        made.claim([thread], "some 1.0")
        thread.start()
    """
    out, err = run(tmp_path, after)
    assert out == "joined\n"
    assert "ZeroDivisionError" in err


def test_modules_without_a_name_and_other_unraisable_exceptions(tmp_path: Path) -> None:
    after = """
        for number, name in enumerate([None, 5, b"the_plugin", type("S", (str,), {"__hash__": None})("x")]):
            space = {"__name__": name}
            exec("import time\\ndef wait(): time.sleep(0.8)", space)
            threading.Thread(target=space["wait"]).start()
        atexit.register(lambda: 1 / 0)
    """
    out, err = run(tmp_path, after)
    assert out == "closed\n"
    assert "ZeroDivisionError" in err
    assert "told" not in err
