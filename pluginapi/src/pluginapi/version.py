"""Which API this is: its version, and the fingerprint of its structure."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pluginapi.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import Distribution

    from pluginapi.manifest import Provides

API_VERSION: Final = "1.0.0"


def fingerprint(package: str = "pluginapi") -> str:
    """Returns the fingerprint that was stamped into an API distribution when it was built.

    Equal fingerprints mean the same API: the same contracts with the same names, signatures, annotations and fields.

    Args:
        package: The import name of an API package.

    Returns:
        `sha256:` and 64 hexadecimal digits.

    Raises:
        ManifestError: No installed distribution carries a stamp for that package.
    """
    return find_api(package)[1].fingerprint


def find_api(package: str) -> tuple[Distribution, Provides]:
    """Returns the installed distribution that is stamped as an API package, and its stamp.

    Args:
        package: The import name of the API package.

    Raises:
        ManifestError: No installed distribution carries that stamp.
    """
    # Imported here: only those who ask pay for them.
    from importlib import metadata

    from pluginapi.manifest import Manifest

    def candidates() -> Iterator[Distribution]:
        # Nearly every distribution is called as its package is; only then is one file enough.
        with suppress(metadata.PackageNotFoundError):
            yield metadata.distribution(package)
        yield from metadata.distributions()

    for distribution in candidates():
        text = distribution.read_text(Manifest.FILE)
        if text and (provides := Manifest.from_json(text).provides) and provides.package == package:
            return distribution, provides
    raise ManifestError(
        f"no installed distribution is stamped as the API package {package!r}: build it with the pluginapi hook and "
        f'`[tool.pluginapi] provides = "{package}"` in its pyproject.toml, and name it in `build-system.requires`'
    )
