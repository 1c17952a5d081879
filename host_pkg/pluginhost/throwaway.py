"""The throw-away process: a plugin's first load happens here, and only a word about it goes to the host.

The host starts it as `probe` says, with the job on its standard input. What the plugin does to the process ends with
it. The answer goes over what was standard output, which the plugin does not find in that place: one line of JSON for
each stage that was reached, and a last one with what was found. It carries the nonce of the job, since neither an exit
status nor silence proves that a plugin was loaded.
"""

from __future__ import annotations

import _thread
import atexit
import importlib.util
import itertools
import os
import pickle
import signal
import socket  # noqa: F401 - with these two here, their functions are watched
import subprocess  # noqa: F401
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from pluginhost import identity, loading, reimport
from pluginhost.errors import Finding, PluginLoadError, describe
from pluginhost.interrupts import told_apart
from pluginhost.parent import Parent
from pluginhost.survey import Candidate, Distribution

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final, NoReturn, TypedDict

    class Job(TypedDict):
        """What the host asks for.

        Attributes:
            path: The host's `sys.path`.
            nonce: What the last line must carry.
            entry: The entry point's group, name and value.
            distribution: Its distribution's name, version, origin and metadata folder.
            api: The import name of the API package; `None` when there is none.
            contracts: The names of the contracts that the plugin must implement.
            makes: Whether the factory is called.
            configs: Pickled, the configurations that are held against the type that the plugin declares, each with its
                path; none at all when the schema of that type is asked for. `None` when it is not about them.
            until: When the place is told where the plugin is held up, by `time.monotonic`, the same for all processes.
        """

        path: list[str]
        nonce: str
        entry: tuple[str, str, str]
        distribution: tuple[str, str, str, str]
        api: str | None
        contracts: list[str]
        makes: bool
        configs: bytes | None
        until: float


try:
    import resource
except ImportError:  # Windows has no limits of this kind
    resource = None  # type: ignore[assignment]

MEMORY: Final = 4 << 30
"""Bytes of memory that a first load may write to; what is only reserved does not count."""

_COUNTED_SECONDS: Final = 0.5
"""How long threads that were started are waited for, so that they are counted."""

_BEGIN_THREAD: Final = _thread.start_new_thread

_FORKS = {"os.fork", "os.forkpty"}
_HABITS = {
    "socket.__new__": "opens-sockets",
    "socket.connect": "opens-sockets",
    "_thread.start_new_thread": "starts-threads",
    "_thread.start_joinable_thread": "starts-threads",  # from 3.13 on
    "open": "reads-files",
}
_CODE = (".py", ".pyc", ".so", ".pyd", ".pth", ".zip", ".whl")
_MOST_HABITS = 20


def main(job: Job) -> NoReturn:
    """Does the job, answers, and ends the process."""
    answer = Parent(job["nonce"])
    candidate = Candidate(*job["entry"], Distribution(*job["distribution"]))
    _limit_memory()
    answer.tell_place(job["until"])
    contracts = identity.import_contracts(job["api"])
    version = identity.api_version(job["api"])
    reimport.by_content(candidate.module.partition(".")[0])  # it may just have been installed
    answer.send(reached="registered")
    watch = _Watch(candidate, answer)
    reached, missing = "registered", ""
    schema: dict[str, Any] | None = None
    findings: list[Finding] = []
    try:
        with told_apart():
            if job["makes"]:
                wanted = [contracts[name] for name in job["contracts"]]
                findings += loading.load(candidate, wanted, list(contracts.values()), version).findings
                reached = "usable"
            else:
                findings += loading.find(candidate)
                reached = "imported"
                if job["configs"] is not None:
                    schema = _held(candidate, pickle.loads(job["configs"]), findings)
    except KeyboardInterrupt:  # in a session of its own, nobody else sends that signal
        hint = f"tell the author of {candidate.distribution.name}"
        findings = [_finding("process-unsafe", candidate, "sent the interrupt of a person's Ctrl-C", hint)]
    except PluginLoadError as exc:
        reached = _REACHED[exc.finding.stage]
        missing = _missing_module(exc.__cause__)
        findings = [_memory(candidate) if issubclass(type(exc.__cause__), MemoryError) else exc.finding, *exc.more]
    findings = [*watch.found(), *map(_refusing, findings)]
    watch.is_over = True
    plain = [each.to_plain() for each in findings]
    answer.send(reached=reached, is_last=True, missing=missing, findings=plain, habits=watch.habits, schema=schema)
    if watch.leaves_nothing_to_do():
        os._exit(0)
    sys.exit(0)  # as a host would end: exit functions run, threads are waited for


