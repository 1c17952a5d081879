"""Every bad plugin of the zoo costs itself: the host lives, both good plugins serve, and one code tells what is wrong."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from pluginhost.catalogue import CODES
from zoo import calls, cases, factories, imports, inits, keeper, shutdowns
from zoo.driver import HOSTS_OWN, STATUS
from zoo.wheels import WHEEL_CASES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.cases import Case
    from zoo.keeper import Done

ALL_CASES = [*cases.CASES, *imports.CASES, *factories.CASES, *inits.CASES, *calls.CASES, *shutdowns.CASES, *WHEEL_CASES]
EVERY = int(os.environ.get("PLUGINHOST_ZOO", "40"))
"""Of how many cases one is run; the first of a kind is run always."""
LIMIT = 4096
"""Bytes of a finding at most."""
SLACK = 30
"""Seconds beyond a deadline, on a busy machine."""
END_SECONDS = 40
"""What may lie between the driver's last line and the end of its process."""


def missing(case: Case) -> str:
    """Returns why a case cannot be made here."""
    if case.needs and os.name != "posix":
        return "the system has no such thing"
    return "root may read everything" if case.needs == "user" and os.geteuid() == 0 else ""


def chosen() -> list[Case]:
    """Returns the cases that are run: all that bring bad calls, the first of each family and code, and some more."""
    first = {(case.family, case.code): case for case in reversed(ALL_CASES)}
    return [
        case
        for number, case in enumerate(ALL_CASES)
        if not missing(case) and (case.calls or number % EVERY == 0 or case is first[case.family, case.code])
    ]


@pytest.fixture(scope="module")
def zoo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Case, Done]]:
    """The outcomes of all cases that are asked for; several run at a time."""
    items = [item for item in request.session.items if item.path == request.path]
    wanted = dict.fromkeys(item.callspec.params["case"] for item in items if hasattr(item, "callspec"))
    with keeper.running(wanted, tmp_path_factory.mktemp("zoo")) as outcomes:
        yield outcomes


@pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in chosen()])
def test_a_bad_plugin_costs_itself_alone(case: Case, zoo: dict[Case, Done]) -> None:
    done = zoo[case].result()
    said = json.loads(done.stdout)
    assert "uncoded" not in said, said["uncoded"]
    assert done.returncode == STATUS, done.stderr.decode("utf-8", "replace")[-2000:]
    # The interpreter prints what a plugin's own thread, exit function or `__del__` raises, and the host nothing.
    own = re.findall(
        rb"(?:Exception in thread|Exception ignored (?:in|on)).*\nTraceback|Traceback.*\n.*weakref.py", done.stderr
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


@pytest.mark.parametrize(
    ("case", "number"),
    [
        pytest.param(case, number, id=f"{case}: {call.name}")
        for case in calls.CASES
        for number, call in enumerate(case.calls)
        if not missing(case)
    ],
)
def test_a_bad_call_costs_itself_alone(case: Case, number: int, zoo: dict[Case, Done]) -> None:
    call, said = case.calls[number], json.loads(zoo[case].result().stdout)["calls"][number]
    assert said["good"] == ["good Ada"] * len(HOSTS_OWN)
    assert said["goes_on"] == "fine"
    assert said["seconds"] < SLACK
    if not call.code:
        assert said.get("gets") == call.gets, said
        return
    assert "finding" in said, said
    finding = said["finding"]
    check_finding(finding)
    assert (finding["code"], finding["stage"]) == (call.code, "call")
    assert said["told"] == ["bad", "1.2.3", f"call_{number}"]
    assert said["text"] <= LIMIT
    assert said["more"] == 0
    assert said["cause"] or call.code != "call-failed"
    named = () if call.code == "breaker-open" else (f"call_{number}",)
    assert [part for part in ("zoo-bad", "1.2.3", *named, *call.known) if part not in finding["message"]] == []


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
    for case in calls.CASES:
        assert [name for name, count in Counter(call.name for call in case.calls).items() if count > 1] == []
