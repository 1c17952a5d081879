"""A canary that fails more often than what serves, or takes longer, is rolled back on its own; a good one is promoted.

A trial looks at its figures at the end of a block of calls. So that a thousand trials take a second, `forward` puts a
block into it at once but for its last call; one test holds that against calls that are counted one by one.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
import threading
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pluginhost.canary import Trial, Verdict, _likelier, _nearest
from pluginhost.settings import CanarySettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from pluginhost.status import SideStatus

DEFAULTS = CanarySettings(plugin="english-next")
QUICK = CanarySettings(plugin="english-next", calls=20)
SECONDS = 0.02
RUNS = 100


class Block(NamedTuple):
    """How many calls of each side there were, and failures."""

    baseline: int
    baseline_failures: int
    canary: int
    canary_failures: int


@cache
def _sums(number: int, chance: float) -> list[float]:
    chances = (math.comb(number, each) * chance**each * (1 - chance) ** (number - each) for each in range(number + 1))
    return list(itertools.accumulate(chances))


def _draw(rng: random.Random, number: int, chance: float) -> int:
    """Returns how many of so many calls it happens in."""
    return min(bisect.bisect(_sums(number, chance), rng.random()), number)


def forward(trial: Trial, block: Block) -> None:
    """Has a trial know of calls after which it does not look."""
    for side, calls, failures in ((trial._baseline, *block[:2]), (trial._canary, *block[2:])):
        if calls:
            side.add(SECONDS, is_failure=False)  # for the bucket
            (bucket,) = side._times
            side._times[bucket] += calls - failures - 1
            side.calls += calls - 1
            side.failures += failures
            if side.limit:
                side.timed += calls - failures - 1
    trial._left -= block.baseline + block.canary


def simulate(
    seed: object, baseline: float, canary: float, share: float, settings: CanarySettings = DEFAULTS
) -> tuple[Verdict, list[Block]]:
    """Returns how a trial ends by rates of failures from 0 to 1, and its calls: of each block, and the last of each."""
    rng = random.Random(f"{seed} {baseline} {canary} {share}")
    trial = Trial(settings)
    blocks = []
    while True:
        if (ahead := trial._left - 1) > 0:
            tried = _draw(rng, ahead, share)
            block = Block(ahead - tried, _draw(rng, ahead - tried, baseline), tried, _draw(rng, tried, canary))
            forward(trial, block)
            blocks.append(block)
        is_canary = rng.random() < share
        is_failure = rng.random() < (canary if is_canary else baseline)
        blocks.append(Block(0, 0, 1, is_failure) if is_canary else Block(1, is_failure, 0, 0))
        if verdict := trial.count(is_canary, SECONDS, is_failure):
            return verdict, blocks


@pytest.mark.parametrize("baseline", [0.001, 0.01, 0.05, 0.2])
def test_a_canary_that_fails_5_points_more_is_rolled_back_and_a_good_one_is_promoted(baseline: float) -> None:
    """At most 2 verdicts of 100 are wrong."""
    good = [simulate(run, baseline, baseline, 0.1)[0] for run in range(RUNS)]
    bad = [simulate(run, baseline, baseline + 0.05, 0.1)[0] for run in range(RUNS)]
    assert sum(not each.is_good for each in good) <= 2
    assert sum(each.is_good for each in bad) <= 2
    assert all(min(each.canary.calls, each.baseline.calls) >= DEFAULTS.calls for each in good)


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_verdicts_are_right_for_small_and_large_shares(share: float) -> None:
    assert all(simulate(run, 0.01, 0.01, share)[0].is_good for run in range(10))
    assert not any(simulate(run, 0.01, 0.06, share)[0].is_good for run in range(10))


@pytest.mark.parametrize("run", range(3))
def test_a_verdict_is_the_same_when_calls_are_counted_one_by_one(run: int) -> None:
    """In whatever order they come between two looks."""
    expected, blocks = simulate(run, 0.02, 0.04, 0.3, QUICK)
    rng, trial, verdicts = random.Random(run), Trial(QUICK), []
    for block in blocks:
        calls = [(False, each < block.baseline_failures) for each in range(block.baseline)]
        calls += [(True, each < block.canary_failures) for each in range(block.canary)]
        rng.shuffle(calls)
        verdicts += [trial.count(is_canary, SECONDS, is_failure) for is_canary, is_failure in calls]
    assert verdicts[-1] == expected
    assert not any(verdicts[:-1])


@pytest.mark.parametrize("each", [2, 10, 20, 100])
def test_a_canary_whose_calls_all_fail_gets_few_of_them(each: int) -> None:
    trial = Trial(DEFAULTS)
    verdict = next(
        verdict
        for call in itertools.count(1)
        if (verdict := trial.count(is_canary := call % each == 0, SECONDS, is_canary))
    )
    assert not verdict.is_good
    assert verdict.canary.calls <= 10


def test_a_canary_at_the_bound_is_surely_judged_in_few_trials_and_at_last_as_it_looks() -> None:
    verdicts = [simulate(run, 0.05, 0.07, 0.5, QUICK)[0] for run in range(RUNS)]
    sure = [each for each in verdicts if "too close" not in each.reason]
    assert len(sure) <= 4  # 1 of 100 each way, and what chance adds
    for each in verdicts:
        if each not in sure:
            assert 400 <= each.canary.calls < 400 + 256
            difference = _rate(each.canary) - _rate(each.baseline)
            assert each.is_good == (difference <= 0.02)
            assert f"as it looks after {each.canary.calls} calls" in each.reason


def _rate(side: SideStatus) -> float:
    return side.failures / side.calls


@pytest.mark.parametrize("is_failure", [False, True])
def test_a_canary_with_nothing_to_compare_it_with_is_judged_at_last(is_failure: bool) -> None:
    trial = Trial(QUICK)
    assert not any(trial.count(True, SECONDS, is_failure) for _ in range(399))
    verdict = trial.count(True, SECONDS, is_failure)
    assert verdict
    assert verdict.is_good is not is_failure
    assert verdict.baseline.calls == 0


def _tried(
    run: int, slower: float, *, median: float = SECONDS, warm_up: int = 0, settings: CanarySettings = DEFAULTS
) -> Verdict:
    """Returns how a trial ends with times that spread widely, of a canary that is so many times slower."""
    rng, trial, left = random.Random(run), Trial(settings), warm_up
    while True:
        is_canary = rng.random() < 0.2
        seconds = median * rng.lognormvariate(0, 1) * (slower if is_canary else 1)
        if is_canary and left:
            left -= 1
            seconds *= 100
        if verdict := trial.count(is_canary, seconds, False):
            return verdict


def test_a_canary_that_takes_as_long_is_promoted() -> None:
    verdicts = [_tried(run, 1) for run in range(20)]
    assert all(each.is_good for each in verdicts)
    p50, p95 = verdicts[0].canary.p50, verdicts[0].canary.p95
    assert p50 == pytest.approx(SECONDS, rel=0.25)
    assert p95 == pytest.approx(SECONDS * math.exp(1.645), rel=0.3)


@pytest.mark.parametrize("slower", [3, 10])
def test_a_canary_that_takes_many_times_as_long_is_rolled_back(slower: int) -> None:
    verdicts = [_tried(run, slower) for run in range(10)]
    assert not any(each.is_good for each in verdicts)
    assert all("took too long: 95 of 100 calls up to " in each.reason for each in verdicts)
    assert all(each.canary.calls < DEFAULTS.calls for each in verdicts)


def test_a_canary_may_take_longer_at_first() -> None:
    assert all(_tried(run, 1, warm_up=5).is_good for run in range(5))


def test_a_millisecond_more_is_no_reason() -> None:
    """A process of its own costs a part of that."""
    assert all(_tried(run, 5, median=0.000_02).is_good for run in range(5))


def test_a_canary_that_looks_slow_is_not_promoted_before_that_is_sure() -> None:
    """At the end of the trial it is judged as it looks."""
    settings = CanarySettings(plugin="english-next", calls=20, slower=1.2)
    verdicts = [_tried(run, 1.5, settings=settings) for run in range(20)]
    late = [each for each in verdicts if "too close" in each.reason]
    assert late
    assert all("took too long" in each.reason for each in late if not each.is_good)
    for each in verdicts:
        assert each.canary.p95
        assert each.baseline.p95
        assert not each.is_good or each.canary.p95 <= each.baseline.p95 * 1.2


def test_how_long_a_call_took_that_failed_says_nothing() -> None:
    trial = Trial(QUICK)
    for call in range(200):
        trial.count(call % 2 == 0, 1000 if call % 40 == 0 else SECONDS, call % 40 == 0)
    assert trial.figures().canary.p95 == pytest.approx(SECONDS, rel=0.07)


def _regular(failing: int, slower: float = 1) -> Verdict:
    """Returns how a trial ends of which each tenth call is the canary's, and so many of 100 of these fail."""
    trial = Trial(DEFAULTS)
    for call in itertools.count(1):
        is_canary = call % 10 == 0
        seconds, is_failure = SECONDS * (slower if is_canary else 1), is_canary and call // 10 % 100 < failing
        if verdict := trial.count(is_canary, seconds, is_failure):
            return verdict
    raise AssertionError


