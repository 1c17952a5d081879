"""Every bad plugin of the zoo costs itself: the host lives, both good plugins serve, and one code tells what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from forge import Forge
from pluginhost.catalogue import CODES
from zoo.cases import CASES, Case
from zoo.driver import STATUS
from zoo.site_folder import SiteFolder, install_template

if TYPE_CHECKING:
    from collections.abc import Iterator

    Done: TypeAlias = "Future[subprocess.CompletedProcess[bytes]]"

DRIVER = Path(__file__).with_name("driver.py")
LIMIT = 4096
"""Bytes of a finding at most."""
SECONDS = 30
"""What a case may take, on a busy machine; most take half a second."""


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[dict[Case, Done]]:
    """The cases that were asked for, each in a process of its own, a few at a time."""
    template = install_template(Forge(tmp_path_factory.mktemp("template")))
    base = tmp_path_factory.mktemp("zoo")
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = [spec.params["case"] for spec in specs if spec and isinstance(spec.params.get("case"), Case)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {case: pool.submit(run, case, template, base / str(number)) for number, case in enumerate(wanted)}
        pool.shutdown(cancel_futures=True)


def run(case: Case, template: Path, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Returns the finished driver over a case's own site folder; what it wrote stands in `stdout`."""
    folder.mkdir()
    site = SiteFolder(template, folder / "site")
    case.make(site)
    folder.joinpath("case.json").write_text(json.dumps({"path": site.path, "code": site.code}))
    result = folder / "result.json"
    done = subprocess.run(
        [sys.executable, "-I", str(DRIVER), str(folder), str(result)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"},
        timeout=SECONDS,
    )
    done.stdout = result.read_bytes() if result.exists() else b"{}"
    shutil.rmtree(folder, ignore_errors=True)
    return done


def missing(case: Case) -> str:
    """Returns why a case cannot be made here."""
    if case.needs and os.name != "posix":
        return "the system has no such thing"
    return "root may read everything" if case.needs == "user" and os.geteuid() == 0 else ""


@pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in CASES if not missing(case)])
def test_a_bad_plugin_costs_itself_alone(case: Case, zoo: dict[Case, Done]) -> None:
    done = zoo[case].result()
    said = json.loads(done.stdout)
    assert "uncoded" not in said, said["uncoded"]
    assert done.returncode == STATUS, done.stderr.decode("utf-8", "replace")[-2000:]
    assert b"Traceback" not in done.stderr

    # Both good plugins are ready and serve, before and after.
    assert said["good"] == {"a-good": ["ready"], "z-good": ["ready"]}
    assert [said["first"], said["last"], said["again"]] == ["good Ada"] * 3
    assert said["all"] == ["a-good", "z-good"]
    assert said["changed"] == [], "the process is as it was"

    # The bad one is refused, fails or serves as it should; the code tells why.
    told = [*said["findings"]]
    for row in said["rows"]:
        told += row["findings"]
    if said["rows"] and all(row["state"] == "ready" for row in said["rows"]):
        told += [finding for findings in said["errors"] for finding in findings]
        if not said["errors"]:
            told += [finding for finding in said["logged"] if finding not in told]
    codes = Counter(finding["code"] for finding in told)
    assert set(codes) - {case.also} == ({case.code} if case.code else set()), told
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
    assert [name for name, count in Counter(map(str, CASES)).items() if count > 1] == []
    assert {case.code for case in CASES} <= {"", *CODES}
