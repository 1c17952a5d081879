"""What a survey is made of: distributions, candidates, rows."""

from pluginhost.errors import Finding, PluginRefused

# Neither `typing` nor `__future__` is imported on the road of a survey, so annotations are quoted where they must be.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Literal, TypeAlias

    from pluginhost.metadata import Manifest

    State: TypeAlias = Literal["ready", "refused", "disabled"]


class Distribution:
    """An installed distribution.

    Attributes:
        name: Its name as its metadata writes it.
        version: Its version.
        origin: The folder or archive on the search path where it is found.
        info: Its metadata folder.
        facts: What admission judges it by; `None` once it was judged and comes from the index.
    """

    __slots__ = ("facts", "info", "name", "origin", "version")

    def __init__(self, name: str, version: str, origin: str, info: str, facts: "Facts | None" = None) -> None:
        self.name = name
        self.version = version
        self.origin = origin
        self.info = info
        self.facts = facts

    def __str__(self) -> str:
        return f"{self.name[:200]} {self.version[:100]}".rstrip()  # what is longer is refused, and said so in less


class Facts:
    """What a distribution's files tell admission.

    Attributes:
        requires: Its `Requires-Dist` lines.
        extras: Its `Provides-Extra` lines.
        requires_python: Its `Requires-Python`; empty when there is none.
        manifest: What its build stamped; `None` for a wheel of another build backend.
        files: By path relative to its origin, the hash that RECORD gives; `None` when there is no RECORD.
        editable: The project's folder if it is an editable install, else empty.
        shadowed: The metadata folders of the same distribution further down the path.
    """

    __slots__ = ("editable", "extras", "files", "manifest", "requires", "requires_python", "shadowed")

    def __init__(
        self,
        requires: list[str] | None = None,
        requires_python: str = "",
        manifest: "Manifest | None" = None,
        files: dict[str, str] | None = None,
        editable: str = "",
        shadowed: list[str] | None = None,
        extras: list[str] | None = None,
    ) -> None:
        self.requires = requires or []
        self.extras = extras or []
        self.requires_python = requires_python
        self.manifest = manifest
        self.files = files
        self.editable = editable
        self.shadowed = shadowed or []


class Candidate:
    """A discovered plugin, nothing of it imported.

    Attributes:
        group: The entry-point group.
        name: The entry point's name.
        value: The entry point's value as written.
        distribution: The distribution that registers it. Group, name and distribution are its identity.
        program: The executable that it is, in place of a module: with a slash a file of its distribution, else a name
            to be looked up; empty for a plugin in Python.
    """

    __slots__ = ("distribution", "group", "name", "program", "value")

    def __init__(self, group: str, name: str, value: str, distribution: "Distribution", program: str = "") -> None:
        self.group = group
        self.name = name
        self.value = value
        self.distribution = distribution
        self.program = program

    @property
    def module(self) -> str:
        """The module that the value names; of a program it need not exist, and is not imported."""
        return self.value.partition("[")[0].partition(":")[0].strip()

    @property
    def factory(self) -> str:
        """The factory that the value names; `New` when it names a module alone."""
        return self.value.partition("[")[0].partition(":")[2].strip() or "New"

    @property
    def is_builtin(self) -> bool:
        """Whether the application brings it itself, so that nothing of it is installed."""
        return not self.distribution.info

    @property
    def extras(self) -> list[str]:
        """The extras that the value names."""
        return [extra.strip() for extra in self.value.partition("[")[2].rstrip("] ").split(",") if extra.strip()]

    @property
    def without(self) -> str:
        """The end of a hint: the command after which an application goes on without it. It has none for its own."""
        if not self.distribution.info:
            return ""
        import shlex  # a survey does without

        return f"; next: pluginhost disable {shlex.quote(self.name)}"

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution})"


