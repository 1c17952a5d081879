"""These tests need the packages of other people that `nox -s ecosystem` installs, and run there alone."""

from __future__ import annotations

import os

collect_ignore = [] if "PLUGINHOST_ECOSYSTEM" in os.environ else ["test_doctor.py", "test_no_false_refusal.py"]
