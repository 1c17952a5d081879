"""Compiles Python sources.

Its option `optimize` is the level, as of `python -O`: 0, 1 or 2.
"""

import py_compile

from build_api import Context, Host, PluginError, Result, Task


class Compile(Task):
    """Writes a `.pyc` for each `.py`."""

    def init(self, host: Host) -> None:
        optimize = host.config.get("optimize", 0)
        if not isinstance(optimize, int) or optimize not in (0, 1, 2):
            raise ValueError(f"optimize is {optimize!r}; write 0, 1 or 2")
        self._optimize = optimize

    def run(self, context: Context) -> Result:
        sources = sorted(context.source.rglob("*.py"))
        if not sources:
            raise PluginError(f"no Python files in {context.source.relative_to(context.root)}")
        compiled = []
        for source in sources:
            target = context.output / "compiled" / source.relative_to(context.source).with_suffix(".pyc")
            shown = source.relative_to(context.root).as_posix()
            try:
                py_compile.compile(
                    str(source),
                    str(target),
                    shown,
                    doraise=True,
                    optimize=self._optimize,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,  # no time is in such a file
                )
            except py_compile.PyCompileError as exc:
                wrong = exc.exc_value
                told = f"{wrong.lineno}: {wrong.msg}" if isinstance(wrong, SyntaxError) else str(wrong)
                raise PluginError(f"{shown}:{told}") from exc
            compiled.append(target)
        return Result(f"sources compiled: {len(compiled)}", tuple(compiled))


def New() -> Compile:
    """Returns the plugin."""
    return Compile()
