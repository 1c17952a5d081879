"""The ids of tests, which must be the same in each process that collects them."""

from __future__ import annotations

import re


def named(value: object) -> str:
    """Returns a value as text, without the address that Python gives an object."""
    return re.sub(" at 0x[0-9a-f]+", "", str(value))
