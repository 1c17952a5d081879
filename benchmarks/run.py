"""The CPU time of a survey and of a first call, each in a fresh process, and of later calls, beside the peers.

Run it as `nox -s bench -- [ENVIRONMENT ...] [options]`. Every round runs the bare interpreter and each contestant once,
in turn, so that what disturbs the machine disturbs all alike. Each is first asked for its answer, and timed only if
that is right. What a later call takes does not depend on what is installed, nor does an isolated plugin, a reload or a
call over go-plugin: there, every round is a process that times all contestants in turn, in the running environment.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import py_compile
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import distributions, entry_points, version
from pathlib import Path
from typing import Any

from synthetic import make_environment

GROUP = "pluginhost.plugins"
SCENARIOS = {
    "survey": "A survey: which plugins may run?",
    "call": "A first call of one plugin, known from an earlier run where there is a cache",
    "probe": "The same by pluginhost: what a plugin's first load in a process to be lost adds",
}
CALLS = {
    "guarded": "A later call of one plugin",
    "fan-out": "A later call of each of ten plugins",
    "contained": "A call that is refused, and one that may be given up",
    "routed": "A later call along a route, which decides who serves it",
}
ISOLATED = {
    "isolated": "A call of an isolated plugin",
    "isolated-start": "The start of an isolated plugin",
    "reload": "The reload of a plugin of one module",
    "goplugin": "A call over go-plugin, each by itself: the 99th percentile is of calls, not of rounds",
}
SCRIPTS = {"reload": "reload.py", "goplugin": "programs.py"}
PACKAGES = (
    "pluginhost",
    "pluginapi",
    "stevedore",
    "pluggy",
    "grpcio",
    "grpclib",
    "h2",
    "protobuf",
    "openfeature-sdk",
    "packaging",
    "importlib-metadata",
)

# What the tables call it, its file in contestants/, its version, and whether it finds the cache of its earlier runs or
# an empty folder.
PEERS = (
    ("pluginhost, warm index", "with_pluginhost", version("pluginhost"), True),
    ("pluginhost, no index", "with_pluginhost", version("pluginhost"), False),
    ("importlib.metadata", "with_importlib_metadata", platform.python_version(), False),
    ("stevedore (warm cache; judges no pins)", "with_stevedore", version("stevedore"), True),
    ("pluggy (imports all to list; judges no pins)", "with_pluggy", version("pluggy"), False),
)
# Likewise, and when the first load is tried.
PROBES = (("a known plugin", "new"), ("a new plugin", "always"), ("the probe is off", "never"))


@dataclass(slots=True)
class Entry:
    """One command that is timed.

    Attributes:
        scenario: A key of `SCENARIOS`; empty for the bare interpreter.
        name: What the table calls it.
        version: What version of what it is.
        command: What is run.
        answer: The lines that it must print, sorted.
        cache: Where it finds the cache of its earlier runs; `None` for an empty folder each time.
        seconds: The CPU time of each run.
    """

    scenario: str
    name: str
    version: str
    command: list[str]
    answer: list[str] = field(default_factory=list)
    cache: Path | None = None
    seconds: list[float] = field(default_factory=list)

    def check(self) -> str:
        """Returns what is wrong with its answer; empty when nothing is."""
        home = self.cache or Path(tempfile.mkdtemp(dir="."))
        done = subprocess.run(self.command, env=variables(home), capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1]
        if self.cache and not any(path.is_file() for path in self.cache.rglob("*")):
            self.name += " - KEPT NO CACHE"  # stevedore keeps none for an interpreter below /tmp
        return "" if sorted(done.stdout.splitlines()) == self.answer else f"wrong answer: {done.stdout[:200]!r}"

    def run(self) -> None:
        """Runs once and takes down the CPU time, user and system.

        Raises:
            RuntimeError: It failed, so the time would say nothing.
        """
        home = self.cache or Path(tempfile.mkdtemp(dir="."))
        null = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        pid = os.posix_spawn(self.command[0], self.command, variables(home), file_actions=null)
        _, status, usage = os.wait4(pid, 0)
        if home != self.cache:
            shutil.rmtree(home)
        if status:
            raise RuntimeError(f"failed in a timed run: {' '.join(self.command)}")
        self.seconds.append(usage.ru_utime + usage.ru_stime)

    def result(self, bare: float) -> dict[str, Any]:
        """Returns what it took, as times of a bare start's median and in milliseconds."""
        whole = {"all_ms": [second * 1e3 for second in self.seconds]}
        ratios = summary(self.seconds, bare) | {"median_ms": statistics.median(self.seconds) * 1e3}
        return {"scenario": self.scenario, "contestant": self.name, "version": self.version} | ratios | whole