_REACHED = {"import": "registered", "lookup": "imported", "new": "imported", "type": "made"}


def _held(candidate: Candidate, configs: list[tuple[str, object]], findings: list[Finding]) -> dict[str, Any] | None:
    """Adds what is wrong with a plugin's configurations, or returns the schema of their type when there are none."""
    from pluginhost import symbols, validation  # first loads do without

    kind = symbols.config_type(sys.modules[candidate.module])
    if kind is None:
        return None
    for path, config in configs:
        findings += (
            Finding("config-wrong", f"{candidate}: {fault.path} {fault.what}", fault.hint)
            for fault in itertools.islice(validation.faults(config, kind, path), validation.MOST)
        )
    if configs:
        return None
    try:
        return validation.schema(kind)
    except Exception as exc:  # one of its fields may be what JSON has no word for
        hint = f"tell the author of {candidate.distribution.name}: the fields are annotated with what msgspec knows"
        findings.append(Finding("configuration-wrong", f"{candidate}: its Config has no schema: {describe(exc)}", hint))
        return None


class _Watch:
    """What a plugin does that shows nowhere afterwards, or only in a process of its own.

    Attributes:
        habits: What its own code does that is better left to `init`: what, and where or with what.
        is_over: Whether the plugin's time is over.
    """

    def __init__(self, candidate: Candidate, answer: Parent) -> None:
        self.habits: list[tuple[str, str]] = []
        self.is_over = False
        self._candidate = candidate
        self._answer = answer
        self._own = candidate.module.partition(".")[0]
        self._events: list[str] = []
        self._environment: dict[str, str | None] = {}  # what was set last, through os.environ or past it
        self._exits = atexit._ncallbacks()
        self._threads = set(threading.enumerate())
        self._count = _thread._count()
        self._started = 0
        self._descriptors = dict(_descriptors())
        sys.addaudithook(self._heard)
        if sys.version_info < (3, 12):  # there it raises no audit event
            _thread.start_new_thread = _start_new_thread
            threading._start_new_thread = _start_new_thread  # type: ignore[attr-defined]

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _FORKS and not self.is_over:
            self._events.append(event)
            raise RuntimeError("a plugin does not fork its host")
        if event == "sys.addaudithook":
            self._events.append(event)
        elif event == "os.putenv":
            self._environment[os.fsdecode(args[0])] = os.fsdecode(args[1])
        elif event == "os.unsetenv":
            self._environment[os.fsdecode(args[0])] = None
        elif event == loading.IMPORTED:
            self._answer.send(reached="imported")
        elif (habit := _HABITS.get(event)) and not self.is_over:
            self._started += habit == "starts-threads"
            if len(self.habits) < _MOST_HABITS:
                self._note(habit, args)

    def _note(self, habit: str, args: tuple[Any, ...]) -> None:
        """Notes a habit when the plugin's own code, not that of a library it imports, shows it."""
        what = os.fsdecode(args[0]) if habit == "reads-files" and isinstance(args[0], str | bytes) else ""
        if habit == "reads-files" and (not what or what.endswith(_CODE)):
            return  # a descriptor, or the import system at work
        frame = sys._getframe(2)
        while frame.f_back and (
            frame.f_globals is globals()  # what stands in for Python's own here
            or frame.f_globals.get("__name__", "").partition(".")[0] in sys.stdlib_module_names
        ):
            frame = frame.f_back
        if frame.f_globals.get("__name__", "").partition(".")[0] == self._own:
            where = f"{what or frame.f_code.co_filename}"
            if (habit, where) not in self.habits:
                self.habits.append((habit, where))

    def found(self) -> Iterator[Finding]:
        """Yields what a host would not survive, or could not see."""
        of, name = self._candidate, self._candidate.distribution.name
        author = f"tell the author of {name}; until then: pip uninstall {name}"
        if _FORKS.intersection(self._events):
            yield _finding("process-forked", of, "forked the process", author)
        if "sys.addaudithook" in self._events:
            yield _finding("process-unsafe", of, "added an audit hook, which nothing can remove", author)
        if past := sorted(name for name, value in list(self._environment.items()) if os.environ.get(name) != value):
            what = f"changed the environment past os.environ ({', '.join(past)})"
            yield _finding("process-unsafe", of, what, author)
        if _is_woken():
            yield _finding("process-unsafe", of, "set the descriptor that signals wake", author)
        if fault := _broken_import():
            yield _finding("process-unsafe", of, f"added a finder after which an import {fault}", author)
        now = dict(_descriptors())
        gone = [str(number) for number, what in self._descriptors.items() if now.get(number) != what]
        if gone:
            yield _finding("process-unsafe", of, f"closed or replaced the descriptors {', '.join(gone)}", author)
        # A thread is counted once it runs, which may be a while after its start; one that has ended never is again.
        until = time.monotonic() + _COUNTED_SECONDS
        while _thread._count() - self._count < self._started and time.monotonic() < until:
            time.sleep(0.002)
        begun = []
        if more := _thread._count() - self._count:
            names = [_shown(thread) for thread in threading.enumerate() if thread not in self._threads]
            begun.append(f"started threads: {', '.join(names) or more}")
        if more := len(now.keys() - self._descriptors.keys()):
            begun.append(f"left files, sockets or pipes open: {more}")
        if begun:
            yield _finding("work-begun", of, " and ".join(begun), f"{author}: work begins in `init`")

    def leaves_nothing_to_do(self) -> bool:
        """Returns whether nothing runs at the process's end that was not there before."""
        return atexit._ncallbacks() == self._exits and set(threading.enumerate()) == self._threads


