"""Cannot be imported."""

raise RuntimeError("this module always fails")
