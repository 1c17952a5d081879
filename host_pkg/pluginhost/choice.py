"""Which plugin a call of a route goes to: by rules, by a feature flag, by shares, or by default."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pluginhost import callers, flags, shares
from pluginhost.canary import Trial

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pluginhost.settings import RouteSettings


class Choice(NamedTuple):
    """Who is to serve a call.

    Attributes:
        plugin: Its name; empty for whichever implements the contract.
        is_tried: Whether the call says something about the canary: it goes to that, or to the default in its place.
    """

    plugin: str
    is_tried: bool


class Lot(NamedTuple):
    """Who takes a share of some calls, and who serves the others.

    Attributes:
        shares: The plugins and their shares in percent.
        takers: Those of them that are not off. What is off draws on, and leaves what it takes to the others' plugin:
            so each other keeps the keys that it has.
        others: Who serves where none of them does.
    """

    shares: list[tuple[str, float]]
    takers: dict[str | None, Choice]
    others: Choice

    def draw(self, route: str, key: str | None) -> Choice:
        """Returns who takes a call of a route."""
        return self.takers.get(shares.taker(route, key, self.shares), self.others) if self.shares else self.others


class Plan:
    """What is set for a route, made ready to decide; another one is made for other settings.

    Attributes:
        settings: What is set.
        trial: How the canary does; `None` where there is none.
    """

    __slots__ = ("_flag", "_is_plain", "_lot", "_route", "_rules", "settings", "trial")

    def __init__(self, route: str, settings: RouteSettings, before: Plan | None = None) -> None:
        """Makes a route's plan.

        Args:
            route: The route's name.
            settings: What is set for it.
            before: The plan that this one follows, whose canary it goes on with.

        Raises:
            ConfigurationError: A flag is set, and openfeature-sdk is not installed.
        """
        self.settings = settings
        self._route = route
        canary = settings.canary
        is_same = before is not None and before.settings.canary == canary
        self.trial: Trial | None = before.trial if before and is_same else Trial(canary) if canary else None
        default = self._first((settings.default, *settings.order))
        tried = {canary.plugin: canary.share} if canary else {}
        self._lot = self._made({**settings.weights, **tried}, default, tried=(*tried, default) if canary else ())
        self._rules = [
            (tuple(rule.when.items()), self._made(rule.weights, self._first((rule.use, default))))
            for rule in settings.rules
        ]
        self._flag = flags.reader(f"routes.{route}.flag") if settings.flag else None
        self._is_plain = not (self._rules or self._flag or self._lot.shares)

    @property
    def default(self) -> str:
        """Who serves where nothing else decides; empty for whichever implements the contract."""
        return self._lot.others.plugin

    def choose(self) -> Choice:
        """Returns who is to serve the call that is made here."""
        if self._is_plain:
            return self._lot.others
        of, values = self.settings, callers.current()
        key = values.get(of.key)
        for when, lot in self._rules:
            if all(values.get(name) in texts for name, texts in when):
                return lot.draw(self._route, key)
        if self._flag and (named := self._flag(of.flag, key, values)) and named not in of.off:
            return Choice(named, is_tried=False)
        return self._lot.draw(self._route, key)

    def line(self, choice: Choice) -> list[str]:
        """Returns who is asked in turn when the one that was chosen fails: the default, then those in order.

        An empty name among them is whichever implements the contract, where there is no default.
        """
        names = dict.fromkeys((self.default, *self.settings.order))
        return [name for name in names if name != choice.plugin and name not in self.settings.off]

    def _first(self, names: Iterable[str]) -> str:
        """Returns the first of some names that is one, and not off; empty when none is."""
        return next((name for name in names if name and name not in self.settings.off), "")

    def _made(self, weights: Mapping[str, float], others: str, tried: Collection[str] = ()) -> Lot:
        return Lot(
            shares=[(name, share) for name, share in weights.items() if share],
            takers={name: Choice(name, name in tried) for name in weights if name not in self.settings.off},
            others=Choice(others, others in tried),
        )
