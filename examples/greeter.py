"""Greets in whatever languages are installed.

- `python greeter.py` prints `Hello, World! Nice to meet you.`
- `python greeter.py persian` greets in Persian
- `python greeter.py --all` prints a line for each language
"""

import argparse
import io
import logging
import sys

from pluginhost import PluginManager, PluginNotFound

from pluginapi import Greeter


def main() -> None:
    """Greets, or says which languages there are."""
    parser = argparse.ArgumentParser(description="Greets in whatever languages are installed.")
    parser.add_argument("language", nargs="?", default="english", help="the name of a greeter plugin")
    parser.add_argument("--name", default="World", help="whom to greet")
    parser.add_argument("--all", action="store_true", help="greet in every language")
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s")  # plugins that fail are logged, with the reason and a hint
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may not have every script

    with PluginManager() as manager:
        if args.all:
            for greeter in manager.all(Greeter).values():
                print(f"[{greeter.lang}] {greeter.greet(args.name)}")
            return
        try:
            print(manager.get(args.language, Greeter).greet(args.name))
        except PluginNotFound:
            sys.exit(f"no greeter speaks {args.language!r}; there are: {', '.join(manager.all(Greeter))}")


if __name__ == "__main__":
    main()
