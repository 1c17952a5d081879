"""Runs the cases of the zoo, each in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from forge import Forge
from zoo import processes
from zoo.cases import Case
from zoo.deeds import HANG
from zoo.driver import HOSTS_OWN
from zoo.site_folder import SiteFolder, install_template

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    Done: TypeAlias = "Future[subprocess.CompletedProcess[bytes]]"

WRITTEN = ("cache", "result.json", "log", "out", "err", "site/__pycache__")
"""What may be written: the index and the store, what the driver says, what Python compiles."""
SECONDS = 120
"""What a case may take, on a busy machine; most take half a second."""
NO_BAD = Case("metadata", "no bad plugin", lambda site: shutil.rmtree(site.info))


@contextlib.contextmanager
def running(wanted: Collection[Case], folder: Path) -> Iterator[dict[Case, Done]]:
    """Yields what will be the outcome of each case; a few run at a time."""
    template = install_template(Forge(folder))
    base = folder / "zoo"
    base.mkdir()
    known = verdicts(template, base / "good")
    forks = processes.Forks(modules(template, base / "unprobed"), base)
    with contextlib.closing(forks), ThreadPoolExecutor(os.cpu_count()) as busy, ThreadPoolExecutor(6) as waiting:
        yield {
            case: (waiting if waits(case) else busy).submit(run, case, template, base / str(number), known, forks)
            for number, case in enumerate(wanted)
        }
        busy.shutdown(cancel_futures=True)
        waiting.shutdown(cancel_futures=True)


def waits(case: Case) -> bool:
    """Returns whether a case spends its time on a deadline, and not on the processor."""
    return case.probe_timeout == HANG or case.code.endswith("-timeout") or case.code == "exit-held"


def verdicts(template: Path, folder: Path) -> Path:
    """Returns a cache folder in which the verdicts of both good plugins' first loads are known, and nothing else."""
    run(NO_BAD, template, folder, None)
    cache = folder.with_name("known")
    cache.mkdir()
    for verdict in folder.glob("cache/pluginhost/*.verdict"):
        shutil.copy2(verdict, cache)
    shutil.rmtree(folder)
    assert len(list(cache.iterdir())) >= len(HOSTS_OWN), "beside them are those of the environment"
    return cache


def modules(template: Path, folder: Path) -> list[str]:
    """Returns what every case's process has imported of its own accord when its first plugin answers, in that order."""
    said = json.loads(run(dataclasses.replace(NO_BAD, probe="never"), template, folder, None).stdout)
    return [name for name in said["modules"] if not name.startswith("zoo_")]


def run(
    case: Case, template: Path, folder: Path, known: Path | None, forks: processes.Forks | None = None
) -> subprocess.CompletedProcess[bytes]:
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
        "calls": [(call.kind, call.way, call.goes_on, call.wait) for call in case.calls],
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
    is_forked = forks and processes.is_forked(case, site)
    with forks.forked(folder) if forks and is_forked else contextlib.nullcontext(processes.fresh(folder)) as driver:
        try:
            status = driver.wait(SECONDS)
        finally:
            with contextlib.suppress(OSError):
                os.killpg(driver.pid, signal.SIGKILL) if os.name == "posix" else os.kill(driver.pid, signal.SIGTERM)
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
    heard = json.dumps(said).encode()
    done = subprocess.CompletedProcess(processes.command(folder), status, heard, folder.joinpath("err").read_bytes())
    if known:
        shutil.rmtree(folder, ignore_errors=True)
    return done


def _all(folder: Path) -> set[Path]:
    return {Path(where, name) for where, folders, files in os.walk(folder) for name in (*folders, *files)}
