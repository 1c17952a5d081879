"""Whatever a plugin's next version does, the one before serves until it is taken over, and not a call is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from zoo import processes, reload_scenes
from zoo.driver import STATUS
from zoo.reloads import CASES, Case
from zoo.test_zoo import LIMIT, check_finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    Said: TypeAlias = "Future[dict[str, Any]]"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a process has and leaves is read from /proc")

DRIVER = Path(__file__).with_name("reload_driver.py")
SECONDS = 240
"""What a case may take, on a busy machine; most take a fifth of a second."""
MODULES = (
    "pluginapi",
    "pluginhost.manager",
    "pluginhost.runner",
    "pluginhost.discovery",
    "pluginhost.admission",
    "pluginhost.config",
    "pluginhost.applying",
    "pluginhost.reload",
    "pluginhost.isolation.loading",
    "pluginhost.isolation.spawning",
)
"""What is imported before a process is forked."""
RUNS = [(case, where, "") for case in CASES for where in case.where] + [
    (None, "", name) for name in reload_scenes.SCENES
]


def run(each: tuple[Case | None, str, str], folder: Path, forks: processes.Forks) -> dict[str, Any]:
    """Returns what the driver says of a case or a scene."""
    case, where, scene = each
    folder.mkdir()
    told = {"number": CASES.index(case) if case else 0, "where": where, "scene": scene}
    folder.joinpath("case.json").write_text(json.dumps(told))
    with forks.forked(folder) as process:
        try:
            status = process.wait(SECONDS)
        finally:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    result = folder / "result.json"
    said = json.loads(result.read_text()) if result.exists() else {"uncoded": "it said nothing"}
    return {**said, "status": status, "err": folder.joinpath("err").read_text("utf-8", "replace")}


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Any, Said]]:
    """What comes of each case that is wanted; two run at a time."""
    items = [item for item in request.session.items if item.path == Path(__file__)]
    wanted = [item.callspec.params["run"] for item in items if hasattr(item, "callspec")]
    base = tmp_path_factory.mktemp("reloads")
    forks = processes.Forks(MODULES, base, DRIVER)
    with contextlib.closing(forks), ThreadPoolExecutor(2) as pool:
        yield {each: pool.submit(run, each, base / str(number), forks) for number, each in enumerate(wanted)}
        pool.shutdown(cancel_futures=True)


def title(each: tuple[Case | None, str, str]) -> str:
    case, where, scene = each
    return f"{case}-{where}" if case else scene


@pytest.mark.parametrize("run", [pytest.param(each, id=title(each)) for each in RUNS])
def test_a_bad_next_version_costs_itself_alone(run: tuple[Case | None, str, str], outcomes: dict[Any, Said]) -> None:
    said = outcomes[run].result()
    assert "uncoded" not in said, said["uncoded"]
    assert said["status"] == STATUS, said["err"]
    case = run[0]
    if case is None:
        return
    for finding in (*said.get("error", ()), *said["log"]):
        check_finding(finding)
    if case.code:
        [first, *_] = said["error"]
        assert said["text"] <= LIMIT
        assert first["code"] == case.code, first
        assert first["stage"] == case.stage, first
        assert first["path"], first
        known = ("zoo-bad", case.version, *case.known) if case.version else ("bad",)
        assert [part for part in known if part not in first["message"]] == [], first
    told = {finding["code"] for finding in said["log"]} - {"child-silent", "child-died"}  # as it comes
    assert told == {*case.told.split(), *([case.code] if case.code else [])}


def test_the_names_of_the_cases_are_their_own() -> None:
    names = [title(each) for each in RUNS]
    assert len(names) == len(set(names))
