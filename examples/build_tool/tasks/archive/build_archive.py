"""Packs the sources into a zip file: the same bytes for the same sources.

Its option `name` is the file's name. A zip file with a `__main__.py` is a program: `python dist/app.zip` runs it.
"""

from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from build_api import Context, Host, Result, Task


class Archive(Task):
    """Writes one zip file."""

    def init(self, host: Host) -> None:
        self._name = str(host.config.get("name", "app.zip"))

    def run(self, context: Context) -> Result:
        sources = [path for path in sorted(context.source.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
        target = context.output / self._name
        target.parent.mkdir(parents=True, exist_ok=True)
        with ZipFile(target, "w") as archive:
            for source in sources:
                entry = ZipInfo(source.relative_to(context.source).as_posix())  # dated 1980, whoever builds it when
                entry.compress_type = ZIP_DEFLATED
                entry.create_system = 3  # Unix, on every system
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, source.read_bytes())
        return Result(f"{target.relative_to(context.root)}, files in it: {len(sources)}", (target,))


def New() -> Archive:
    """Returns the plugin."""
    return Archive()
