"""What the editor and its languages share."""

from abc import abstractmethod
from dataclasses import dataclass

from pluginapi import Plugin, PluginError

__all__ = ["Entry", "Language", "PluginError", "Problem"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an outline.

    Attributes:
        line: Where it begins; the first line of a text is 1.
        level: How deep it lies; 1 is the outermost.
        title: What a person reads.
    """

    line: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong in a text.

    Attributes:
        line: Where it is; the first line of a text is 1.
        message: What is wrong, in one line.
    """

    line: int
    message: str


class Language(Plugin):
    """What the editor knows of one language.

    Attributes:
        suffixes: How the names of its files end, such as `(".md",)`.
    """

    suffixes: tuple[str, ...]

    @abstractmethod
    def outline(self, text: str) -> list[Entry]:
        """Returns what a text consists of, in the order of its lines; a broken text has an outline too."""

    @abstractmethod
    def check(self, text: str) -> list[Problem]:
        """Returns what is wrong in a text, in the order of its lines."""

    def format(self, text: str) -> str:
        """Returns a text, formatted; only a language with the capability `format` is asked, and overrides this.

        Raises:
            PluginError: This text cannot be formatted; the message says why.
        """
        return text
