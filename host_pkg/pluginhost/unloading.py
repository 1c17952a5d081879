"""The last of a plugin: its modules dropped, and its class proved to be gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluginhost import leaks, loading
from pluginhost.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pluginhost.lifecycle import Handle


def drop(handle: Handle, others: Iterable[Handle]) -> list[Finding]:
    """Returns who still holds a stopped plugin's class once its modules are dropped; nothing when it is gone.

    Args:
        handle: The plugin's.
        others: The handles that are kept.
    """
    reference = handle.last_class
    sharing = loading.forget(handle.candidate, [other.candidate for other in others])
    if sharing:
        holders = [f"{name}, which is of the same module" for name in sharing]
    elif reference is None or leaks.is_gone(reference):
        return []
    else:
        holders = leaks.holders([reference])
    return [
        Finding(
            "leak",
            f"{handle} is unloaded, and its class is held by {'; '.join(holders) or 'what cannot be told'}",
            "what holds it lets go of it; until then the next load has old and new classes side by side",
            handle.candidate.distribution.info,
            "warning",
        )
    ]
