"""Which of several plugins takes a key, so that each takes its share and the same keys each time."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

_ALL: Final = 2.0**64


def taker(route: str, key: str | None, shares: Iterable[tuple[str, float]]) -> str | None:
    """Returns the plugin that takes a key; `None` when none of them does, as the default has what is left.

    Each draws in its turn, by a number that follows from route, plugin and key alone: it is the same in each process
    and on each Python. A plugin whose share grows keeps the keys that it has, since nothing else of its draw changes.
    A hash for each plugin, in place of one that is cut into pieces, is the idea of rendezvous hashing (Thaler and
    Ravishankar, 1998).

    Args:
        route: The route's name: the keys that one route sends somewhere say nothing of another's.
        key: What sticks to its plugin; `None` for a call that sticks to nothing, which is drawn anew.
        shares: The plugins and their shares in percent, which together are at most 100.
    """
    left = 100.0
    for plugin, share in shares:
        if share >= left > 0 or _drawn(route, plugin, key) * left < share * _ALL:
            return plugin
        left -= share
    return None


def _drawn(route: str, plugin: str, key: str | None) -> float:
    if key is None:
        return random.random() * _ALL
    text = f"{route}\0{plugin}\0{key}".encode(errors="surrogatepass")
    return float(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()))
