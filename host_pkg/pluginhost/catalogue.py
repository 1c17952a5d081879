"""Every code there is: what it means, how it comes about, how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

    from pluginhost.errors import Severity


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
    "arguments-wrong": Code("usage", "error", "The arguments do not fit the method or the command."),
    "configuration-wrong": Code("usage", "error", "A setting is unknown or has the wrong type."),
    "wheel-unreadable": Code("usage", "error", "The file is not a wheel that can be read."),
    "tool-missing": Code("usage", "error", "A command needs a package that is not installed."),
    "tool-failed": Code("usage", "error", "A program that a command needs did not do its work."),
    "target-unwritable": Code("usage", "error", "A file or folder cannot be written."),
    "target-exists": Code("usage", "error", "A file or folder stands where one should be written."),
    "manager-closed": Code("usage", "error", "The manager has shut down."),
}
"""Every code there is; a Finding takes no other."""
