"""Fails, so that you see what becomes of the gateway then."""

from gateway_api import Middleware, Next, Request, Response


class Flaky(Middleware):
    """Fails before all that comes after it, or after that where the path ends with `/late`."""

    async def handle(self, request: Request, next: Next) -> Response:
        if request.path.endswith("/late"):
            await next(request)
        raise RuntimeError("out of order")


def New() -> Flaky:
    """Returns the plugin."""
    return Flaky()
