"""An API gateway whose middleware and modifiers are plugins, upgraded while it serves.

- `python gateway.py` serves what gateway.toml beside it says, on http://127.0.0.1:8000
- `python gateway.py other.toml --port 9000` serves what another file says, on another port
- http://127.0.0.1:8000/plugins shows how plugins and routes are
"""

import argparse
import asyncio
import contextlib
import json
import logging
import sys
import tomllib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pluginhost
import uvicorn
from gateway_api import Middleware, Modifier, Request, Response
from pluginhost import PluginHostError, PluginManager, PluginsFailed
from starlette import requests, responses
from starlette.applications import Starlette
from starlette.routing import Route

from pluginapi import PluginError

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
PAGE = Path(__file__).with_name("plugins.html")
log = logging.getLogger("gateway")


@dataclass(frozen=True)
class Rule:
    """What becomes of the requests whose path begins so.

    Attributes:
        middleware: Which a request goes through, and in which order; the response comes back through them.
        modifiers: Which change the request after that, in this order, and the response, in the other.
        settings: What the plugins find in `Request.settings`.
        on_failure: What becomes of a request whose plugin fails: it is answered 502, or goes on without the plugin.
    """

    middleware: Sequence[str] = ()
    modifiers: Sequence[str] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    on_failure: Literal["refuse", "pass"] = "refuse"


class Gateway:
    """Answers requests by plugins, and by the service behind them."""

    def __init__(self, manager: PluginManager, rules: Mapping[str, Rule]) -> None:
        self._manager = manager
        self._rules = dict(sorted(rules.items(), key=lambda item: -len(item[0])))  # the longest prefix decides

    def start(self) -> None:
        """Starts the plugins; the paths that need none of those that fail are served all the same."""
        try:
            self._manager.load_all()
        except PluginsFailed as exc:
            log.warning("%s", exc)
        for rule in self._rules.values():
            for name in rule.middleware:
                self._manager.route(Middleware, name)
            for name in rule.modifiers:
                self._manager.route(Modifier, name)
        for route in self._manager.routes().values():
            with contextlib.suppress(PluginHostError):  # it is told to whoever asks for it
                self._manager.handle(route.default)  # which may have instances, and is not among those above then

    async def answer(self, asked: requests.Request) -> responses.Response:
        """Answers a client."""
        path, headers = asked.scope["path"], joined(asked.headers)
        rule = next((rule for prefix, rule in self._rules.items() if is_within(path, prefix)), None)
        if rule is None:
            response = told(404, "there is nothing here")
        else:
            request = Request(asked.method, path, asked.url.query, headers, await asked.body(), rule.settings)
            customer = {"customer": headers["x-customer"]} if "x-customer" in headers else {}
            with pluginhost.context(**customer):  # routes decide by it
                response = await self._through(rule, rule.middleware, request)
        return responses.Response(response.body, response.status, dict(response.headers))

    async def _through(self, rule: Rule, left: Sequence[str], request: Request) -> Response:
        """Returns the answer of some middleware and all that comes after it; a failure is its own, and no other's."""
        if not left:
            return await self._modified(rule, request)
        name, *others = left
        answered: Response | None = None

        async def after(request: Request) -> Response:
            nonlocal answered
            answered = await self._through(rule, others, request)
            return answered

        try:
            return await self._manager.route(Middleware, name).handle(request, after)
        except (PluginError, PluginHostError) as exc:
            return refused(rule, name, exc) or answered or await after(request)

    async def _modified(self, rule: Rule, request: Request) -> Response:
        """Returns what the service answers, all modified; modifiers may wait, so each call has a thread."""
        route = self._manager.route
        for name in rule.modifiers:
            try:
                request = await asyncio.to_thread(route(Modifier, name).modify_request, request)
            except (PluginError, PluginHostError) as exc:
                if response := refused(rule, name, exc):
                    return response
        response = await serve(request)
        for name in reversed(rule.modifiers):
            try:
                response = await asyncio.to_thread(route(Modifier, name).modify_response, request, response)
            except (PluginError, PluginHostError) as exc:
                response = refused(rule, name, exc) or response
        return response

    async def page(self, asked: requests.Request) -> responses.Response:
        """Answers with the page that shows how it all is."""
        return responses.HTMLResponse(PAGE.read_bytes())

    async def figures(self, asked: requests.Request) -> responses.Response:
        """Answers with what that page shows."""
        plugins = [status.to_dict() for status in self._manager.status().values()]
        routes = [status.to_dict() for status in self._manager.routes().values()]
        return responses.JSONResponse({"plugins": plugins, "routes": routes})


async def serve(request: Request) -> Response:
    """Returns what the service answers: what it was asked. A real one would be asked over the network."""
    headers = {name: value for name, value in request.headers.items() if name.startswith("x-")}
    body = request.body.decode(errors="replace")
    echo = {"method": request.method, "path": request.path, "query": request.query, "headers": headers, "body": body}
    return Response(200, {"content-type": "application/json"}, json.dumps(echo).encode() + b"\n")


def refused(rule: Rule, name: str, exc: PluginError | PluginHostError) -> Response | None:
    """Returns what a client gets where a plugin refused its request, or failed; `None` when it goes on without it."""
    if isinstance(exc, PluginError):  # the plugin's own word
        return told(400, str(exc))
    log.warning("%s: %s", name, exc.finding.message)
    return told(502, f"{name} failed") if rule.on_failure == "refuse" else None


def told(status: int, text: str) -> Response:
    """Returns a response of one line."""
    return Response(status, {"content-type": "text/plain; charset=utf-8"}, f"{text}\n".encode())


def joined(headers: Mapping[str, str]) -> dict[str, str]:
    """Returns headers by name, several of one name joined by commas."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def is_within(path: str, prefix: str) -> bool:
    """Returns whether a path is another, or below it."""
    return path == prefix or path.startswith(f"{prefix.rstrip('/')}/")


def application(file: Path) -> Starlette:
    """Returns the gateway of a configuration file, as an ASGI application."""
    table = tomllib.loads(file.read_text("utf-8"))
    rules = {prefix: Rule(**rule) for prefix, rule in table.get("paths", {}).items()}
    manager = PluginManager("gateway.plugins", "gateway_api", configuration=host(table.get("host", {}), rules))
    gateway = Gateway(manager, rules)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with manager:
            gateway.start()
            yield

    own = [Route("/plugins", gateway.page), Route("/plugins.json", gateway.figures)]
    return Starlette(routes=[*own, Route("/{path:path}", gateway.answer, methods=METHODS)], lifespan=lifespan)


def host(table: Mapping[str, Any], rules: Mapping[str, Rule]) -> dict[str, Any]:
    """Returns the host's configuration: where no route has a name, it is that of a plugin."""
    names = {name for rule in rules.values() for name in (*rule.middleware, *rule.modifiers)}
    given = table.get("routes", {})
    return {**table, "routes": given | {name: {"default": name, **given.get(name, {})} for name in names}}


def main() -> None:
    """Serves until Ctrl-C."""
    parser = argparse.ArgumentParser(description="An API gateway whose middleware are plugins.")
    parser.add_argument("file", nargs="?", type=Path, default=Path(__file__).with_name("gateway.toml"))
    parser.add_argument("--port", type=int, default=8000, help="0 for one that is free")
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    try:
        gateway = application(args.file)
    except (OSError, ValueError, TypeError, PluginHostError) as exc:  # no such file, no TOML, no such setting
        sys.exit(f"{args.file}: {exc}")
    uvicorn.run(gateway, port=args.port, access_log=False)


if __name__ == "__main__":
    main()