def summary(times: list[float], bare: float) -> dict[str, float]:
    """Returns the median and the 99th percentile, as times of another's median."""
    p99 = sorted(times)[math.ceil(len(times) * 0.99) - 1]
    return {"median_ratio": statistics.median(times) / bare, "p99_ratio": p99 / bare}


def variables(home: Path) -> dict[str, str]:
    """Returns a child's environment variables: none that steers Python, and every cache below one folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XDG_"))}
    return kept | {"HOME": str(home.absolute()), "XDG_CACHE_HOME": str(home.absolute() / ".cache")}


def prepare(environment: str, scenarios: list[str], work: Path) -> tuple[str, list[Entry]]:
    """Returns an environment's title and what to time in it, the bare interpreter first."""
    if environment == "here":
        python, library, called = sys.executable, sysconfig.get_path("purelib"), "english"
        names = [entry_point.name for entry_point in entry_points(group=GROUP)]
        title = f"This environment: {len(list(distributions()))} distributions, {len(names)} plugins"
    else:
        number, plugins = map(int, environment.split("/"))
        names = make_environment(work / "venv", GROUP, number, plugins)
        python, library, called = str(work / "venv/bin/python"), str(work / "venv/lib"), names[0]
        title = f"Synthetic: {number:,} distributions, {plugins:,} of them with a plugin"
    # A template called .py cannot be compiled, and is not imported either.
    subprocess.run([python, "-m", "compileall", "-qq", library], env=variables(work), check=False)

    entries = [Entry("", "bare start of the interpreter", platform.python_version(), [python, "-c", "pass"])]
    for scenario in scenarios:
        contestants = [(*peer, "") for peer in PEERS]
        if scenario == "probe":
            contestants = [(name, "with_pluginhost", version("pluginhost"), True, when) for name, when in PROBES]
        for name, script, number_of, keeps_cache, when in contestants:
            # Python keeps no bytecode of a script, so it is compiled here and the bytecode run.
            compiled = work / "scripts" / f"{script}.pyc"
            py_compile.compile(str(Path(__file__).parent / "contestants" / f"{script}.py"), str(compiled), doraise=True)
            arguments = [GROUP] if scenario == "survey" else [GROUP, called, *([when] if when else [])]
            answer = sorted(names) if scenario == "survey" else ["Hello, World! Nice to meet you."]
            cache = work / f"cache of {name.partition(' (')[0]} for a {scenario}" if keeps_cache else None
            command = [python, str(compiled), "survey" if scenario == "survey" else "call", *arguments]
            entries.append(Entry(scenario, name, number_of, command, answer, cache))
    return title, entries