class Row:
    """One line of a survey: a candidate and what admission says of it.

    Attributes:
        candidate: What was discovered.
        name: The plugin's name.
        distribution: The distribution that registers it.
        version: That distribution's version.
        api: The pin, such as `pluginapi~=1.0`; empty when there is none.
        state: `ready`, `refused` or `disabled`.
        contracts: The contracts it says it implements; `None` while that is not known.
        capabilities: What it says it can do, beyond its contracts.
        requires: What it requires of its host: `plugins`, `contracts` and `capabilities` that others must serve, and
            what the `host` must offer; only the keys that name something.
        built_against: The version of the API that its wheel was built against; empty when that is not known.
        origin: The folder or archive where it is installed.
        entry_point: The entry point's value.
        findings: What admission noticed.
        passed: The titles of the checks that found nothing.
        barred: What the settings have against it; `None` when they let it run.
    """

    __slots__ = (
        "api",
        "barred",
        "built_against",
        "candidate",
        "capabilities",
        "contracts",
        "findings",
        "passed",
        "requires",
    )

    def __init__(
        self,
        candidate: "Candidate",
        api: str,
        contracts: list[str] | None,
        capabilities: list[str],
        findings: "list[Finding]",
        passed: list[str] | None = None,
        requires: dict[str, list[str]] | None = None,
        built_against: str = "",
    ) -> None:
        self.candidate = candidate
        self.api = api
        self.contracts = contracts
        self.capabilities = capabilities
        self.findings = findings
        self.passed = passed or []
        self.requires = requires or {}
        self.built_against = built_against
        self.barred: Finding | None = None

    @property
    def state(self) -> "State":
        if self.barred:
            return "disabled"
        return "refused" if any(finding.severity == "error" for finding in self.findings) else "ready"

    @property
    def name(self) -> str:
        return self.candidate.name

    @property
    def distribution(self) -> str:
        return self.candidate.distribution.name

    @property
    def version(self) -> str:
        return self.candidate.distribution.version

    @property
    def origin(self) -> str:
        return self.candidate.distribution.origin

    @property
    def entry_point(self) -> str:
        return self.candidate.value

    @property
    def stamped(self) -> list[str] | None:
        """The capabilities that its manifest has; `None` when it has no manifest."""
        return self.capabilities if self.built_against or self.capabilities else None

    def pick(self) -> None:
        """Takes this one of the candidates that share its name."""
        self.findings = [finding for finding in self.findings if finding.code not in {"name-clash", "name-confusable"}]

    def require_ready(self) -> None:
        """Returns if the plugin may run.

        Raises:
            PluginRefused: It may not; the error holds every finding.
        """
        if self.barred:
            raise PluginRefused(self.barred)
        if self.state == "refused":
            raise PluginRefused(*sorted(self.findings, key=lambda finding: finding.severity))  # errors before warnings

    def to_dict(self) -> dict[str, object]:
        """Returns the row's fields, for JSON; what the settings have against it is a finding there."""
        findings = [self.barred, *self.findings] if self.barred else self.findings
        return {
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "api": self.api,
            "state": self.state,
            "contracts": self.contracts or [],
            "capabilities": self.capabilities,
            "requires": self.requires,
            "origin": self.origin,
            "entry_point": self.entry_point,
            "program": self.candidate.program,
            "findings": [finding.to_dict() for finding in findings],
        }

    def to_plain(self) -> object:
        """Returns the row as tuples, for the index."""
        entry = (self.candidate.group, self.candidate.name, self.candidate.value, self.candidate.program)
        of = self.candidate.distribution
        distribution = (of.name, of.version, of.origin, of.info)
        findings = [finding.to_plain() for finding in self.findings]
        said = (self.api, self.contracts, self.capabilities, self.requires, self.built_against)
        return entry, distribution, said, findings, self.passed

    @classmethod
    def from_plain(cls, plain: "Any") -> "Row":
        """Returns the row that `to_plain` made tuples of."""
        entry, distribution, said, findings, passed = plain
        api, contracts, capabilities, requires, built_against = said
        group, name, value, program = entry
        candidate = Candidate(group, name, value, Distribution(*distribution), program)
        findings = [Finding(*finding) for finding in findings]
        return cls(candidate, api, contracts, capabilities, findings, passed, requires, built_against)

    def __repr__(self) -> str:
        return f"<Row {self.candidate}: {self.state}>"


class Survey:
    """What is installed and whether it may run; iterates over its rows.

    Attributes:
        plugins: A row for each candidate, sorted by name and distribution.
        findings: What belongs to no plugin: broken distributions, unreadable folders.
        path: The folders into which the wheels of plugin folders are unpacked; they join `sys.path` before an import.
    """

    __slots__ = ("findings", "path", "plugins")

    def __init__(self, plugins: "list[Row]", findings: "list[Finding]", path: list[str] | None = None) -> None:
        self.plugins = plugins
        self.findings = findings
        self.path = path or []

    def __iter__(self) -> "Iterator[Row]":
        return iter(self.plugins)

    def __len__(self) -> int:
        return len(self.plugins)

    def to_dict(self) -> dict[str, object]:
        """Returns the survey, for JSON."""
        return {
            "plugins": [row.to_dict() for row in self.plugins],
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def to_plain(self) -> object:
        """Returns the survey as tuples, for the index."""
        return [row.to_plain() for row in self.plugins], [finding.to_plain() for finding in self.findings], self.path

    @classmethod
    def from_plain(cls, plain: "Any") -> "Survey":
        """Returns the survey that `to_plain` made tuples of."""
        rows, findings, path = plain
        return cls([Row.from_plain(row) for row in rows], [Finding(*finding) for finding in findings], path)
