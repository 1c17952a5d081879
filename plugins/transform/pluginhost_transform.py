"""Rewrites the bodies of requests."""

from pluginapi import Handler, Request, Response


class Transform(Handler):
    """Answers with the body in upper case, and refuses what is not text."""

    def handle(self, request: Request) -> Response:
        try:
            text = request.body.decode()
        except UnicodeDecodeError:
            return Response(415, b"the body is not UTF-8")
        return Response(200, text.upper().encode())


def New() -> Transform:
    """Returns the plugin."""
    return Transform()
