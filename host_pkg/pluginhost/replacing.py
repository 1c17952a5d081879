"""Plugins that run, each started anew beside what serves: all of them take the place of what serves, or none."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pluginhost import handover, identity
from pluginhost.abandon import Expired, Workers
from pluginhost.errors import Finding, PluginHostError, PluginNotFound, PluginStopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pluginhost.entries import Entries, Entry
    from pluginhost.generations import Generation
    from pluginhost.handover import Stated
    from pluginhost.lifecycle import Handle
    from pluginhost.loading import Loaded
    from pluginhost.runner import Beside, Runner


class Replacement:
    """Some plugins that run, and what is to serve in their place.

    Args:
        runner: Of the manager.
        plan: The plugins, those first that others use, each as it is to be.
    """

    def __init__(self, runner: Runner, plan: Iterable[tuple[Handle, Entry]]) -> None:
        self.plan = list(plan)
        self._runner = runner
        self._beside: list[Beside] = []
        self._cold: set[Handle] = set()  # they begin without the state of what serves

    def start(self) -> None:
        """Starts all of them beside what serves.

        Raises:
            PluginHostError: One did not start; what was started is to be undone.
        """
        for handle, entry in self.plan:
            self._beside.append(self._runner.beside(handle, entry))

    def swap(self, commit: Callable[[], None], stops: Iterable[Handle] = ()) -> list[tuple[Handle, Generation]]:
        """Hands over the state of what serves, lets calls into what was started, and ends what it replaces.

        Args:
            commit: Called when nothing can fail any more, before the first call goes to what was started.
            stops: Plugins that must not be started or stopped by others meanwhile.

        Returns:
            What was replaced: the plugins, and the generations that have ended.

        Raises:
            PluginHostError: A state cannot be handed over, or a plugin is being started or stopped elsewhere all the
                time; what serves goes on, and what was started is to be undone.
        """
        contracts = identity.import_contracts(self._runner.api).values()
        # From the commit on, Ctrl-C ends the waiting for one, and the others take over and end all the same.
        with contextlib.ExitStack() as ends, contextlib.ExitStack() as turns:
            for handle in [*(each.handle for each in self._beside), *stops]:
                if not turns.enter_context(self._runner.registry.turn(handle, self._runner.share())):
                    raise PluginStopped(handle.busy())
            replaced = self._hand_over([each for each in self._beside if each.handle.state == "running"])
            ended = [(each.handle, _serving(each.handle)) for each in replaced]
            gone = [each.generation for each in self._beside if each not in replaced]  # stopped meanwhile
            for generation in [*reversed(gone), *(before for _, before in ended)]:
                ends.callback(self._runner.retire, generation)
            self._beside = []
            commit()
            with contextlib.ExitStack() as swaps:
                for each in reversed(replaced):
                    swaps.callback(each.handle.replace, each.generation, contracts, each.needs)
        return ended

    def undo(self) -> None:
        """Ends what was started; what serves goes on."""
        with contextlib.ExitStack() as ends:
            for each in self._beside:
                ends.callback(self._runner.retire, each.generation)
            self._beside = []

    def _hand_over(self, replaced: list[Beside]) -> list[Beside]:
        """Returns what is to serve, each with the state of what serves; calls to those that have one wait from now on.

        Raises:
            PluginHostError: A state cannot be handed over; no call waits.
        """
        while True:
            given: list[Beside] = []
            try:
                self._give_states(self._stateful(replaced), given)
            except _Refused as refused:
                _resume(replaced)
                if not refused.of.generation.settings.cold_start:
                    raise refused.error from refused.error.__cause__
                self._begin_cold(refused)
                replaced = [self._anew(each) if each in (*given, refused.of) else each for each in replaced]
            except BaseException:
                _resume(replaced)
                raise
            else:
                return replaced

    def _give_states(self, stateful: list[tuple[Beside, Stated]], given: list[Beside]) -> None:
        drained = [each for each, said in stateful if not said.is_snapshot]
        for each, said in stateful:
            if said.is_snapshot:
                self._give(each, given)
        inside = [calls for each in drained for calls in _serving(each.handle).all_calls()]
        for each in reversed(drained):  # those that use others first: their calls still go there
            each.handle.hold(inside)
            self._drain(each.handle)
        for each in drained:
            self._give(each, given)

    def _stateful(self, replaced: list[Beside]) -> list[tuple[Beside, Stated]]:
        """Returns those whose state is to be handed over, and what the old ones say of it."""
        found = []
        for each in replaced:
            old, new = _serving(each.handle).loaded, each.generation.loaded
            before = handover.stated(old.plugin, old.candidate)
            if before.exports and each.handle not in self._cold:
                with _refusing(each):
                    handover.require_taken(before, handover.stated(new.plugin, new.candidate), new.candidate)
                found.append((each, before))
        return found

    def _drain(self, handle: Handle) -> None:
        seconds = self._runner.share() / 2
        if inside := _serving(handle).drain(seconds):
            what = f"{handle}: {inside} of its calls did not return within {seconds:.1f} s, so its state is not settled"
            hint = "reload it again when it has less to do, or raise shutdown_timeout"
            raise PluginHostError(Finding("state-failed", what, hint, handle.candidate.distribution.info))

    def _give(self, each: Beside, given: list[Beside]) -> None:
        old, new = _serving(each.handle).loaded, each.generation.loaded
        state = self._in_time(each, "state-failed", handover.export, old)
        given.append(each)
        with _refusing(each):
            self._in_time(each, "state-refused", handover.restore, new, state)

    def _in_time(self, each: Beside, code: str, hand: Callable[..., Any], loaded: Loaded, *state: bytes) -> Any:
        """Returns what a plugin gives or takes, or raises when that takes longer than an `init`: calls may wait."""
        if loaded.module is None:  # a process of its own keeps to that itself
            return hand(loaded.plugin, *state, loaded.candidate)
        seconds, workers = each.generation.settings.init_timeout, Workers(each.handle.name)
        try:
            return workers.hold(hand, seconds)(loaded.plugin, *state, loaded.candidate)
        except Expired as exc:
            where = each.generation.containment.place(exc.frame)
        finally:
            workers.close()
        what = f"{loaded.candidate}: {hand.__name__}_state did not end within {seconds:g} s{where}"
        hint = f"its thread is given up; tell the author of {loaded.candidate.distribution.name}"
        raise PluginHostError(Finding(code, what, hint, loaded.candidate.distribution.info))

    def _begin_cold(self, refused: _Refused) -> None:
        found = refused.error.finding
        told = Finding(found.code, f"{found.message}; it begins without", found.hint, found.path, "warning")
        self._runner.tell(told, refused.of.generation.host.about)
        self._cold.add(refused.of.handle)

    def _anew(self, each: Beside) -> Beside:
        """Returns another in place of one that was started and that has a state which it should not have."""
        self._beside.remove(each)
        self._runner.retire(each.generation)
        entry = next(entry for handle, entry in self.plan if handle is each.handle)
        self._beside.append(self._runner.beside(each.handle, entry))
        return self._beside[-1]


class _Refused(Exception):
    """A plugin does not take the state of what serves.

    Attributes:
        of: What was started.
        error: Why it does not.
    """

    def __init__(self, of: Beside, error: PluginHostError) -> None:
        super().__init__()
        self.of = of
        self.error = error


@contextlib.contextmanager
def _refusing(each: Beside) -> Iterator[None]:
    try:
        yield
    except PluginHostError as exc:
        raise _Refused(each, exc) from exc


def _resume(replaced: list[Beside]) -> None:
    for each in replaced:
        each.handle.resume()


def _serving(handle: Handle) -> Generation:
    assert handle.serving is not None  # whose turn it is knows
    return handle.serving


def entry_of(handle: Handle, entries: Entries) -> Entry | None:
    """Returns what goes by a handle's name; a plugin that has instances may run by its own name, too."""
    with contextlib.suppress(PluginNotFound):
        for name in (handle.name, f"{handle.name}@{handle.candidate.distribution.name}"):
            entry = entries.find(name)
            if entry.key == (handle.name, handle.candidate.distribution.name):
                return entry
    return None