def _start_new_thread(*args: Any) -> int:
    """Starts a thread, with the audit event that Python raises from 3.12 on."""
    sys.audit("_thread.start_new_thread", *args)
    return _BEGIN_THREAD(*args)


def _is_woken() -> bool:
    return signal.set_wakeup_fd(-1) != -1


def _broken_import() -> str:
    """Returns what is wrong with an import of what is not there; empty when it is not found, as it should be."""
    try:
        return "finds what is not there" if importlib.util.find_spec(f"pluginhost_{os.getpid()}") else ""
    except BaseException as exc:  # a finder is the plugin's code
        return f"raises {describe(exc)}"


def _shown(thread: threading.Thread) -> str:
    try:
        return str.__str__(str(thread.name))
    except BaseException:  # a plugin may have given it a name of its own kind
        return "one whose name cannot be printed"


def _descriptors() -> Iterator[tuple[int, tuple[int, int]]]:
    """Yields the open descriptors, and what each is."""
    for number in range(256):  # the process is new: there are no others
        try:
            status = os.fstat(number)
        except OSError:
            continue
        yield number, (status.st_dev, status.st_ino)


def _limit_memory() -> None:
    if resource is not None and hasattr(resource, "RLIMIT_DATA"):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _refusing(finding: Finding) -> Finding:
    """Returns a finding as it counts at first sight, where what is grave refuses."""
    if finding.code != "process-unsafe":
        return finding
    return Finding(finding.code, finding.message, finding.hint, finding.path)


def _memory(candidate: Candidate) -> Finding:
    what = f"ran out of memory; a first load has {MEMORY >> 30} GiB"
    hint = f"tell the author of {candidate.distribution.name}: a plugin's import and factory do no work"
    return _finding("memory-exhausted", candidate, what, hint)


def _finding(code: str, candidate: Candidate, what: str, hint: str) -> Finding:
    message = f"{candidate}: importing {candidate.module} or calling {candidate.factory}() {what}"
    return Finding(code, message, hint, candidate.distribution.info)


def _missing_module(cause: BaseException | None) -> str:
    """Returns the module whose absence failed an import, else nothing."""
    if not issubclass(type(cause), ModuleNotFoundError):
        return ""
    name = vars(ImportError)["name"].__get__(cause)  # past what the exception's class may say
    return name if type(name) is str else ""
