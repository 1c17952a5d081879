"""What plugins and applications are tested with: `FakeHost`, `FakeLoader`, `started`, and fixtures for pytest."""

# Nothing is imported before it is asked for: pytest imports this package in every run where pluginhost is installed.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pluginhost.testing.hosts import FakeHost
    from pluginhost.testing.loaders import FakeLoader, started

__all__ = ["FakeHost", "FakeLoader", "started"]

_WHERE = {"FakeHost": "hosts", "FakeLoader": "loaders", "started": "loaders"}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(__import__(f"{__name__}.{_WHERE[name]}", fromlist=[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
