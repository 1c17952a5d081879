"""What a child says of the plugin that it has made, or could not make."""

from __future__ import annotations

import msgspec

from pluginhost.handover import Stated  # noqa: TC001 - msgspec reads the annotation


class Report(msgspec.Struct, frozen=True, array_like=True):
    """What a child says of the plugin that it has made.

    Attributes:
        contracts: The names of the API's contracts that it implements.
        digest: What their calls are as messages.
        capabilities: What it says it can do beyond its contracts.
        cls: The module and the qualified name of its class.
        concurrency: How many calls at once it takes, where its class says so; what is no such number is text.
        state: What its class says of its state.
    """

    contracts: list[str]
    digest: str
    capabilities: list[str]
    cls: tuple[str, str]
    concurrency: int | str | None
    state: Stated


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """Why a plugin could not be made.

    Attributes:
        findings: Of each its code, message, hint and path.
        traceback: Of what caused it; empty when nothing did.
    """

    findings: list[tuple[str, str, str, str]]
    traceback: str
