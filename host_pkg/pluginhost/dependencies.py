"""What plugins require of each other and of their host: who may serve a requirement."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pluginhost.errors import Finding, PluginHostError, PluginRefused, PluginRequirementError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from pluginhost.lifecycle import Handle
    from pluginhost.survey import Row


class Requirement(NamedTuple):
    """One thing that a plugin requires of others.

    Attributes:
        text: What it is, for a message.
        providers: Who may serve it, by name; all are started before the plugin, and one must run.
    """

    text: str
    providers: list[str]


def requirements(
    row: Row, rows: Iterable[Row], contracts: dict[str, type], offered: Collection[str]
) -> Iterator[Requirement]:
    """Yields what a plugin requires of others.

    Args:
        row: The plugin's row of the survey.
        rows: All rows.
        contracts: The host's contracts by name.
        offered: The host's capabilities.

    Raises:
        PluginRequirementError: It requires a capability that the host does not offer.
    """
    for name in row.requires.get("host", ()):
        if name not in offered:
            hint = f"an application offers it with PluginManager(capabilities={{{name!r}}})"
            raise missing(row, f"the host's capability {name!r}", "this host does not offer it", hint)
    for name in row.requires.get("plugins", ()):
        yield Requirement(f"the plugin {name!r}", [name])
    own = row.name, row.distribution  # its row may be of another survey
    others = [other for other in rows if other.state == "ready" and (other.name, other.distribution) != own]
    for name in row.requires.get("contracts", ()):
        yield Requirement(f"a plugin of the contract {name}", _of_contract(name, others, contracts))
    for name in row.requires.get("capabilities", ()):
        found = [other.name for other in others if name in other.capabilities]
        yield Requirement(f"a plugin with the capability {name!r}", found)


def unmet(row: Row, requirement: Requirement, errors: list[PluginHostError]) -> PluginHostError:
    """Returns the error that none of those who may serve a requirement does; a cycle is told as what it is."""
    for error in errors:
        if error.finding.code == "requirement-cycle":
            return error
    why = errors[0].finding.message if errors else "none is installed that may run"
    hint = errors[0].finding.hint if errors else "install one; pluginhost list shows what there is"
    return missing(row, requirement.text, why, hint)


def lacking(handle: Handle, capabilities: Collection[str], rows: Iterable[Row]) -> PluginRefused:
    """Returns the error that a plugin does not have capabilities that its caller requires."""
    able = [row.name for row in rows if set(capabilities).issubset(row.capabilities)]
    listed = ", ".join(sorted(capabilities))
    return PluginRefused(
        Finding(
            "capability-missing",
            f"{handle} does not have what is required of it: {listed}",
            f"these have it: {', '.join(able)}" if able else "no installed plugin has it; install one that does",
            handle.candidate.distribution.info,
        )
    )


def missing(row: Row, what: str, why: str, hint: str) -> PluginRequirementError:
    """Returns the error that a plugin's requirement is not met."""
    return PluginRequirementError(
        Finding("requirement-missing", f"{row.candidate} requires {what}: {why}", hint, row.candidate.distribution.info)
    )


def cycle(names: Iterable[str]) -> PluginRequirementError:
    """Returns the error that plugins wait for each other, in the order in which they do."""
    return PluginRequirementError(
        Finding(
            "requirement-cycle",
            f"plugins wait for each other: {' -> '.join(names)}",
            "one of them must do without the next; tell their authors, or disable one",
        )
    )


def wanted(row: Row, contracts: dict[str, type]) -> dict[str, type]:
    """Returns the contracts that a plugin must implement: the base of all, and those that its manifest names."""
    return {name: contracts[name] for name in ("Plugin", *(row.contracts or ())) if name in contracts}


def may_implement(row: Row, contract: object, contracts: dict[str, type]) -> bool:
    """Returns whether a manifest names a contract, or one derived from it, or does not tell."""
    if row.contracts is None or all(contract not in cls.__mro__ for cls in contracts.values()):
        return True  # a manifest names the API's alone
    named = [contracts.get(name) for name in (*row.contracts, "Plugin")]
    return any(cls is None or contract in cls.__mro__ for cls in named)


def _of_contract(name: str, rows: list[Row], contracts: dict[str, type]) -> list[str]:
    """Returns the plugins of a contract: those that say so, or, if none does, those that do not say."""
    contract = contracts.get(name)
    stated = [row.name for row in rows if row.contracts and contract and may_implement(row, contract, contracts)]
    return stated or [row.name for row in rows if row.contracts is None]