def measure(environment: str, scenarios: list[str], rounds: int) -> dict[str, Any]:
    """Returns the title of an environment, who failed in it, and the result of each who did not."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=sys.prefix) as folder:
        title, entries = prepare(environment, scenarios, Path(folder))
        (runs := Path(folder, "runs")).mkdir()
        os.chdir(runs)  # `python -c` searches its working folder, so that is one with nothing in it
        time.sleep(3)  # an index may refuse to remember what was written a moment ago
        wrong = {f"{entry.scenario}, {entry.name}": (entry, entry.check()) for entry in entries}
        timed = [entry for entry, reason in wrong.values() if not reason]
        for _ in range(rounds):
            for entry in timed:
                entry.run()
        os.chdir(sys.prefix)
    bare = statistics.median(entries[0].seconds)
    failed = [f"{who}: {reason}" for who, (_, reason) in wrong.items() if reason]
    return {"title": title, "failed": failed, "results": [entry.result(bare) for entry in timed]}


def measure_calls(scenario: str, rounds: int) -> dict[str, Any]:
    """Returns what `measure` does, of calls inside one process: what each took, less what the empty loop took."""
    command = [sys.executable, str(Path(__file__).with_name("calls.py")), scenario]
    report: dict[str, Any] = {"title": "Inside one process, on one core", "failed": [], "results": []}
    taken: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=sys.prefix) as home:
        for _ in range(rounds):
            done = subprocess.run(command, env=variables(Path(home)), capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1]
                return report | {"failed": [f"{scenario}: {reason}"]}
            for name, number, nanoseconds in json.loads(done.stdout):
                taken.setdefault((name, number), []).append(nanoseconds)
    loops = taken.pop(next(iter(taken)))
    report["title"] += f"; the empty loop's {statistics.median(loops):.1f} ns are subtracted"
    bare = 0.0
    for (name, number), raw in taken.items():
        calls = [nanoseconds - loop for nanoseconds, loop in zip(raw, loops, strict=True)]
        bare = bare or statistics.median(calls)
        row = {"scenario": scenario, "contestant": name, "version": number} | summary(calls, bare)
        medians = {"median_ns": statistics.median(calls), "raw_ns": statistics.median(raw)}
        report["results"].append(row | medians | {"all_raw_ns": raw, "all_loops_ns": loops})
    return report


def measure_isolated(scenario: str, rounds: int) -> list[dict[str, Any]]:
    """Returns what `measure` does, for each table of what goes to other processes: by the clock, since they wait."""
    command = [sys.executable, str(Path(__file__).with_name(SCRIPTS.get(scenario, "isolated.py"))), scenario]
    tables: dict[str, dict[tuple[str, str], list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=sys.prefix) as home:
        for _ in range(rounds):
            done = subprocess.run(command, env=variables(Path(home)), capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1]
                return [{"title": "Host and child on one core", "failed": [f"{scenario}: {reason}"], "results": []}]
            told = json.loads(done.stdout)
            if isinstance(told, str):
                return [{"title": f"Skipped: {told}", "failed": [], "results": []}]
            for table, name, number, seconds in told:
                tables.setdefault(table, {}).setdefault((name, number), []).append(seconds)
    reports = []
    for table, taken in tables.items():
        bare = statistics.median(next(iter(taken.values())))
        rows = []
        for (name, number), seconds in taken.items():
            row = {"scenario": scenario, "contestant": name, "version": number} | summary(seconds, bare)
            whole = {"median_us": statistics.median(seconds) * 1e6, "p99_us": row["p99_ratio"] * bare * 1e6}
            rows.append(row | whole | {"all_us": [second * 1e6 for second in seconds]})
        reports.append({"title": f"On one core, by the clock; {table}", "failed": [], "results": rows})
    return reports


def show(report: dict[str, Any], scenarios: list[str]) -> None:
    """Prints an environment's tables, one for each scenario."""
    for scenario in scenarios:
        print(f"\n{report['title']}\n{(SCENARIOS | CALLS | ISOLATED)[scenario]}")
        rows = [row for row in report["results"] if row["scenario"] in ("", scenario)]
        wide = max((len(row["contestant"]) for row in rows), default=0)
        columns = {"median_ms": "median ms"}
        if scenario in CALLS:
            columns = {"median_ns": "median ns", "raw_ns": "with loop"}
        elif scenario in ISOLATED:
            columns = {"median_us": "median us", "p99_us": "p99 us"}
        titles = "  ".join(f"{title:>9}" for title in columns.values())
        print(f"  {'':{wide}}  version  median ratio  p99 ratio  {titles}")
        for row in rows:
            numbers = f"{row['median_ratio']:12.2f}  {row['p99_ratio']:9.2f}"
            numbers += "".join(f"  {row[column]:9.1f}" for column in columns)
            print(f"  {row['contestant']:{wide}}  {row['version']:7}  {numbers}")
    for line in report["failed"]:
        print(f"  NOT TIMED: {line}")


def main() -> int:
    """Returns the exit code: 1 when somebody answered wrong and was not timed."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    which = "`here`, or `N/M` for a new one of N distributions, M of them with a plugin (default: here 1000/100)"
    parser.add_argument("environments", nargs="*", metavar="ENVIRONMENT", default=["here", "1000/100"], help=which)
    parser.add_argument(
        "--scenario", action="append", choices=[*SCENARIOS, *CALLS, *ISOLATED], help="which to time (default: each)"
    )
    parser.add_argument("--rounds", type=int, default=100, help="runs of each contestant (default: 100)")
    parser.add_argument("--core", type=int, help="the core to run on, where a process can be held to one")
    parser.add_argument("--json", type=argparse.FileType("w"), metavar="FILE", help="write every run to a file, too")
    options = parser.parse_args()
    chosen = options.scenario or [*SCENARIOS, *CALLS, *ISOLATED]
    scenarios, calls = [each for each in SCENARIOS if each in chosen], [each for each in CALLS if each in chosen]
    if not hasattr(os, "wait4"):
        parser.error("this system does not tell what CPU time a child took")
    if options.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})

    system = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    versions = {name: version(name) for name in PACKAGES}
    print(f"{system}, {platform.machine()}; CPU time, user and system; {options.rounds} rounds")
    print(", ".join(f"{name} {number}" for name, number in versions.items()))
    if options.rounds < 100 and chosen != ["goplugin"]:
        print("Below 100 rounds p99 is the maximum.")
    reports = []
    for environment in options.environments if scenarios else ():
        reports.append(measure(environment, scenarios, options.rounds))
        show(reports[-1], scenarios)
    for scenario in calls:
        reports.append(measure_calls(scenario, options.rounds))
        show(reports[-1], [scenario])
    for scenario in filter(chosen.__contains__, ISOLATED):
        for report in measure_isolated(scenario, options.rounds):
            reports.append(report)
            show(report, [scenario])
    if options.json:
        facts = {"system": system, "versions": versions, "rounds": options.rounds, "core": options.core}
        json.dump(facts | {"environments": reports}, options.json, indent=1)
    return int(any(report["failed"] for report in reports))


if __name__ == "__main__":
    sys.exit(main())
