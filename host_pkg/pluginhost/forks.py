"""What is told in each copy of this process that fork makes.

Python never forgets a function that it is to call there. So it has one, which knows whom to tell, and holds nobody:
there is something to tell with each generation of an isolated plugin.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Final


class Copied(Protocol):
    """What has threads, processes or sockets that a copy of this process does not have, or must leave alone."""

    def forked(self) -> None:
        """Is called in the copy."""


_told: Final[weakref.WeakSet[Copied]] = weakref.WeakSet()


def tell(copied: Copied) -> None:
    """Has something told of each fork in the copy, as long as it is there; done twice, it is told once."""
    _told.add(copied)


def _forked() -> None:
    for each in list(_told):
        each.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