def test_a_reason_has_the_figures() -> None:
    assert _regular(100).reason == "failed 100.0 % of 4 calls, what served so far 0.0 % of 36"
    assert _regular(0).reason == "failed 0.0 % of 507 calls, what served so far 0.0 % of 4,572"
    assert _regular(0, 4).reason == (
        "took too long: 95 of 100 calls up to 82.0 ms in 107 calls, what served so far up to 20.5 ms in 968"
    )


calls = st.tuples(st.booleans(), st.floats(), st.booleans())
any_settings = st.builds(
    CanarySettings,
    plugin=st.just("english-next"),
    calls=st.sampled_from([1, 3, 1000]),
    failures=st.sampled_from([0.0, 0.1, 2.0, 100.0]),
    slower=st.sampled_from([1.000_001, 1.5, 999.0]),
)


@hypothesis_settings(max_examples=50)
@given(st.lists(calls, max_size=150), st.integers(1, 4), any_settings)
def test_there_is_one_verdict_at_most_and_figures_add_up(
    counted: list[tuple[bool, float, bool]], times: int, settings: CanarySettings
) -> None:
    """Whatever is counted, even times that are no times."""
    trial, verdict = Trial(settings), None
    seen = [[0, 0], [0, 0]]
    for is_canary, seconds, is_failure in counted * times:
        had = verdict
        if now := trial.count(is_canary, seconds, is_failure):
            assert had is None
            verdict = now
        if had is None:
            seen[is_canary][0] += 1
            seen[is_canary][1] += is_failure
        figures = trial.figures()
        assert [[each.calls, each.failures] for each in (figures.baseline, figures.canary)] == seen
        assert figures.verdict is verdict
    assert verdict is None or verdict[2:] == trial.figures()[:2]


