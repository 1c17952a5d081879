"""These tests need the packages of other people that `nox -s ecosystem` installs, and run there alone."""

from __future__ import annotations

import os

collect_ignore = []
if "PLUGINHOST_ECOSYSTEM" not in os.environ:
    collect_ignore += ["test_doctor.py", "test_no_false_refusal.py"]
if "PLUGINHOST_LIBRARIES" not in os.environ:
    collect_ignore += ["test_no_false_refusal_by_the_probe.py", "test_profile.py"]
