"""Whether a plugin that is tried on a share of the calls is as good as what serves, told from the calls as they come.

Two questions are asked of each call: did it fail, and if not, did it take long? The canary may fail by so many
percentage points more often than what serves, the baseline, and it may not take long more often. A call takes long if
it takes longer than 95 of 100 of the baseline's did so far; for the canary, longer than `slower` times that. So
the tail is compared, by counts, and not one time however long can decide.

One may look as often as one likes. Each question is a bet against what is doubted, say that the rates p of the baseline
and P of the canary are within a bound, P - p <= d. The calls are taken in blocks. Before each block the rates are
estimated, from the blocks before: e and E. If these are beyond the bound, q and Q = q + d are the rates at the bound
that come nearest to them, and the stake is multiplied by how much likelier the block is under e and E than under q and
Q. As q and Q are nearest, that gains nothing on average while P - p <= d holds. So the stake ever becomes a hundredfold
with a chance of 1 in 100 at most (Ville's inequality): for any rates, from the first call on. A second stake bets on
the other side. All this asks is that where a call goes does not depend on how the calls before it went.

Sources: R. J. Turner, A. Ly, P. D. Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for
optional stopping" (2024); R. J. Turner, P. D. Grünwald, "Exact anytime-valid confidence intervals for contingency
tables and beyond" (2023); why to look often, R. Johari, L. Pekelis, D. J. Walsh, "Always valid inference" (2015).
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, NamedTuple

from pluginhost.status import SideStatus

if TYPE_CHECKING:
    from typing import Final

    from pluginhost.settings import CanarySettings

_SURE: Final = math.log(100)
"""The logarithm of what a stake of 1 has become once the doubt is given up."""
_LONGEST_TRIAL: Final = 20
"""After how many times the calls that it needs at least a canary is judged as it looks."""
_TIMES_AT_LEAST: Final = 20
"""How many times must be known before one speaks of their tail."""
_AT_MOST: Final = 0.5
"""The share of its calls that may fail of what is promoted, however what serves does."""
_WARM: Final = 100
"""How many of its calls must have been timed before a canary is too slow: the first ones find cold caches."""
_TOO_SHORT: Final = 0.001
"""Seconds by which a canary may be slower in any case: a process of its own costs a part of that."""
_BLOCK: Final = 256
"""How many calls a block has in the end. It begins with as few as have one of each."""


class Figures(NamedTuple):
    """How a trial stands.

    Attributes:
        baseline: What served so far.
        canary: What is tried.
        verdict: How it ended; `None` while it goes on.
    """

    baseline: SideStatus
    canary: SideStatus
    verdict: Verdict | None


class Verdict(NamedTuple):
    """How a trial ended.

    Attributes:
        is_good: Whether the canary may serve; else nothing is to be sent to it any more.
        reason: Why, with the figures: what follows its name in a sentence.
        baseline: What it was compared with.
        canary: How its own calls went.
    """

    is_good: bool
    reason: str
    baseline: SideStatus
    canary: SideStatus


class Trial:
    """The calls of a canary and of what serves beside it, until it is judged.

    It is rolled back as soon as it surely fails too often or takes too long. It is promoted once both have had
    `calls` calls, it surely does not fail too often, and does not look slower than it may. One that is so close to
    a bound that neither becomes sure is judged as it looks, after 20 times `calls` calls of its own. "Surely" is wrong
    in at most 1 of 100 trials for each of the questions, and then of canaries that are at the bound.
    """

    __slots__ = ("_baseline", "_canary", "_failing", "_left", "_lock", "_settings", "_taking_long", "_verdict")

    def __init__(self, settings: CanarySettings) -> None:
        """Makes one without calls.

        Args:
            settings: What a canary must be like; which plugin it is, and its share, are none of its business.
        """
        self._settings = settings
        self._lock = threading.Lock()
        self._baseline, self._canary = _Side(), _Side()
        self._failing = _Evidence(min(settings.failures / 100, 0.999))
        self._taking_long = _Evidence(0.0)
        self._left = 1
        self._verdict: Verdict | None = None

    def count(self, is_canary: bool, seconds: float, is_failure: bool) -> Verdict | None:
        """Returns the verdict with the call that settles it, else `None`; calls after that are not counted.

        Args:
            is_canary: Whether the canary was called, else the baseline.
            seconds: How long it took.
            is_failure: Whether it failed; how long it took then says nothing.
        """
        with self._lock:
            if self._verdict:
                return None
            (self._canary if is_canary else self._baseline).add(seconds, is_failure)
            self._left -= 1
            if self._left > 0:
                return None
            self._verdict = self._judge()
            return self._verdict

    def figures(self) -> Figures:
        """Returns how it stands."""
        with self._lock:
            return Figures(self._baseline.figures(), self._canary.figures(), self._verdict)

    def _judge(self) -> Verdict | None:
        """Returns the verdict if there is one at the end of a block, or as long as a block waits for one of each."""
        baseline, canary = self._baseline, self._canary
        is_last = canary.calls >= _LONGEST_TRIAL * self._settings.calls
        if self._failing.has_both(baseline.calls, canary.calls):
            self._failing.add(baseline.calls, baseline.failures, canary.calls, canary.failures)
            self._taking_long.add(baseline.timed, baseline.long, canary.timed, canary.long)
            self._left = min((baseline.calls + canary.calls) // 16, _BLOCK)
            if (p95 := baseline.quantile(0.95)) is not None:
                baseline.limit, canary.limit = p95, self._allowed(p95)
        elif not is_last:
            return None
        if self._failing.more >= _SURE:
            return self._end(False, "")
        if self._taking_long.more >= _SURE and canary.timed >= _WARM:
            return self._end(False, "", is_slow=True)
        is_sure = self._failing.less >= _SURE and min(baseline.calls, canary.calls) >= self._settings.calls
        is_sure = is_sure and canary.rate <= _AT_MOST  # of two that are broken neither is good
        if not (is_sure or is_last):
            return None
        is_slow = self._looks_slow()
        if is_sure and not is_slow:
            return self._end(True, "")
        if not is_last:
            return None
        is_failing = canary.rate > min(baseline.rate + self._settings.failures / 100, _AT_MOST)
        aside = f", as it looks after {canary.calls:,} calls: too close to be sure"
        return self._end(not is_failing and not is_slow, aside, is_slow=is_slow and not is_failing)

    def _allowed(self, seconds: float) -> float:
        """Returns how long the canary may take for what takes the baseline so long."""
        return max(seconds * self._settings.slower, seconds + _TOO_SHORT)

    def _looks_slow(self) -> bool:
        before, now = self._baseline.quantile(0.95), self._canary.quantile(0.95)
        return before is not None and now is not None and now > self._allowed(before)

    def _end(self, is_good: bool, aside: str, *, is_slow: bool = False) -> Verdict:
        baseline, canary = self._baseline.figures(), self._canary.figures()
        if is_slow:
            reason = (
                f"took too long: 95 of 100 calls up to {_time(canary.p95)} in {canary.calls:,} calls, "
                f"what served so far up to {_time(baseline.p95)} in {baseline.calls:,}"
            )
        else:
            reason = (
                f"failed {_percent(self._canary.rate)} of {canary.calls:,} calls, "
                f"what served so far {_percent(self._baseline.rate)} of {baseline.calls:,}"
            )
        return Verdict(is_good, reason + aside, baseline, canary)


class _Side:
    """The calls of one side.

    Attributes:
        calls: How many there were.
        failures: How many of them failed.
        limit: What takes more seconds takes long; 0 while that is not known.
        timed: How many did not fail since it was known.
        long: How many of these took long.
    """

    __slots__ = ("_times", "calls", "failures", "limit", "long", "timed")

    def __init__(self) -> None:
        self.calls = self.failures = self.timed = self.long = 0
        self.limit = 0.0
        self._times: dict[int, int] = {}

    def add(self, seconds: float, is_failure: bool) -> None:
        self.calls += 1
        if is_failure:
            self.failures += 1
            return
        if not 1e-7 < seconds < 1e6:
            seconds = min(max(1e-7, seconds), 1e6)  # so there are 700 buckets at most
        part, power = math.frexp(seconds)
        bucket = 16 * power + int(32 * part) - 16  # 16 of them each time that it doubles
        self._times[bucket] = self._times.get(bucket, 0) + 1
        if self.limit:
            self.timed += 1
            if seconds > self.limit:
                self.long += 1

    @property
    def rate(self) -> float:
        return self.failures / self.calls if self.calls else 0.0

    def quantile(self, share: float, at_least: int = _TIMES_AT_LEAST) -> float | None:
        """Returns how many seconds such a share of those that did not fail took at most; `None` if these are few."""
        known = self.calls - self.failures
        left = share * known
        for bucket, number in sorted(self._times.items()) if known >= at_least else ():
            left -= number
            if left <= 0:
                power, part = divmod(bucket, 16)
                return math.ldexp((part + 17) / 32, power)
        return None

    def figures(self) -> SideStatus:
        p50, p95 = (self.quantile(share, 1) for share in (0.5, 0.95))
        return SideStatus(calls=self.calls, failures=self.failures, p50=p50, p95=p95)


class _Evidence:
    """What is sure of whether something happens in more of the canary's calls than of the baseline's.

    Attributes:
        more: The logarithm of the stake on that the rates differ by more than the bound.
        less: The same on that they differ by less.
    """

    __slots__ = ("_baseline", "_bound", "_canary", "_in_baseline", "_in_canary", "less", "more")

    def __init__(self, bound: float) -> None:
        self._bound = bound
        self._baseline = self._in_baseline = self._canary = self._in_canary = 0
        self.more = self.less = 0.0

    def has_both(self, baseline: int, canary: int) -> bool:
        """Returns whether there are calls of both since the last block."""
        return baseline > self._baseline and canary > self._canary

    def add(self, baseline: int, in_baseline: int, canary: int, in_canary: int) -> None:
        """Takes the next block in.

        Args:
            baseline: How many calls of the baseline there have been since the beginning.
            in_baseline: In how many of them it happened.
            canary: How many calls of the canary.
            in_canary: In how many of these.
        """
        # Estimates may be any that were made before. These begin at 1 in 4, and with a canary like the baseline.
        before = (self._in_baseline + 0.5) / (self._baseline + 2)
        now = (self._in_canary + 4 * before) / (self._canary + 4)
        of_baseline, of_canary = baseline - self._baseline, canary - self._canary
        nearest = _nearest(self._bound, before, of_baseline, now, of_canary)
        gain = _likelier(before, nearest, of_baseline, in_baseline - self._in_baseline)
        gain += _likelier(now, nearest + self._bound, of_canary, in_canary - self._in_canary)
        if now - before > self._bound:
            self.more += gain
        else:
            self.less += gain
        self._baseline, self._in_baseline, self._canary, self._in_canary = baseline, in_baseline, canary, in_canary


def _nearest(bound: float, before: float, of_baseline: int, now: float, of_canary: int) -> float:
    """Returns the baseline's rate for which both rates, at the bound, come nearest to estimates of them.

    That is the least sum of the calls' Kullback-Leibler divergences. It is convex: its slope is followed down by
    Newton's method, and what lies beyond is cut off at each step.
    """
    if not (of_baseline and of_canary):
        return before if of_baseline else now - bound
    low, high = max(0.0, min(before, now - bound)), min(1 - bound, max(before, now - bound))
    rate = (low + high) / 2
    for _ in range(60):
        slope = curve = 0.0
        for number, estimate, at in ((of_baseline, before, rate), (of_canary, now, rate + bound)):
            spread = at * (1 - at)
            slope += number * (estimate - at) / spread
            curve += number * (at * at - 2 * at * estimate + estimate) / (spread * spread)
        if slope > 0:
            low = rate
        else:
            high = rate
        better = rate + slope / curve
        if not low < better < high:
            better = (low + high) / 2
        if abs(better - rate) < 1e-12:
            break
        rate = better
    return rate


def _likelier(one: float, other: float, calls: int, times: int) -> float:
    """Returns the logarithm of how much likelier it is by one rate than by another that it happens so many times."""
    return times * math.log(one / other) + (calls - times) * math.log((1 - one) / (1 - other)) if calls else 0.0


def _percent(rate: float) -> str:
    return f"{100 * rate:.{2 if 0 < rate < 0.01 else 1}f} %"


def _time(seconds: float | None) -> str:
    milliseconds = 1000 * (seconds or 0)
    return f"{milliseconds:,.{1 if milliseconds < 100 else 0}f} ms"
