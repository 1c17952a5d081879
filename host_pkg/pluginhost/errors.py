"""What can go wrong, and how it is told.

```
Exception
└── PluginHostError        carries the Finding that says what, why and how to mend it
    ├── ConfigurationError     what the application or the operator set is not possible
    ├── PluginNotFound         no installed plugin has that name
    ├── PluginRefused          admission said no; nothing of the plugin ran
    ├── PluginLoadError        admitted, but it could not be made
    │   ├── PluginImportError      its module cannot be imported
    │   ├── PluginLookupError      a symbol is not in its module
    │   ├── PluginFactoryError     its factory cannot be called, or raised
    │   └── PluginTypeError        what it made is not the host's contract
    ├── PluginInitError        `init` raised
    ├── PluginCallError        a call raised
    └── ManagerClosed          the manager has shut down
```
"""

from __future__ import annotations

# `typing` is not imported on the road of a survey; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal, TypeAlias

    Severity: TypeAlias = Literal["error", "warning"]

MESSAGE_LIMIT: Final = 2_000
"""Characters of a message or a hint; a finding stays below 4 KB when they are ASCII."""

_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_ESCAPES = {code: ascii(chr(code))[1:-1] for code in [*_CONTROLS, *range(0xD800, 0xE000)]}


def escape(text: str, *, keep: str = "", limit: int | None = None) -> str:
    """Returns text that is safe to print: control characters, bidirectional overrides and surrogates are escaped.

    Args:
        text: What a plugin, or its metadata, says.
        keep: Control characters to leave alone, such as a newline.
        limit: Characters at most; longer text is cut and says so.
    """
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]}… ({len(text):,} characters)"
    # isprintable() is one fast call; it refuses more than is escaped here, so the table decides.
    if text.isprintable():
        return text
    return text.translate({**_ESCAPES, **{ord(character): character for character in keep}})


def describe(exc: BaseException) -> str:
    """Returns an exception's type and message, even when it refuses to be printed."""
    try:
        message = str(exc)
    except Exception as broken:
        message = f"<its message raised {type(broken).__name__}>"
    return f"{type(exc).__name__}: {message}" if message else type(exc).__name__


class Code:
    """An entry of the catalogue.

    Attributes:
        stage: Where on a plugin's way it is noticed.
        severity: `error` refuses or fails the plugin, `warning` tells.
        meaning: One sentence for the documentation.
    """

    __slots__ = ("meaning", "severity", "stage")

    def __init__(self, stage: str, severity: Severity, meaning: str) -> None:
        self.stage = stage
        self.severity: Severity = severity
        self.meaning = meaning


CODES: Final = {
    "path-unreadable": Code("discovery", "error", "A folder or archive on the search path cannot be read."),
    "metadata-unreadable": Code("discovery", "error", "A distribution's metadata file is missing or cannot be read."),
    "metadata-malformed": Code("discovery", "error", "A distribution's metadata file does not have its format."),
    "entry-point-malformed": Code("admission", "error", "An entry point's value is not `module` or `module:factory`."),
    "name-clash": Code("admission", "error", "Several distributions register the same plugin name."),
    "api-missing": Code("admission", "error", "The API distribution is not installed."),
    "api-forked": Code("admission", "error", "The plugin was built against another API of the same version."),
    "pin-missing": Code("admission", "error", "The plugin does not say which versions of the API it works with."),
    "pin-malformed": Code("admission", "error", "A requirement of the plugin cannot be parsed."),
    "pin-unsatisfied": Code("admission", "error", "The plugin's pin excludes the API version that is installed."),
    "manifest-malformed": Code("admission", "error", "The manifest in the plugin's wheel cannot be read."),
    "manifest-mismatch": Code("admission", "error", "The manifest and the entry point disagree."),
    "disabled": Code("admission", "error", "The configuration switches the plugin off."),
    "module-missing": Code("import", "error", "The entry point's module does not exist."),
    "import-failed": Code("import", "error", "The entry point's module raised while it was imported."),
    "symbol-missing": Code("lookup", "error", "The module does not have the symbol."),
    "symbol-type": Code("lookup", "error", "The symbol is not of the type that was asked for."),
    "factory-not-callable": Code("new", "error", "The factory is not something that can be called."),
    "factory-failed": Code("new", "error", "The factory raised."),
    "wrong-type": Code("type", "error", "The plugin is not an instance of the contract."),
    "second-api-copy": Code("type", "error", "The plugin's contract comes from another copy of the API."),
    "contract-broken": Code("type", "error", "The plugin derives from the contract but does not keep it."),
    "init-failed": Code("init", "error", "The plugin's `init` raised."),
    "call-failed": Code("call", "error", "A call of the plugin raised."),
    "shutdown-failed": Code("shutdown", "error", "The plugin's `shutdown` raised."),
    "plugin-unknown": Code("usage", "error", "No installed plugin has that name."),
    "method-unknown": Code("usage", "error", "The plugin has no such method."),
    "arguments-wrong": Code("usage", "error", "The arguments do not fit the method."),
    "configuration-wrong": Code("usage", "error", "A setting is unknown or has the wrong type."),
    "wheel-unreadable": Code("usage", "error", "The file is not a wheel that can be read."),
    "tool-missing": Code("usage", "error", "A command needs a package that is not installed."),
    "target-exists": Code("usage", "error", "A file or folder stands where one should be written."),
    "manager-closed": Code("usage", "error", "The manager has shut down."),
}
"""Every code there is; a Finding takes no other."""


