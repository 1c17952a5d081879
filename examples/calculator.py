"""Calculates with whatever operations are installed, or lie as wheels in a folder.

`python calculator.py 10 + 5` prints `add(10, 5) = 15.00`; `python calculator.py --plugin-dir wheels 2 ^ 8` takes the
wheels in `wheels` besides.
"""

import logging
import sys

from pluginhost import PluginManager

from pluginapi import Operation, PluginError


def main() -> None:
    """Prints the result, or says which operations there are."""
    arguments, plugin_dirs = sys.argv[1:], []
    while arguments[:1] == ["--plugin-dir"] and len(arguments) > 1:
        plugin_dirs.append(arguments[1])
        del arguments[:2]
    words = " ".join(arguments).split()
    logging.basicConfig(format="%(message)s")  # plugins that fail are logged, with the reason and a hint
    with PluginManager(plugin_dirs=plugin_dirs) as manager:
        operations = {operation.symbol: operation for operation in manager.all(Operation).values()}
        try:
            left, symbol, right = words
            operation, a, b = operations[symbol], float(left), float(right)
        except (KeyError, ValueError):
            sys.exit(f"usage: calculator.py A SYMBOL B, where SYMBOL is one of {' '.join(operations)}")
        try:
            print(f"{operation.name}({a:g}, {b:g}) = {operation.execute(a, b):.2f}")
        except PluginError as exc:
            sys.exit(f"{operation.name}({a:g}, {b:g}): {exc}")


if __name__ == "__main__":
    main()
