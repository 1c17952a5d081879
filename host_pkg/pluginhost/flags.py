"""Which plugin a feature flag names, as whatever provider the application has given to OpenFeature decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluginhost.errors import wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def reader(path: str) -> Callable[[str, str | None, Mapping[str, str]], str]:
    """Returns what returns a flag's text: given the flag, the key that it sticks to, and all that is known of the call.

    It returns an empty text where nobody decides: there is no provider, it does not know the flag, or it failed. What
    OpenFeature is asked with is its evaluation context: the key is the targeting key, and what else is known is an
    attribute each (https://openfeature.dev/specification/sections/evaluation-context).

    Args:
        path: Where the flag is set, as a message names it.

    Raises:
        ConfigurationError: openfeature-sdk is not installed.
    """
    try:
        from openfeature import api
        from openfeature.evaluation_context import EvaluationContext
    except ImportError as exc:
        raise wrong(f"{path} needs openfeature-sdk", "pip install 'pluginhost[flags]'") from exc
    client = api.get_client("pluginhost")

    def read(flag: str, key: str | None, values: Mapping[str, str]) -> str:
        found = client.get_string_value(flag, "", EvaluationContext(key, dict(values)))
        return found if type(found) is str else ""

    return read
