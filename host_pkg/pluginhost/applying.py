"""Another configuration for plugins that run: all that changed is started before anything is stopped.

After Caddy, whose new configuration is provisioned beside the one that serves: https://caddyserver.com/docs/architecture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluginhost.errors import PluginRefused, wrong
from pluginhost.replacing import Replacement, entry_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pluginhost.entries import Entries, Entry
    from pluginhost.lifecycle import Handle
    from pluginhost.runner import Runner


class Change:
    """What another configuration changes: nothing of it is done before `start`.

    Args:
        runner: Of the manager.
        before: All that is run as the manager is set now.
        after: All that is run as it will be.
        offers_other: Whether the application offers other capabilities, which a plugin learns when it is made.
    """

    def __init__(self, runner: Runner, before: Entries, after: Entries, *, offers_other: bool) -> None:
        self._runner = runner
        self._starts: list[tuple[Entry, Entry | None]] = []  # each with what it was before
        self._stops: list[tuple[Handle, Entry | None]] = []  # `None` where nothing has that name any more
        self._started: list[tuple[Handle, Entry | None]] = []
        replaces: list[tuple[Handle, Entry]] = []
        known = {entry.key: entry for entry in before}
        for entry in after:
            handle, was = runner.registry.find(entry), known.get(entry.key)
            if handle is not None and handle.state == "running":
                continue
            is_new = was is None or was.barred or (was.row.state == "refused" and entry.row.state == "ready")
            is_mended = handle is not None and handle.state == "failed" and handle.settings != entry.settings
            if _is_meant(entry) and (is_new or is_mended):
                self._starts.append((entry, was))
        for handle in runner.registry.started():
            now = entry_of(handle, after)
            if now is None:
                if entry_of(handle, before):  # else it is another plugin's guest, or was uninstalled
                    self._stops.append((handle, None))
            elif not _is_meant(now):
                self._stops.append((handle, now))
            elif handle.settings != now.settings or offers_other:
                replaces.append((handle, now))
        self._replacement = Replacement(runner, replaces)
        self._require_unused()

    def start(self) -> None:
        """Starts what is new, and what is other than before beside what serves.

        Raises:
            PluginHostError: Something did not start; all that was started is stopped again.
        """
        try:
            self._replacement.start()
            for entry, was in self._starts:
                self._started.append((self._runner.registry.of(entry), was))
                self._runner.serve(entry, anew=True)
        except BaseException:
            self._undo()
            raise

    def swap(self, commit: Callable[[], None]) -> dict[str, list[str]]:
        """Lets calls into what was started, and stops what it replaces and what is switched off.

        Args:
            commit: What sets the configuration, once nothing can fail any more.

        Returns:
            The names of what was `started`, `replaced` and `stopped`.

        Raises:
            PluginHostError: A plugin is being started or stopped elsewhere all the time, or the state of one cannot be
                handed over; nothing is changed.
        """
        try:
            replaced = self._replacement.swap(commit, [handle for handle, _ in self._stops])
        except BaseException:
            self._undo()
            raise
        for handle, entry in reversed(self._stops):
            self._runner.stop(handle, forgets=entry is None)
            if entry is not None:
                _bar(handle, entry)
        return {
            "started": [handle.name for handle, _ in self._started],
            "replaced": [handle.name for handle, _ in replaced],
            "stopped": [handle.name for handle, _ in self._stops],
        }

    def _undo(self) -> None:
        for handle, was in reversed(self._started):
            self._runner.stop(handle, forgets=was is None)
            if was is not None:
                _bar(handle, was)
        self._replacement.undo()

    def _require_unused(self) -> None:
        """Returns if no plugin goes on that uses one which is to be stopped."""
        stops, replaces = [handle for handle, _ in self._stops], [handle for handle, _ in self._replacement.plan]
        for handle in stops:
            for user in self._runner.registry.users(handle):
                if user not in stops and user not in replaces:
                    raise wrong(f"{handle} cannot be switched off: {user} uses it", f"disable {user.name}, too")


def _is_meant(entry: Entry) -> bool:
    """Returns whether the settings let it run, and name no other of the same name."""
    return entry.barred is None and entry.settings.distribution in ("", entry.row.distribution)


def _bar(handle: Handle, entry: Entry) -> None:
    """Has a plugin that was stopped, or has failed, as it is when the settings do not let it run."""
    if handle.state in ("stopped", "failed"):
        handle.move("discovered")
    if handle.state in ("discovered", "refused", "disabled") and entry.barred:
        handle.refuse("disabled", PluginRefused(entry.barred))
