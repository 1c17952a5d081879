"""How a test asks what holds in a copy of its process, as `os.fork` makes it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest


def forks(test: Callable[..., None]) -> Callable[..., None]:
    """Marks such a test: it needs a fork, of which Python warns where there are threads."""
    test = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")(test)
    return pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")(test)


def holds_in_copy(holds: Callable[[], object]) -> bool:
    """Returns whether something holds in a copy of this process; not if it raises there."""
    if (copy := os.fork()) == 0:
        try:
            os._exit(0 if holds() else 1)
        finally:
            os._exit(2)
    return os.waitpid(copy, 0)[1] == 0
