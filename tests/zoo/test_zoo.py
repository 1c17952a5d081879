"""Every bad plugin of the zoo costs itself: the host lives, both good plugins serve, and one code tells what is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from forge import Forge, obey_signals
from pluginhost.catalogue import CODES
from zoo import cases, factories, imports, inits, shutdowns
from zoo.cases import Case
from zoo.deeds import HANG
from zoo.driver import HOSTS_OWN, STATUS
from zoo.site_folder import SiteFolder, install_template
from zoo.wheels import WHEEL_CASES

if TYPE_CHECKING:
    from collections.abc import Iterator

    Done: TypeAlias = "Future[subprocess.CompletedProcess[bytes]]"

ALL_CASES = [*cases.CASES, *imports.CASES, *factories.CASES, *inits.CASES, *shutdowns.CASES, *WHEEL_CASES]
DRIVER = Path(__file__).with_name("driver.py")
LIMIT = 4096
"""Bytes of a finding at most."""
WRITTEN = ("cache", "result.json", "log", "out", "err", "site/__pycache__")
"""What may be written: the index and the store, what the driver says, what Python compiles."""
SECONDS = 30
"""What a case may take, on a busy machine; most take half a second."""
SLACK = 3
"""Seconds beyond a deadline, on a busy machine."""
END_SECONDS = 8
"""What may lie between the driver's last line and the end of its process."""


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[dict[Case, Done]]:
    """The cases that were asked for, each in a process of its own, a few at a time."""
    template = install_template(Forge(tmp_path_factory.mktemp("template")))
    base = tmp_path_factory.mktemp("zoo")
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = [spec.params["case"] for spec in specs if spec and isinstance(spec.params.get("case"), Case)]
    known = verdicts(template, base / "good")
    with ThreadPoolExecutor(os.cpu_count()) as busy, ThreadPoolExecutor(6) as waiting:
        yield {
            case: (waiting if waits(case) else busy).submit(run, case, template, base / str(number), known)
            for number, case in enumerate(wanted)
        }
        busy.shutdown(cancel_futures=True)
        waiting.shutdown(cancel_futures=True)


def waits(case: Case) -> bool:
    """Returns whether a case spends its time on a deadline, and not on the processor."""
    return case.probe_timeout == HANG or case.code.endswith("-timeout") or case.code == "exit-held"


def verdicts(template: Path, folder: Path) -> Path:
    """Returns a cache folder in which the verdicts of both good plugins' first loads are known, and nothing else."""
    run(Case("metadata", "no bad plugin", lambda site: shutil.rmtree(site.info)), template, folder, None)
    cache = folder.with_name("known")
    cache.mkdir()
    for verdict in folder.glob("cache/pluginhost/*.verdict"):
        shutil.copy2(verdict, cache)
    shutil.rmtree(folder)
    assert len(list(cache.iterdir())) >= len(HOSTS_OWN), "beside them are those of the environment"
    return cache