def test_what_it_keeps_does_not_grow_with_the_calls() -> None:
    trial = Trial(CanarySettings(plugin="english-next", calls=100_000))
    rng = random.Random(1)
    for _ in range(20_000):
        trial.count(rng.random() < 0.5, 10 ** rng.uniform(-30, 30), False)
    assert len(trial._canary._times) < 750


def test_threads_get_one_verdict_and_lose_no_call() -> None:
    def all_at_once(work: Callable[[], None]) -> None:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    trial = Trial(CanarySettings(plugin="english-next", calls=1000))
    verdicts: list[Verdict] = []

    def count(is_failure: bool, number: int) -> None:
        told = (trial.count(call % 2 == 0, SECONDS, is_failure and call % 2 == 0) for call in range(number))
        verdicts.extend(filter(None, told))

    all_at_once(lambda: count(False, 200))
    assert [each.calls for each in trial.figures()[:2]] == [800, 800]  # type: ignore[union-attr]
    assert not verdicts
    all_at_once(lambda: count(True, 500))
    (verdict,) = verdicts
    assert not verdict.is_good
    assert trial.figures() == (verdict.baseline, verdict.canary, verdict)


rates = st.floats(0.001, 0.999)
sizes = st.integers(0, 50)


@hypothesis_settings(max_examples=200)
@given(rates, rates, sizes, sizes, st.floats(0, 0.9), st.floats(0, 1), st.floats(0, 1))
def test_a_bet_gains_nothing_on_average_while_what_is_doubted_holds(
    before: float, now: float, of_baseline: int, of_canary: int, bound: float, where: float, how_far: float
) -> None:
    """For all rates on the other side of the bound than the estimates: on that all that is sure rests."""
    nearest = _nearest(bound, before, of_baseline, now, of_canary)
    low, high = (0.0, min(1.0, 1 - bound)) if now - before > bound else (0.0, 1.0)
    rate = low + where * (high - low)
    if now - before > bound:
        other = how_far * (rate + bound)
    else:
        other = min(1.0, rate + bound) if rate + bound >= 1 else rate + bound + how_far * (1 - rate - bound)
        if rate + bound > 1:
            return  # none is that much higher

    def average(chance: float, one: float, against: float, number: int) -> float:
        if not number:
            return 0.0
        gains = [math.exp(_likelier(one, against, 1, times)) for times in (0, 1)]
        return number * math.log((1 - chance) * gains[0] + chance * gains[1])

    gain = average(rate, before, nearest, of_baseline) + average(other, now, nearest + bound, of_canary)
    assert gain <= 1e-6


def test_of_two_that_are_broken_neither_is_good() -> None:
    """The canary fails as often as what serves, and is not promoted for that."""
    trial = Trial(QUICK)
    calls = itertools.count()
    verdict = None
    while verdict is None:
        verdict = trial.count(next(calls) % 2 == 0, SECONDS, True)
    assert not verdict.is_good
