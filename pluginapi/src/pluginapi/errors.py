"""The errors that a plugin and its host both know.

```
Exception
├── PluginError      a plugin tells its caller what is wrong with the call
└── ManifestError    a manifest, or the settings it is built from, is malformed
```
"""


class PluginError(Exception):
    """A plugin's own word to its caller: the call was understood and cannot be answered.

    Raise it, or a subclass that the API package defines, for what the caller can mend. The message is shown to a
    person as it stands.
    """


class ManifestError(Exception):
    """A manifest, or the settings it is built from, is malformed; the message says what to write where."""
