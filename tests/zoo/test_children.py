"""Every bad plugin with a process of its own costs itself: the host lives, both good plugins serve, nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from forge import Forge, obey_signals
from waiting import is_alive, until
from zoo.children import API, CASES, TRICKS, Case
from zoo.children_driver import SECRET, STATUS
from zoo.test_zoo import LIMIT, check_finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    Said: TypeAlias = "Future[dict[str, Any]]"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a process has and leaves is read from /proc")

DRIVER = Path(__file__).with_name("children_driver.py")
SECONDS = 300
"""What a batch may take, on a busy machine."""
AT_ONCE = 30
"""Seconds within which an error comes that waits for no deadline: those that there are have a minute."""
BATCH = 12
GOOD = """
import os
from zoo_api import Zoo

class Good(Zoo):
    def greet(self, name):
        if name.startswith("kill "): os.kill(int(name[5:]), 9)
        return f"good {name}"

def New(): return Good()
"""
PROVIDES = {"hook": True, "settings": '[tool.pluginapi]\nprovides = "zoo_api"'}
PIN = ("zoo-api~=1.0",)
RUNS = [(case, system) for case in CASES for system in case.systems]
TRAFFIC = {
    "segfaults": {},
    "exits with 0 in a call": {},
    "eats memory": {"limits": {"memory": 300}},
    "spins": {"call_timeout": 0.2, "breaker_failures": 2, "breaker_seconds": 0.1},
}


def install(folder: Path) -> Path:
    """Returns a site folder with the zoo's API, two good plugins, and the bad ones: all of them of one wheel."""
    folder.mkdir()
    forge = Forge(folder)
    files = {"zoo_api/__init__.py": API, "zoo_api/tricks.py": TRICKS}
    wheels = [forge.wheel("zoo-api", files, version="1.0", **PROVIDES)]
    for name in ("a-good", "z-good"):
        module = f"zoo_{name.replace('-', '_')}"
        wheels.append(forge.wheel(f"zoo-{name}", {f"{module}.py": GOOD}, f'{name} = "{module}:New"', dependencies=PIN))
    bad = {f"zoo_bad_{number}.py": case.source for number, case in enumerate(CASES)}
    names = "\n".join(f'bad-{number} = "zoo_bad_{number}:New"' for number in range(len(CASES)))
    wheels.append(forge.wheel("zoo-bad", bad, names, dependencies=PIN))
    return forge.install(*wheels)


def plugin(case: Case) -> str:
    """Returns the name of a case's plugin."""
    return f"bad-{CASES.index(case)}"


def run(
    site: Path, folder: Path, system: str, wanted: list[Case], kind: str = "cases", change: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Returns what the driver says of some cases, each by its name."""
    with driver(site, folder, system, wanted, kind, change) as process:
        _, err = process.communicate(timeout=SECONDS)
    result = folder / "result.json"
    assert result.exists(), err.decode()
    return {**json.loads(result.read_text()), "status": process.returncode, "err": err.decode("utf-8", "replace")}


@contextlib.contextmanager
def driver(
    site: Path, folder: Path, system: str, wanted: list[Case], kind: str, change: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Yields a driver over a folder of its own; what is left of its session is ended."""
    folder.mkdir(parents=True)
    keys = ("name", "where", "code", "method", "more", "told", "again", "settings")
    batch = {
        "kind": kind,
        "change": change,
        "site": str(site),
        "system": system,
        "is_slow": any(case.is_slow for case in wanted),
        "cases": [{"plugin": plugin(case)} | {key: getattr(case, key) for key in keys} for case in wanted],
        "plugins": {plugin(case): case.settings for case in wanted},
    }
    folder.joinpath("batch.json").write_text(json.dumps(batch))
    process = subprocess.Popen(
        [sys.executable, "-I", str(DRIVER), str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "LC_ALL": "C.UTF-8",
        },
        start_new_session=True,
        preexec_fn=obey_signals,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("children") / "installed")


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[Case, str], Said]]:
    """The outcomes of the wanted cases, of which some run in one host."""
    items = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = [(each["case"], each["system"]) for each in items if isinstance(each.get("case"), Case)]
    base = tmp_path_factory.mktemp("hosts")
    found: dict[tuple[Case, str], Said] = {}
    with ThreadPoolExecutor(4) as pool:
        for number, (system, chosen) in enumerate(batches(wanted)):
            said = pool.submit(run, installed, base / str(number), system, chosen)
            found |= {(case, system): said for case in chosen}
        yield found
        pool.shutdown(cancel_futures=True)


def batches(wanted: list[tuple[Case, str]]) -> Iterator[tuple[str, list[Case]]]:
    for is_slow in (True, False):
        for system in ("linux", "portable"):
            chosen = [case for case, of in wanted if of == system and case.is_slow == is_slow]
            for first in range(0, len(chosen), BATCH):
                yield system, chosen[first : first + BATCH]


