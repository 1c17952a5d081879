"""Another plugin, which that one calls."""

from wide_api import Greeter, PluginError


class Hello(Greeter):
    lang = "Some"

    def greet(self, name):
        if not name:
            raise PluginError("nobody")
        return f"Hello {name}"


def New():
    return Hello()
