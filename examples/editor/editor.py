"""Shows the outline and the problems of files, and formats them, in whatever languages are installed.

- `python editor.py notes.md` prints the outline and the problems of a file
- `python editor.py --outline notes.md` prints its outline, `python editor.py --check notes.md` its problems
- `python editor.py --format notes.md data.json` writes both files anew, formatted

It exits with 1 if a file has problems, or if something could not be done.
"""

import argparse
import io
import logging
import sys
from pathlib import Path

from editor_api import Language, PluginError
from pluginhost import PluginHostError, PluginManager


class EditorError(Exception):
    """The editor cannot do what is asked for; the message says why."""


class Editor:
    """What the installed languages can do with files."""

    def __init__(self, manager: PluginManager) -> None:
        self._languages = manager.all(Language)  # what fails is logged, and is not among them
        self._formatting = manager.all(Language, requires={"format"})

    def language(self, path: Path) -> Language:
        """Returns the language of a file.

        Raises:
            EditorError: There is none, or more than one.
        """
        found = {name: each for name, each in self._languages.items() if path.suffix in each.suffixes}
        if not found:
            known = sorted({suffix for each in self._languages.values() for suffix in each.suffixes})
            raise EditorError(
                f"no language for {path.suffix or 'a name without suffix'}; there are: {', '.join(known)}"
            )
        if len(found) > 1:
            raise EditorError(f"{path.suffix} belongs to {' and to '.join(found)}; uninstall all but one of them")
        return next(iter(found.values()))

    def outline(self, path: Path) -> bool:
        """Prints what a file consists of, and returns True."""
        for entry in self.language(path).outline(path.read_text("utf-8")):
            print(f"{path}:{entry.line}: {'  ' * (entry.level - 1)}{entry.title}")
        return True

    def check(self, path: Path) -> bool:
        """Prints what is wrong in a file, and returns whether that is nothing."""
        problems = self.language(path).check(path.read_text("utf-8"))
        for problem in problems:
            print(f"{path}:{problem.line}: problem: {problem.message}")
        return not problems

    def format(self, path: Path) -> bool:
        """Writes a file anew, formatted, and returns True.

        Raises:
            EditorError: Its language does not format.
        """
        language = self.language(path)
        if language.name not in self._formatting:
            able = ", ".join(sorted(self._formatting)) or "none"
            raise EditorError(f"{language.name} does not format; languages that do: {able}")
        text = path.read_text("utf-8")
        formatted = language.format(text)
        if formatted != text:
            path.write_text(formatted, "utf-8", newline="\n")
        print(f"{path}: {'formatted' if formatted != text else 'nothing to format'}")
        return True


def main() -> None:
    """Does with each file what is asked for; a file that fails is told, and the others are done."""
    parser = argparse.ArgumentParser(description="Shows and formats files in whatever languages are installed.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--format", action="store_true", help="write the files anew, formatted")
    parser.add_argument("--outline", action="store_true", help="print what the files consist of")
    parser.add_argument("--check", action="store_true", help="print what is wrong in the files")
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s")  # plugins that fail are logged, with the reason and a hint
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may not have every script

    is_well = True
    with PluginManager(group="editor.languages", api="editor_api") as manager:
        editor = Editor(manager)
        can = [(editor.format, args.format), (editor.outline, args.outline), (editor.check, args.check)]
        asked = [do for do, is_asked in can if is_asked] or [editor.outline, editor.check]
        for path in args.files:
            try:
                for do in asked:
                    is_well &= do(path)
            except (EditorError, OSError, UnicodeDecodeError, PluginError) as exc:  # a language's own word is as it is
                print(f"{path}: {exc}", file=sys.stderr)
                is_well = False
            except PluginHostError as exc:  # whatever else it raises, the host tells of
                print(f"{path}: its language failed: {exc.finding.message}", file=sys.stderr)
                is_well = False
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