class Finding:
    """One thing noticed about a plugin, a distribution or the host.

    Attributes:
        code: A key of `CODES`.
        severity: `error` or `warning`.
        stage: Where on a plugin's way it was noticed.
        message: What is wrong, naming distribution and version; escaped and cut.
        hint: What to do about it.
        path: The file or folder it is about; empty when there is none.
    """

    __slots__ = ("code", "hint", "message", "path", "severity", "stage")

    def __init__(self, code: str, message: str, hint: str, path: str = "") -> None:
        self.code = code
        self.severity = CODES[code].severity
        self.stage = CODES[code].stage
        self.message = escape(message, limit=MESSAGE_LIMIT)
        self.hint = escape(hint, limit=MESSAGE_LIMIT)
        self.path = escape(path, limit=MESSAGE_LIMIT)

    def to_dict(self) -> dict[str, str]:
        """Returns the finding's fields, for JSON."""
        return {
            "code": self.code,
            "severity": self.severity,
            "stage": self.stage,
            "message": self.message,
            "hint": self.hint,
            "path": self.path,
        }

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}\nhint: {self.hint}"

    def __repr__(self) -> str:
        return f"<Finding {self.code}: {self.message}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Finding) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.code, self.message))


class PluginHostError(Exception):
    """The base of every error that the host raises.

    Attributes:
        finding: What is wrong and how to mend it.
        more: Further findings about the same thing.
    """

    def __init__(self, finding: Finding, *more: Finding) -> None:
        super().__init__(finding, *more)
        self.finding = finding
        self.more = more

    def __str__(self) -> str:
        return "\n".join(map(str, (self.finding, *self.more)))


class ConfigurationError(PluginHostError):
    """What the application or the operator set is not possible."""


class PluginNotFound(PluginHostError):
    """No installed plugin has that name."""


class PluginRefused(PluginHostError):
    """Admission said no; nothing of the plugin ran."""


class PluginLoadError(PluginHostError):
    """The plugin was admitted, but it could not be made."""


class PluginImportError(PluginLoadError):
    """The plugin's module cannot be imported."""


class PluginLookupError(PluginLoadError):
    """A symbol is not in the plugin's module, or not of the type asked for."""


class PluginFactoryError(PluginLoadError):
    """The plugin's factory cannot be called, or raised."""


class PluginTypeError(PluginLoadError):
    """What the plugin made is not the host's contract."""


class PluginInitError(PluginHostError):
    """The plugin's `init` raised."""


class PluginCallError(PluginHostError):
    """A call of the plugin raised."""


class ManagerClosed(PluginHostError):
    """The manager has shut down."""
