"""Removes what was built, so that a build begins with nothing."""

import shutil

from build_api import Context, Result, Task


class Clean(Task):
    """Removes the output folder."""

    def run(self, context: Context) -> Result:
        folder = context.output.relative_to(context.root)
        if not context.output.exists():
            return Result(f"there is no {folder}")
        shutil.rmtree(context.output)
        return Result(f"removed {folder}")


def New() -> Clean:
    """Returns the plugin."""
    return Clean()