@pytest.mark.parametrize(("case", "system"), [pytest.param(*each, id=f"{each[0]}-{each[1]}") for each in RUNS])
def test_a_bad_child_costs_itself_alone(case: Case, system: str, outcomes: dict[tuple[Case, str], Said]) -> None:
    batch = outcomes[case, system].result()
    assert "uncoded" not in batch, batch["uncoded"]
    assert batch["status"] == STATUS, "the host's exit status is its own"
    said = batch[case.name]

    # The host lives, both good plugins serve, and nothing is left of the bad one.
    assert said["good"] == ["good Ada"] * 2
    assert said["left"] == {}
    assert said["zombies"] == []
    assert not {"pwned"} & set(said["written"])

    # One code tells what is wrong, at once.
    errors = [said[key] for key in ("start", "finding") if key in said]
    logged = [finding["code"] for finding in said["log"]]
    for finding in (*errors, *said["log"]):
        check_finding(finding)
    assert said.get("bytes", 0) <= LIMIT
    logs = [finding for finding in said["log"] if finding["code"] == case.code]
    told = logs if case.where == "shutdown" else errors
    if case.code:
        assert told, said
        assert told[0]["code"] == case.code, told
        assert [part for part in ("zoo-bad", "1.0.0", *case.known) if part not in told[0]["message"]] == [], told[0]
    else:
        assert [finding["code"] for finding in told] == [*case.more]
    if "seconds" in said:
        assert said["seconds"] < AT_ONCE
    if case.where == "call":
        assert said["codes"] == [*([case.code] if case.code else []), *case.more]
        assert said.get("gets", "") == case.gets or case.code or case.method == "names"
    ends = {case.code} if case.again == "never" or case.where == "shutdown" else set()
    assert set(logged) == {*case.told.split(), *ends}, said["log"]

    # It serves again where it should: the next call is answered.
    if case.again != "never":
        assert said["greets"] == "bad Ada"
        assert case.again == "soon" or said["codes met"] == []
        assert said.get("took over", True)
    assert tuple(said["notes"]) == case.notes

    for _, line in said["lines"]:
        assert line.isprintable()
    if "floods" in case.name:
        assert len(said["lines"]) < 1500
    if case.name == "writes terminal commands":
        assert said["lines"] == [[f"pluginhost.plugins.{plugin(case)}", "\\x1b[2J\\x07\\x9b31m\\u202e"]]
    if case.name == "lists what it inherited":
        kinds = {re.sub(r":?\[?\d*\]?$", "", name) for name in said["names"]}
        assert kinds <= {"socket", "pipe", "/dev/null", "", "/memfd:pluginhost (deleted)"}, said["names"]
        assert not {name for name in said["names"] if "socket" in name or "marker" in name} & set(said["hosts"])
    if case.name == "reads its environment":
        assert SECRET not in str(said["names"])


def test_good_plugins_never_notice_bad_children(installed: Path, tmp_path: Path) -> None:
    """One segfaults, one exits with 0, one eats memory, one spins; two threads call the good ones all the time."""
    wanted = [case for case in CASES if case.name in TRAFFIC]
    batch = run(installed, tmp_path / "host", "linux", wanted, "traffic")
    assert "uncoded" not in batch, batch["uncoded"]
    assert batch["status"] == STATUS
    said = batch["traffic"]
    assert said["failed"] == []
    assert min(said["calls"]) > 100
    assert {case.name: said["codes"][plugin(case)][0] for case in wanted} == {
        "segfaults": "channel-lost",
        "exits with 0 in a call": "channel-lost",
        "eats memory": "call-failed",
        "spins": "call-timeout",
    }
    assert said["served"] == ["bad Ada"] * len(said["served"])


@pytest.mark.parametrize("system", ["linux", "portable"])
def test_a_host_that_is_killed_leaves_no_child(system: str, installed: Path, tmp_path: Path) -> None:
    """Neither that of a plugin, nor the one that stands by."""
    critical = [case for case in CASES if case.settings.get("critical")][:1]
    with driver(installed, tmp_path / "host", system, critical, "stays") as process:
        assert process.stdout
        pids = json.loads(process.stdout.readline())
        assert len(pids) == 3
        process.kill()
        until(lambda: not any(map(is_alive, pids)))


@pytest.mark.parametrize(
    ("file", "old", "new", "known"),
    [
        (
            "zoo_bad-1.0.0.dist-info/METADATA",
            "Version: 1.0.0",
            "Version: 2.0.0",
            "zoo-bad 2.0.0 there, and zoo-bad 1.0.0",
        ),
        ("zoo_api/__init__.py", '"1.0"', '"1.1"', "the API's version is 1.1 there, and 1.0 here"),
        ("zoo_api/__init__.py", "name: str", "whom: str", "the contracts' methods are"),
    ],
    ids=["plugin", "version", "contract"],
)
def test_what_was_upgraded_meanwhile_is_no_child_of_this_host(
    file: str, old: str, new: str, known: str, installed: Path, tmp_path: Path
) -> None:
    site = Path(shutil.copytree(installed, tmp_path / "site"))
    wanted = [case for case in CASES if case.name == "exits with 0 in a call"]
    batch = run(site, tmp_path / "host", "linux", wanted, "upgrade", (file, old, new))
    assert "uncoded" not in batch, batch["uncoded"]
    said = batch["upgrade"]
    assert said["met"] == ["plugin-stopped"]
    assert known in said["said"]
    assert said["good"] == ["good Ada"] * 2
    assert not said["left"]