def run(case: Case, template: Path, folder: Path, known: Path | None) -> subprocess.CompletedProcess[bytes]:
    """Returns the finished driver over a case's own site folder; what it wrote stands in `stdout`."""
    folder.mkdir()
    site = SiteFolder(template, folder / "site")
    case.make(site)
    if known:
        shutil.copytree(known, folder / "cache" / "pluginhost")
    told = {
        "path": site.path,
        "code": site.code,
        "ends": case.ends,
        "notes": len(case.notes or ()) if case.ends != "exit" else 0,
        "settings": {
            "probe": case.probe,
            "probe_timeout": case.probe_timeout,
            "shutdown_timeout": case.shutdown_timeout,
            "plugin_dirs": site.plugin_dirs,
            "plugins": site.plugins,
        },
    }
    folder.joinpath("case.json").write_text(json.dumps(told))
    result = folder / "result.json"
    before = _all(folder)
    # Files, since what a plugin starts and leaves would hold a pipe open; a session, since it may signal its own group.
    with folder.joinpath("out").open("wb") as out, folder.joinpath("err").open("wb") as err:
        driver = subprocess.Popen(
            [sys.executable, "-I", str(DRIVER), str(folder), str(result)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
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
            status = driver.wait(SECONDS)
        finally:
            with contextlib.suppress(OSError):
                os.killpg(driver.pid, signal.SIGKILL) if os.name == "posix" else driver.kill()
            driver.wait()
    ended = time.time()
    said = json.loads(result.read_bytes()) if result.exists() else {}
    said["end_seconds"] = ended - result.stat().st_mtime if said else 0.0
    log = [json.loads(line) for line in folder.joinpath("log").read_bytes().splitlines()] if said else []
    said["logged"] = [line["finding"] for line in log if "finding" in line]
    said["states"] = dict(line["state"] for line in log if "state" in line)
    notes = folder / "notes"
    said["notes"] = notes.read_text().splitlines() if notes.exists() else []
    written = sorted(str(path.relative_to(folder)) for path in _all(folder) - before)
    said["written"] = [path for path in written if not path.startswith(WRITTEN)]
    done = subprocess.CompletedProcess(
        driver.args, status, json.dumps(said).encode(), folder.joinpath("err").read_bytes()
    )
    if known:
        shutil.rmtree(folder, ignore_errors=True)
    return done


def _all(folder: Path) -> set[Path]:
    return {Path(where, name) for where, folders, files in os.walk(folder) for name in (*folders, *files)}


def missing(case: Case) -> str:
    """Returns why a case cannot be made here."""
    if case.needs and os.name != "posix":
        return "the system has no such thing"
    return "root may read everything" if case.needs == "user" and os.geteuid() == 0 else ""


@pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in ALL_CASES if not missing(case)])
def test_a_bad_plugin_costs_itself_alone(case: Case, zoo: dict[Case, Done]) -> None:
    done = zoo[case].result()
    said = json.loads(done.stdout)
    assert "uncoded" not in said, said["uncoded"]
    assert done.returncode == STATUS, done.stderr.decode("utf-8", "replace")[-2000:]
    # The interpreter prints what a plugin's own thread, exit function or `__del__` raises, and the host nothing.
    own = re.findall(
        rb"(?:Exception in thread|Exception ignored in).*\nTraceback|Traceback.*\n.*weakref.py", done.stderr
    )
    assert done.stderr.count(b"Traceback") == len(own)

    if case.family == "wheels":
        assert said["written"] == [], "nothing is written outside the store"

    # Both good plugins are ready and serve, before and after.
    assert said["good"] == {"a-good": ["ready"], "z-good": ["ready"]}
    assert [said["first"], said["last"], said["again"]] == ["good Ada"] * 3
    assert said["all"] == ["a-good", "z-good"]
    assert {said["states"].get(name) for name in HOSTS_OWN} == {"plugin.stopped"}, "both were shut down"
    assert ", ".join(said["changed"]) == case.changes, "the process is as it was"

    # It came to its end in time, and was shut down as often as it should.
    assert said["close_seconds"] < case.shutdown_timeout + SLACK
    if case.family in ("init", "shutdown"):
        assert said["end_seconds"] < END_SECONDS

    # The bad one is refused, fails or serves as it should; the code tells why.
    told = [*said["findings"]]
    for row in said["rows"]:
        told += row["findings"]
    if said["rows"] and all(row["state"] == "ready" for row in said["rows"]):
        told += [finding for findings in said["errors"] for finding in findings]
        if not said["errors"] or case.family in ("init", "shutdown"):
            told += [finding for finding in said["logged"] if finding not in told]
    codes = Counter(finding["code"] for finding in told)
    assert set(codes) - set(case.also.split()) == ({case.code} if case.code else set()), told
    assert said["row_count"] == case.rows
    assert bool(said["answers"]) == case.serves
    assert not case.code or codes[case.code] == case.told
    for finding in told:
        check_finding(finding)
    if case.code:
        [first, *_] = [finding for finding in told if finding["code"] == case.code]
        assert first["stage"] == case.stage
        known = first["message"].replace("_", "-").lower()
        assert [part for part in case.known if part.replace("_", "-").lower() not in known] == [], first["message"]
    if case.notes is not None:
        assert tuple(said["notes"]) == case.notes


def check_finding(finding: dict[str, Any]) -> None:
    """Asserts what holds for every finding: a code of the catalogue, a hint, bounded, printable."""
    assert finding["code"] in CODES
    assert finding["message"]
    assert finding["hint"]
    text = finding["message"] + finding["hint"] + finding["path"]
    assert not [character for character in text if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}]
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(text)
    assert len(json.dumps(finding, ensure_ascii=False).encode()) <= LIMIT, len(json.dumps(finding))


def test_the_names_of_the_cases_are_their_own() -> None:
    assert [name for name, count in Counter(map(str, ALL_CASES)).items() if count > 1] == []
    assert {case.code for case in ALL_CASES} <= {"", *CODES}
