"""The files of an installed distribution that the host reads: entry_points.txt, METADATA, the manifest."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    # Entry point, contracts, capabilities, what is required, program.
    Stamped: TypeAlias = tuple[str, list[str] | None, list[str], dict[str, list[str]], str]

MOST = 1_000
"""Entry points of a group, or requirements, that a distribution may have; real ones have some dozens."""

REQUIRES = ("plugins", "contracts", "capabilities", "host")
"""What a plugin may say that it requires, in the order in which it is told."""


class Manifest:
    """What a wheel's build stamped into it.

    Attributes:
        api: The import name of the API built against; `None` when there is none.
        version: That API's version.
        fingerprint: That API's fingerprint.
        provides: The import name of the API package that the distribution itself provides; `None` when there is none.
        provides_fingerprint: Its fingerprint.
        plugins: By group and name, the entry point, the contracts (`None` when not told), the capabilities, what the
            plugin requires of its host, by the keys of `REQUIRES` that are not empty, and its program (empty for a
            plugin in Python).
        malformed: What is wrong with the file; empty when nothing is.
    """

    __slots__ = ("api", "fingerprint", "malformed", "plugins", "provides", "provides_fingerprint", "version")

    def __init__(self, malformed: str = "") -> None:
        self.malformed = malformed
        self.api: str | None = None
        self.version: str | None = None
        self.fingerprint: str | None = None
        self.provides: str | None = None
        self.provides_fingerprint: str | None = None
        self.plugins: dict[tuple[str, str], Stamped] = {}


def parse_entry_points(text: str, group: str) -> list[tuple[str, str]]:
    """Returns the names and values of one group, in the order of the file.

    Args:
        text: The content of an `entry_points.txt`, read as importlib-metadata reads it.
        group: The group wanted; the lines of the others are checked all the same.

    Raises:
        ValueError: A line is neither a section nor `name = value`, or there are more entry points than anybody has;
            the message names the line.
    """
    entries = []
    section = None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line.strip("[]")
        elif section is not None:
            name, equals, value = line.partition("=")
            if not equals:
                raise ValueError(f"line {number} is not `name = value`: {line[:200]!r}")
            if section == group:
                entries.append((name.strip(), value.strip()))
                if len(entries) > MOST:
                    raise ValueError(f"line {number} is the {MOST + 1:,}th entry point of its group")
    return entries


def stray_line(text: str) -> int:
    """Returns the number of the first line that stands in no section, which importlib-metadata passes over; else 0."""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            return 0
        if line and not line.startswith("#"):
            return number
    return 0


def parse_metadata(text: str) -> tuple[str, str, str, list[str], list[str]]:
    """Returns name, version, required Python, requirements and extras that a METADATA file's header states.

    Raises:
        ValueError: There is not exactly one name and one version, or more requirements than anybody has.
    """
    fields: dict[str, list[str]] = {
        key: [] for key in ("name", "version", "requires-python", "requires-dist", "provides-extra")
    }
    values: list[str] = []
    # As the email parser reads it: lines end nowhere else, and a folded header may have lines of spaces alone.
    for line in text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line[:1] in (" ", "\t"):  # a folded header goes on
            if values:
                values[-1] = f"{values[-1]} {line.strip()}".strip()
            continue
        key, colon, value = line.partition(":")
        if not colon or " " in key or not (key.isascii() and key.isprintable()):
            break  # the body
        values = fields.get(key.lower(), [])
        values.append(value.strip())
    for field in ("name", "version"):
        if len(fields[field]) != 1 or not fields[field][0]:
            raise ValueError(f"it has {len(fields[field])} `{field.title()}:` headers, not one")
    if len(fields["requires-dist"]) > MOST:
        raise ValueError(f"it has {len(fields['requires-dist']):,} `Requires-Dist:` headers")
    python = "".join(fields["requires-python"][:1])
    return fields["name"][0], fields["version"][0], python, fields["requires-dist"], fields["provides-extra"]


def parse_record(text: str) -> dict[str, str]:
    """Returns the files that a RECORD lists, by path with forward slashes, and their hashes."""
    files = {}
    for line in text.splitlines():
        path, _, rest = line.strip('"').partition('",' if line.startswith('"') else ",")
        files[path.replace("\\", "/")] = rest.partition(",")[0]
    return files


def parse_editable(data: bytes) -> str:
    """Returns the project's folder if a `direct_url.json` says that the install is editable, else nothing."""
    if b"editable" not in data:
        return ""
    import json
    from urllib.parse import unquote, urlsplit

    try:
        content = json.loads(data)
        return unquote(urlsplit(content["url"]).path) if content["dir_info"]["editable"] is True else ""
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""


def parse_manifest(data: bytes) -> Manifest:
    """Returns the manifest that some JSON holds; a malformed one says what is wrong with it.

    The shape is that of `pluginapi.Manifest`, which is not used here: the API package is not imported before it is
    known to be the only one.
    """
    import json  # only those with a manifest to read pay for it

    manifest = Manifest()
    try:
        content = json.loads(data)
        if content["schema"] != 1:
            return Manifest(f"its schema is {content['schema']!r}, this pluginhost reads 1; upgrade pluginhost")
        if api := content["api"]:
            manifest.api, manifest.version = _text(api["package"]), _text(api["version"])
            manifest.fingerprint = _text(api["fingerprint"])
        if provides := content["provides"]:
            manifest.provides, manifest.provides_fingerprint = (
                _text(provides["package"]),
                _text(provides["fingerprint"]),
            )
        for plugin in content["plugins"]:
            contracts = plugin["contracts"]
            manifest.plugins[_text(plugin["group"]), _text(plugin["name"])] = (
                _text(plugin["entry_point"]),
                None if contracts is None else _texts(contracts),
                _texts(plugin["capabilities"]),
                _requires(plugin.get("requires", {})),
                _program(plugin),
            )
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        return Manifest(f"{type(exc).__name__}: {exc}")
    return manifest


def is_program(text: str) -> bool:
    """Returns whether a text can be a plugin's program: a path below the wheel's root, or a name without a folder."""
    is_plain = text.isprintable() and "\\" not in text and ":" not in text  # a colon has a drive before it
    return is_plain and all(part not in ("", ".", "..") for part in text.split("/"))


def _program(plugin: dict[str, object]) -> str:
    program = plugin.get("program")
    if program is None:
        return ""
    if not is_program(_text(program)):
        raise ValueError(f"{program!r} is not a program")
    if not plugin["contracts"]:
        raise ValueError(f"the program {program!r} has no contracts")
    return _text(program)


def _requires(value: object) -> dict[str, list[str]]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return {key: texts for key in REQUIRES if (texts := _texts(value.get(key, [])))}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return [_text(item) for item in value]
