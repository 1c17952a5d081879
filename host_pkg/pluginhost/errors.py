"""What can go wrong, and how it is told.

```
Exception
└── PluginHostError        carries the Finding that says what, why and how to mend it
    ├── ConfigurationError     what the application or the operator set is not possible
    ├── PluginNotFound         no installed plugin has that name
    ├── PluginRefused          admission said no; nothing of the plugin ran
    │   └── PluginRequirementError   what it requires is not there
    ├── PluginLoadError        admitted, but it could not be made
    │   ├── PluginImportError      its module cannot be imported
    │   ├── PluginLookupError      a symbol is not in its module
    │   ├── PluginFactoryError     its factory cannot be called, or raised
    │   ├── PluginTypeError        what it made is not the host's contract
    │   └── PluginProbeError       its first load, in a process to be lost, showed that it endangers the host
    ├── PluginInitError        `init` raised
    ├── PluginCallError        a call failed
    ├── PluginStopped          it does not run any more, or not yet
    ├── PluginsFailed          several did not start; it has the error of each
    ├── GoPluginError          the other side of a go-plugin connection does not do its part
    └── ManagerClosed          the manager has shut down
```
"""

# Neither `typing` nor `__future__` is imported on the road of a survey, so annotations are quoted where they must be.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from pluginhost.catalogue import Severity

MESSAGE_LIMIT: "Final" = 1_600
HINT_LIMIT: "Final" = 700
PATH_LIMIT: "Final" = 700
"""Bytes of a finding's parts, escaped; all of it stays below 4 KB, as JSON too."""


def escape(text: str, *, keep: str = "", limit: int | None = None) -> str:
    """Returns text that is safe to print: control characters, bidirectional overrides and surrogates are escaped.

    Args:
        text: What a plugin, or its metadata, says.
        keep: Control characters to leave alone, such as a newline.
        limit: Bytes of UTF-8 at most; longer text is cut and says so.
    """
    length = len(text)
    if limit is not None:
        text = text[:limit]
    # isprintable() is one fast call; it refuses more than is escaped here.
    if not text.isprintable():
        text = "".join(
            character if character in keep or not _is_obeyed(ord(character)) else ascii(character)[1:-1]
            for character in text
        )
    if limit is not None and (length > limit or len(text.encode()) > limit):
        text = f"{text.encode()[: limit - 30].decode(errors='ignore')}… ({length:,} characters)"
    return text


def _is_obeyed(code: int) -> bool:
    """Returns whether a terminal acts upon a character: controls, line separators, bidi overrides, surrogates."""
    return (
        code < 0x20
        or 0x7F <= code < 0xA0
        or 0x2028 <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
        or 0xD800 <= code < 0xE000
    )


def describe(exc: BaseException) -> str:
    """Returns an exception's type and message, even when it refuses to be printed."""
    kind: str = _NAME.__get__(type(exc))
    try:
        message = str.__str__(str(exc))  # what is only like a text may raise at the next use
    except BaseException as broken:
        message = f"<its message raised {_NAME.__get__(type(broken))}>"
    return f"{kind}: {message}" if message else kind


_NAME = type.__dict__["__name__"]  # past what a metaclass may say


class Finding:
    """One thing noticed about a plugin, a distribution or the host.

    Attributes:
        code: A key of `catalogue.CODES`.
        severity: `error` or `warning`.
        stage: Where on a plugin's way it was noticed.
        message: What is wrong, naming distribution and version; escaped and cut.
        hint: What to do about it; after `; next:`, where there is one, the command that helps.
        path: The file or folder it is about; empty when there is none.
    """

    __slots__ = ("code", "hint", "message", "path", "severity", "stage")

    def __init__(
        self, code: str, message: str, hint: str, path: str = "", severity: "Severity | None" = None, stage: str = ""
    ) -> None:
        if severity is None or not stage:
            from pluginhost.catalogue import CODES  # a survey from the index does without it

            severity, stage = severity or CODES[code].severity, CODES[code].stage
        self.code = code
        self.severity = severity
        self.stage = stage
        self.message = escape(message, limit=MESSAGE_LIMIT)
        self.hint = escape(hint, limit=HINT_LIMIT)
        self.path = escape(path, limit=PATH_LIMIT)

    def to_plain(self) -> "tuple[str, str, str, str, Severity, str]":
        """Returns what makes the finding anew, for the index."""
        return self.code, self.message, self.hint, self.path, self.severity, self.stage

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
        hint = self.hint.replace("; next: ", "\nnext: ")
        return f"[{self.code}] {self.message}\nhint: {hint}"

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

    def __init__(self, finding: "Finding", *more: "Finding") -> None:
        super().__init__(finding, *more)
        self.finding = finding
        self.more = more

    def __str__(self) -> str:
        return "\n".join(map(str, (self.finding, *self.more)))


class ConfigurationError(PluginHostError):
    """What the application or the operator set is not possible."""


def wrong(message: str, hint: str) -> ConfigurationError:
    """Returns the error that what was set, or asked for, is not possible."""
    return ConfigurationError(Finding("configuration-wrong", message, hint))


class PluginNotFound(PluginHostError):
    """No installed plugin has that name."""


class PluginRefused(PluginHostError):
    """Admission said no; nothing of the plugin ran."""


class PluginRequirementError(PluginRefused):
    """What the plugin requires is not there, or waits for the plugin itself."""


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


class PluginProbeError(PluginLoadError):
    """The plugin's first load, in a process that may be lost, showed that it endangers the host."""


class PluginInitError(PluginHostError):
    """The plugin's `init` or `validate` raised."""


class PluginCallError(PluginHostError):
    """A call of the plugin failed; what it raised is the cause.

    Attributes:
        plugin: The plugin's name.
        version: Its distribution's version; empty when it has none.
        method: What was called.
    """

    def __init__(
        self, finding: "Finding", *more: "Finding", plugin: str = "", version: str = "", method: str = ""
    ) -> None:
        super().__init__(finding, *more)
        self.plugin = plugin
        self.version = version
        self.method = method


class RemoteFailure(Exception):
    """What became of a call in another process, for `Blame` to say whose it is; its text is the traceback there.

    Attributes:
        code: A key of the catalogue.
        what: What happened, as a message goes on after the method's name.
        hint: What to do about it; empty where there is nothing better to say than of any call that fails.
    """

    def __init__(self, code: str, what: str, hint: str = "", traceback: str = "") -> None:
        super().__init__(traceback or what)
        self.code = code
        self.what = what
        self.hint = hint


class PluginStopped(PluginHostError):
    """The plugin does not run, or a plugin uses its host when its time is over.

    Attributes:
        plugin: Who it was that does not run and was called; empty when nobody was.
    """

    def __init__(self, finding: "Finding", *more: "Finding", plugin: str = "") -> None:
        super().__init__(finding, *more)
        self.plugin = plugin


def revoked(text: str) -> PluginStopped:
    """Returns the error that a plugin uses its host after its shutdown.

    Args:
        text: The plugin as a message names it.
    """
    hint = "a plugin lets go of its host in `shutdown`: its threads have ended by then"
    return PluginStopped(Finding("host-revoked", f"{text} uses its host after its shutdown", hint))


class PluginsFailed(PluginHostError):
    """Several plugins did not start.

    Attributes:
        errors: What each of them failed with, by name.
    """

    def __init__(self, errors: "dict[str, PluginHostError]") -> None:
        super().__init__(*(error.finding for error in errors.values()))
        self.errors = errors


class GoPluginError(PluginHostError):
    """The other side of a go-plugin connection does not do its part."""


class ManagerClosed(PluginHostError):
    """The manager has shut down."""
