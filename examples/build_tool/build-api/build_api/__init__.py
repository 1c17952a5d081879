"""What the build tool and its tasks share."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

from pluginapi import Host, Plugin, PluginError

__all__ = ["Context", "Host", "PluginError", "Result", "Task"]


@dataclass(frozen=True, slots=True)
class Context:
    """The project that is built.

    Attributes:
        root: Its folder.
        source: The folder of what it is built from.
        output: The folder of what is built; there may be none yet.
    """

    root: Path
    source: Path
    output: Path


@dataclass(frozen=True, slots=True)
class Result:
    """What a task has done.

    Attributes:
        summary: What a person reads, in one line.
        files: What it has written; the build tool makes sure that it is there.
    """

    summary: str
    files: tuple[Path, ...] = ()


class Task(Plugin):
    """One step of a build.

    The tasks that must run before it stand in its pyproject.toml: `requires = { plugins = ["compile"] }`. Its options,
    from the project's build.toml, are `host.config` in its `init`.
    """

    @abstractmethod
    def run(self, context: Context) -> Result:
        """Does the task.

        Raises:
            PluginError: It failed; the message says why.
        """
