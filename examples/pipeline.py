"""Sends a request through handlers, each given the body that the one before it returned.

- `python pipeline.py "some text"` asks filter, then transform
- `python pipeline.py "some text" transform filter` asks them in another order
"""

import io
import logging
import sys

from pluginhost import PluginHostError, PluginManager

from pluginapi import Handler, Request, Response


def run(handlers: list[Handler], request: Request) -> Response:
    """Returns the last handler's response, or the first that is not a success."""
    response = Response(200, request.body)
    for handler in handlers:
        response = handler.handle(Request(request.id, response.body))
        print(f"{handler.name}: {response.status} {response.body.decode(errors='replace')}")
        if not 200 <= response.status < 300:
            break
    return response


def main() -> None:
    """Runs the handlers named and exits with 0 if the last response is a success."""
    if len(sys.argv) < 2:
        sys.exit("usage: pipeline.py TEXT [HANDLER…]")
    text, *names = sys.argv[1:]
    logging.basicConfig(format="%(message)s")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may not have every script
    with PluginManager() as manager:
        try:
            handlers = [manager.get(name, Handler) for name in names or ("filter", "transform")]
        except PluginHostError as exc:
            sys.exit(str(exc))
        response = run(handlers, Request("1", text.encode("utf-8", "surrogateescape")))
    sys.exit(0 if 200 <= response.status < 300 else 1)


if __name__ == "__main__":
    main()
