"""When a child is started again, whatever the times of the deaths are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pluginhost.isolation import restarts


@given(st.lists(st.floats(0, 50), min_size=1, max_size=30))
def test_so_many_deaths_count_as_there_were_within_the_time(gaps: list[float]) -> None:
    deaths, now, times = restarts.Deaths(), 0.0, []
    for gap in gaps:
        now += gap
        times.append(now)
        assert deaths.add(now) == sum(now - each < restarts.WINDOW_SECONDS for each in times)


@given(st.integers(1, restarts.DEATHS - 1))
def test_the_first_restart_is_at_once_and_the_pauses_double(deaths: int) -> None:
    pause = restarts.pause(deaths)
    middle = 0.0 if deaths == 1 else min(restarts.FIRST_PAUSE * 2 ** (deaths - 2), restarts.LONGEST_PAUSE)
    assert pause is not None
    assert 0.75 * middle <= pause <= 1.25 * middle


@given(st.integers(restarts.DEATHS, 100))
def test_with_enough_deaths_there_is_no_other_restart(deaths: int) -> None:
    assert restarts.pause(deaths) is None
