"""Changes the words of requests and responses."""

import json
from collections.abc import Mapping
from dataclasses import replace

from gateway_api import Modifier, PluginError, Request, Response


class Rename(Modifier):
    """Gives the fields of a request's JSON object other names: those that the settings have under `rename`."""

    def modify_request(self, request: Request) -> Request:
        names = request.settings.get("rename")
        if not request.body or not isinstance(names, Mapping):
            return request
        try:
            fields = json.loads(request.body)
        except ValueError as exc:
            raise PluginError(f"the body is no JSON: {exc}") from exc
        if not isinstance(fields, dict):
            return request
        return replace(request, body=json.dumps({names.get(key, key): value for key, value in fields.items()}).encode())


class Shout(Modifier):
    """Puts all that is answered into capitals."""

    def modify_response(self, request: Request, response: Response) -> Response:
        return replace(response, body=response.body.upper())


def NewRename() -> Rename:
    """Returns the plugin `rename`."""
    return Rename()


def NewShout() -> Shout:
    """Returns the plugin `shout`."""
    return Shout()
