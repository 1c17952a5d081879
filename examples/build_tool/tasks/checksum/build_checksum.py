"""Writes the SHA-256 checksums of what was built; `sha256sum --check` reads them.

Its option `file` is the name of the file that they are written to.
"""

import hashlib

from build_api import Context, Host, Result, Task


class Checksum(Task):
    """Writes a line for each file in the output folder."""

    def init(self, host: Host) -> None:
        self._file = str(host.config.get("file", "SHA256SUMS"))

    def run(self, context: Context) -> Result:
        target = context.output / self._file
        target.unlink(missing_ok=True)
        files = [path for path in sorted(context.output.rglob("*")) if path.is_file()]
        lines = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(context.output).as_posix()}\n"
            for path in files
        ]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(lines), "utf-8", newline="\n")
        return Result(f"{target.relative_to(context.root)}, files summed: {len(files)}", (target,))


def New() -> Checksum:
    """Returns the plugin."""
    return Checksum()
