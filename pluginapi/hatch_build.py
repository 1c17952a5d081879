"""Stamps pluginapi's own wheel with the hook that pluginapi ships."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from pluginapi._hatch import ManifestHook as ManifestHook
