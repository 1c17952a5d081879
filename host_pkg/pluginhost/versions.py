"""Another version of a plugin, beside the one that is installed: from a wheel that an instance names.

The wheel is checked and unpacked as one of a plugin folder is. What is wrong with it is told by the row of the
instance, which may not run then; whatever else there is goes on.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pluginhost import kept
from pluginhost.errors import Finding
from pluginhost.index import Index
from pluginhost.plugin_dirs import PluginDirs
from pluginhost.survey import Candidate, Distribution, Row, Survey
from pluginhost.wheels import Wheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pluginhost.settings import InstanceSettings


def row(instance: str, settings: InstanceSettings, group: str, api: str | None, unpacked: Sequence[str]) -> Row:
    """Returns the row of an instance from a wheel, judged by what is installed now; nothing is imported.

    Args:
        instance: The instance's name.
        settings: What is set for it.
        group: The entry-point group.
        api: The import name of the API package; `None` when there is none.
        unpacked: The folders of unpacked wheels in which its dependencies may be.
    """
    wheel, (plugin, _, distribution) = settings.wheel, settings.plugin.partition("@")
    survey = _survey(wheel, group, api, unpacked)
    of = canonicalize_name(distribution or Wheel(wheel).name)
    for found in survey:
        if found.name == plugin and found.distribution == of:
            return found
    return _refused(instance, settings, group, survey.findings or [_lacking(settings, group, survey)])


def _survey(wheel: str, group: str, api: str | None, unpacked: Sequence[str]) -> Survey:
    """Returns the rows of a wheel's plugins, and without any what is wrong with the wheel."""
    index = Index(group, api, [wheel, "", *unpacked])  # no folder is called so: this is no survey of an application
    stored = index.load()
    if stored is not None:
        return Survey.from_plain(stored)
    dirs = PluginDirs((), api, [wheel])
    if not dirs.path:
        return Survey([], dirs.findings or [_unreadable(wheel)])
    rows, found = kept.rows(dirs.path[0], group, api, unpacked)
    for each in rows:
        # It is the same distribution for the host whether its metadata can be read or not, and however that spells it.
        each.candidate.distribution.name = canonicalize_name(each.distribution)
    survey = Survey(rows, [] if rows else found.findings, dirs.path)
    index.store(found.seen and found.seen | dirs.seen, survey.to_plain())
    return survey


def _refused(instance: str, settings: InstanceSettings, group: str, findings: Iterable[Finding]) -> Row:
    """Returns the row of an instance whose wheel cannot be used."""
    wheel = Wheel(settings.wheel)
    version = str(wheel.version) if wheel.name else ""
    of = Distribution(wheel.name or os.path.basename(wheel.path), version, wheel.path, wheel.path)
    told = [Finding(each.code, f"{instance}: {each.message}", each.hint, each.path, "error") for each in findings]
    return Row(Candidate(group, settings.plugin.partition("@")[0], "", of), "", None, [], told)


def _unreadable(wheel: str) -> Finding:
    return Finding("wheel-unreadable", f"{wheel} is not there", "copy it there, or correct `wheel`", wheel)


def _lacking(settings: InstanceSettings, group: str, survey: Survey) -> Finding:
    there = ", ".join(f"{each.name}@{each.distribution}" for each in survey)
    what = f"{settings.wheel} has no plugin {settings.plugin!r} of the group {group!r}"
    hint = f"it has: {there}" if there else "correct `plugin` or `wheel`"
    return Finding("plugin-unknown", what, hint, settings.wheel)
