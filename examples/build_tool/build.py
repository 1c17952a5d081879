"""Builds the project in the current folder, with whatever tasks are installed.

- `python build.py` lists the tasks
- `python build.py archive` runs a task, and before it those that it requires
- `python build.py archive checksum` runs both

It builds what is in `src`, into `dist`. A file `build.toml` may set options: `name = "hello.zip"` in the table
`[tasks.archive]`. It exits with 1 if a task failed, or could not be run.
"""

import argparse
import difflib
import io
import logging
import sys
import time
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from build_api import Context, PluginError, Task
from pluginhost import PluginHostError, PluginManager


class BuildError(Exception):
    """The build cannot begin, or a task did not do what it says; the message says why."""


def options(file: Path) -> dict[str, dict[str, object]]:
    """Returns the settings of the tasks by their names, as a `PluginManager` takes them.

    Raises:
        BuildError: The file cannot be read, or is not as it should be.
    """
    try:
        tables = tomllib.loads(file.read_text("utf-8")).get("tasks", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:  # what is not TOML, or not UTF-8, is a ValueError
        raise BuildError(f"{file.name}: {exc}") from exc
    if not isinstance(tables, dict):
        raise BuildError(f"{file.name}: tasks is {tables!r}; write a table [tasks.NAME] for each task")
    return {name: {"config": table} for name, table in tables.items()}


class Build:
    """The tasks that are installed, and what each requires."""

    def __init__(self, manager: PluginManager) -> None:
        self._tasks = manager.all(Task)  # what fails is logged, and is not among them
        rows = list(manager.survey())
        self.installed = {row.name for row in rows}
        self.requires = {row.name: row.requires.get("plugins", []) for row in rows if row.name in self._tasks}

    def missing(self, name: str) -> str:
        """Returns why there is no such task to run."""
        if name in self.installed:
            return f"the task {name} is installed, but cannot run; the reason stands above"
        near = difflib.get_close_matches(name, self.requires, n=3, cutoff=0.5)
        there = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(self.requires) or 'none'}"
        return f"there is no task {name}; {there}"

    def order(self, names: list[str]) -> list[str]:
        """Returns the names of tasks and of all that they require, each after what it requires.

        Raises:
            BuildError: A task is not there, or tasks require each other.
        """
        graph: dict[str, list[str]] = {}
        todo = [(name, "") for name in names]
        while todo:
            name, whose = todo.pop(0)
            if name not in self._tasks:
                raise BuildError(self.missing(name) + (f" ({whose} requires it)" if whose else ""))
            if name not in graph:
                graph[name] = self.requires[name]
                todo += [(required, name) for required in graph[name]]
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as exc:
            raise BuildError(f"tasks require each other: {' requires '.join(reversed(exc.args[1]))}") from exc

    def run(self, names: list[str], context: Context) -> bool:
        """Runs tasks in this order, except those that require one that failed; returns whether none did."""
        failed: set[str] = set()
        for name in names:
            if lost := failed.intersection(self.requires[name]):
                print(f"{name}: not run, since it requires {' and '.join(sorted(lost))}")
                failed.add(name)
                continue
            begin = time.perf_counter()
            try:
                told = self._run(name, context)
            except (BuildError, PluginError) as exc:  # the task's own word comes as it is
                failed.add(name)
                told = f"failed: {exc}"
            except PluginHostError as exc:  # whatever else it raises, the host tells of
                failed.add(name)
                told = f"failed: {exc.finding.message}"
            print(f"{name}: {told} ({time.perf_counter() - begin:.2f} s)")
        return not failed

    def _run(self, name: str, context: Context) -> str:
        result = self._tasks[name].run(context)
        for file in result.files:
            if not file.is_file():
                raise BuildError(f"it says that it wrote {file}, which is not there")
        return result.summary


def main() -> None:
    """Runs the tasks that are named, or lists those that there are."""
    parser = argparse.ArgumentParser(description="Builds the project in the current folder.")
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="what to run; without any, the tasks are listed")
    names = parser.parse_args().tasks
    logging.basicConfig(format="%(message)s")  # plugins that fail are logged, with the reason and a hint
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may not have every script

    root = Path.cwd()
    try:
        settings = options(root / "build.toml")
        with PluginManager(group="build.tasks", api="build_api", plugins=settings) as manager:
            build = Build(manager)
            for name in settings.keys() - build.installed:
                logging.warning("build.toml: %s", build.missing(name))
            for name, required in build.requires.items() if not names else ():
                print(name + (f": requires {', '.join(required)}" if required else ""))
            is_well = build.run(build.order(names), Context(root, root / "src", root / "dist"))
    except (BuildError, PluginHostError) as exc:
        sys.exit(f"{exc}")
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
