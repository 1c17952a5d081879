"""The `pluginhost` command: what an operator sees.

Exit status: 0 done, 1 the plugin or the call failed, 2 wrong usage.
"""

from __future__ import annotations

from pluginhost.cli.main import main

__all__ = ["main"]
