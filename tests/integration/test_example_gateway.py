"""The example gateway: a real server with real wheels, upgraded and broken under load, and looked at in a real browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from browser import Browser
from forge import BIN, ROOT
from handmade import Handmade
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

GATEWAY = ROOT / "examples" / "gateway"
PATIENCE = 60
"""Seconds until something must have come about, on a busy machine; it takes few."""

CONFIGURATION = """
[paths."/"]
middleware = ["stamp"]
[paths."/stamp-auth"]
middleware = ["stamp", "auth"]
[paths."/auth-stamp"]
middleware = ["auth", "stamp"]
[paths."/limit"]
middleware = ["limit"]
settings = { per_second = 0 }
[paths."/limit/not"]
middleware = ["limit"]
settings = { per_second = 1_000_000 }
[paths."/limit/wrong"]
middleware = ["stamp", "limit"]
[paths."/words"]
modifiers = ["rename", "shout"]
settings = { rename = { client = "customer" } }
[paths."/refuse"]
middleware = ["stamp", "flaky"]
modifiers = ["rename"]
[paths."/pass"]
middleware = ["stamp", "flaky"]
modifiers = ["rename"]
on_failure = "pass"
[paths."/backed"]
middleware = ["backed"]
[paths."/lost"]
middleware = ["stamp", "lost"]
[paths."/lost/pass"]
middleware = ["stamp", "lost"]
on_failure = "pass"
[paths."/rollout"]
middleware = ["rollout"]

[host.plugins]
stamp = { reload = "watch" }
flaky = { check_replies = true }
auth = { config = { keys = ["sesame"] } }
shout = { isolation = "process" }
[host.instances]
stamp-beta = { plugin = "stamp", config = { mark = "beta" } }
failing = { plugin = "flaky", breaker_failures = 1, breaker_seconds = 3600 }
[host.routes.backed]
default = "failing"
order = ["stamp"]
[host.routes.rollout]
default = "stamp"
rules = [{ when = { customer = ["acme"] }, use = "stamp-beta" }]
weights = { stamp-beta = 30 }
key = "customer"
"""
INJECTED = """<img src=x onerror="document.title = 'owned'"><script>document.title = 'owned'</script>""" + "x" * 200


class Answer(NamedTuple):
    """What the gateway answered."""

    status: int
    headers: dict[str, str]
    body: str


class Gateway:
    """A gateway that serves, in a process of its own.

    Attributes:
        url: Where.
    """

    def __init__(self, python: Path, folder: Path) -> None:
        (folder / "gateway.toml").write_text(CONFIGURATION)
        self._log = folder / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, GATEWAY / "gateway.py", folder / "gateway.toml", "--port", "0"],
                env={"PATH": os.environ["PATH"], "HOME": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(lambda: "running on" in self.log() or self._process.poll() is not None)
        found = re.search(r"running on (http://127\.0\.0\.1:(\d+))", self.log())
        assert found, self.log()
        self.url, self._port = found[1], int(found[2])

    def ask(self, path: str, body: str = "", **headers: str) -> Answer:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST" if body else "GET", path, body or None, named)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read().decode())

    def figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = json.loads(self.ask("/plugins.json").body)
        return figures

    def plugin(self, name: str) -> dict[str, Any]:
        return next(each for each in self.figures()["plugins"] if each["plugin"] == name)

    def log(self) -> str:
        return self._log.read_text()

    def end(self) -> None:
        self._process.terminate()
        assert self._process.wait(PATIENCE) == -signal.SIGTERM
        assert "Traceback" not in self.log()
        assert "shutdown complete" in self.log()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the plugins of the example are installed."""
    folder = tmp_path_factory.mktemp("gateway")
    subprocess.run([BIN / "uv", "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
    [site] = folder.glob("venv/lib/python*/site-packages")
    # The host, Starlette, uvicorn, pip and hatchling are those of the test's own environment.
    site.joinpath("of_the_tests.pth").write_text(sysconfig.get_paths()["purelib"])
    python = folder / "venv/bin/python"
    install(python, GATEWAY / "gateway-api")
    install(python, *GATEWAY.glob("middleware/*"), *GATEWAY.glob("modifiers/*"))
    return python


@pytest.fixture(scope="module")
def gateway(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(python, tmp_path_factory.mktemp("serving"))
    yield gateway
    gateway.end()


def install(python: Path, *what: Path) -> None:
    """Installs wheels, or projects, whose wheels are built for that."""
    options = ["--quiet", "--offline", "--no-index", "--no-deps", "--no-build-isolation", "--no-cache"]
    subprocess.run([BIN / "uv", "pip", "install", *options, "--python", python, *what], check=True)


def stamp(folder: Path, version: str, more: str = "") -> Path:
    """Returns a wheel of the middleware of another version."""
    source = (GATEWAY / "middleware/stamp/gateway_stamp.py").read_text().replace("1.0.0", version)
    wheel = Handmade("gateway-stamp", version, {"gateway_stamp.py": f"{source}\n{more}"})
    wheel.edit("METADATA", lambda text: text.replace("pluginapi", "gateway-api"))
    wheel.edit("entry_points.txt", lambda text: "[gateway.plugins]\nstamp = gateway_stamp:New\n")
    return wheel.write(folder)


def test_a_middleware_changes_a_header_on_the_way_back(gateway: Gateway) -> None:
    answer = gateway.ask("/some/path?a=b", "hello", X_Id="7", Host="elsewhere")
    assert answer.status == 200
    assert answer.headers["x-stamp"].startswith("1.")
    echo = {"method": "POST", "path": "/some/path", "query": "a=b", "headers": {"x-id": "7"}, "body": "hello"}
    assert json.loads(answer.body) == echo


def test_a_middleware_answers_itself_and_only_those_before_it_see_that(gateway: Gateway) -> None:
    for key, status in (("", 401), ("wrong", 401), ("sesame", 200)):
        outer, inner = gateway.ask("/stamp-auth", X_Key=key), gateway.ask("/auth-stamp", X_Key=key)
        assert (outer.status, inner.status) == (status, status)
        assert "x-stamp" in outer.headers
        assert ("x-stamp" in inner.headers) is (status == 200)


def test_the_longest_prefix_decides_and_brings_its_settings(gateway: Gateway) -> None:
    statuses = {
        path: gateway.ask(path).status for path in ("/limit", "/limit/x", "/limit/not", "/limit/not/x", "/limited")
    }
    assert statuses == {"/limit": 429, "/limit/x": 429, "/limit/not": 200, "/limit/not/x": 200, "/limited": 200}


def test_a_plugins_own_word_is_told_and_goes_through_those_before_it(gateway: Gateway) -> None:
    answer = gateway.ask("/limit/wrong")
    assert (answer.status, "x-stamp" in answer.headers) == (400, True)
    assert answer.body == "the settings of /limit/wrong have no whole number as per_second\n"
    assert gateway.ask("/words", "{").status == 400


def test_modifiers_change_what_the_service_is_asked_and_what_it_answers(gateway: Gateway) -> None:
    answer = gateway.ask("/words", '{"client": 7}')
    assert answer.status == 200
    assert json.loads(json.loads(answer.body)["BODY"]) == {"CUSTOMER": 7}


@pytest.mark.parametrize(("when", "is_asked"), [("", False), ("/late", True)])
def test_a_middleware_that_fails_is_passed_by_or_answered_502_as_its_path_says(
    gateway: Gateway, when: str, is_asked: bool
) -> None:
    """The service is asked once at most, whether the middleware failed before that or after."""
    calls = [gateway.plugin("rename")["calls"]]  # two for each request of the service
    refused = gateway.ask(f"/refuse{when}")
    calls.append(gateway.plugin("rename")["calls"])
    passed = gateway.ask(f"/pass{when}")
    calls.append(gateway.plugin("rename")["calls"])
    assert (refused.status, refused.body) == (502, "flaky failed\n")
    assert passed.status == 200
    assert json.loads(passed.body)["path"] == f"/pass{when}"
    assert "x-stamp" in refused.headers.keys() & passed.headers.keys()
    assert [calls[1] - calls[0], calls[2] - calls[1]] == [2 if is_asked else 0, 2]


def test_a_middleware_that_is_not_installed_costs_only_its_paths(gateway: Gateway) -> None:
    assert gateway.ask("/lost").status == 502
    assert gateway.ask("/lost/pass").status == 200
    assert gateway.ask("/").status == 200


def test_the_next_in_line_answers_while_the_breaker_is_open(gateway: Gateway) -> None:
    """The call that failed is not made again: the middleware may have done something."""
    answers = [gateway.ask("/backed") for _ in range(3)]
    assert [answer.status for answer in answers] == [502, 200, 200]
    assert ["x-stamp" in answer.headers for answer in answers] == [False, True, True]


def test_customers_are_rolled_out_to_by_rule_and_by_share_the_same_each_time(gateway: Gateway) -> None:
    assert gateway.ask("/rollout", X_Customer="acme").headers["x-stamp"].endswith(" beta")
    seen = {f"c-{number}": "" for number in range(40)}
    for customer in [*seen, *seen]:
        mark = gateway.ask("/rollout", X_Customer=customer).headers["x-stamp"]
        assert seen[customer] in ("", mark)
        seen[customer] = mark
    assert 4 <= sum(mark.endswith(" beta") for mark in seen.values()) <= 20
    [route] = [each for each in gateway.figures()["routes"] if each["route"] == "rollout"]
    assert sum(each["calls"] for each in route["plugins"]) == 81


def test_a_middleware_is_upgraded_downgraded_broken_and_mended_under_load(
    gateway: Gateway, python: Path, tmp_path: Path
) -> None:
    """By pip, while another process sends requests: not one fails."""

    def pip(version: str, more: str = "") -> None:
        command: list[str | Path] = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--no-compile",
        ]
        environment = os.environ | {"PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        subprocess.run([*command, stamp(tmp_path, version, more)], env=environment, check=True)

    def serves(version: str) -> None:
        until(lambda: gateway.ask("/").headers["x-stamp"] == version)
        assert gateway.plugin("stamp")["version"] == version

    install(python, stamp(tmp_path, "2.0.0"))
    serves("2.0.0")
    load = subprocess.Popen(
        [sys.executable, GATEWAY / "load.py", "--url", f"{gateway.url}/", "--", "cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: gateway.plugin("stamp")["calls"] > 500)
        for version in ("2.1.0", "2.0.0"):
            pip(version)
            serves(version)
        pip("2.2.0", "raise ValueError('out of order')")
        until(lambda: gateway.plugin("stamp")["reload_error"])
        serves("2.0.0")
        pip("2.3.0")
        serves("2.3.0")
        assert gateway.plugin("stamp")["reload_error"] is None
        out, errors = load.communicate(timeout=PATIENCE)
    finally:
        load.kill()
        load.wait()
    [total, *versions] = out.splitlines()
    assert re.fullmatch(r"[\d,]+ requests, 0 failed", total), (out, errors)
    assert [line.split(":")[0] for line in versions] == ["stamp 2.0.0", "stamp 2.1.0", "stamp 2.3.0"]
    assert (errors, load.returncode) == ("", 0)


SCROLLED = """(() => {
    for (const cell of document.querySelectorAll("td"))
        if (/^[\\d.,]+( .?s)?$/.test(cell.textContent)) cell.textContent = "1,230 ms";
    return [document.documentElement, ...document.querySelectorAll(".panel")]
        .filter(it => it.scrollWidth > it.clientWidth).length;
})()"""
ROWS = """[...document.querySelectorAll("#NAME tbody tr")].map(
    row => [...row.cells].map(cell => [...cell.childNodes].map(part => part.textContent).join(" ")))"""


def of_plugin(it: dict[str, Any]) -> list[str]:
    """Returns what the page shows of a plugin, but for the calls per second, which are those of the page's own second."""
    state = it["state"] if it["breaker"] == "closed" else f"breaker {it['breaker']}"
    numbers = [f"{it[name]:,}" for name in ("generation", "calls", "failures")]
    times = [spoken(it[name]) for name in ("p50", "p99", "reload_seconds")]
    return [f"{it['plugin']} {it['distribution']} {it['version']}", state, *numbers, *times]


def spoken(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    unit, number = ("µs", seconds * 1e6) if seconds < 1e-3 else ("ms", seconds * 1e3) if seconds < 1 else ("s", seconds)
    return f"{float(f'{number:.3g}'):,g} {unit}"


def test_the_page_shows_live_what_the_manager_says_and_runs_nothing_of_what_plugins_say(
    gateway: Gateway, python: Path, tmp_path: Path
) -> None:
    with Browser(tmp_path) as page:
        page.show(1400, "light")
        page.open(f"{gateway.url}/plugins")

        def shown() -> list[list[str]]:
            rows: list[list[str]] = page.run(ROWS.replace("NAME", "plugins"))
            return [[*row[:4], *row[5:]] for row in rows if len(row) == 9]

        def agrees() -> bool:
            return shown() == [
                of_plugin(it) for it in sorted(gateway.figures()["plugins"], key=lambda it: it["plugin"])
            ]

        until(agrees)
        calls = gateway.plugin("stamp")["calls"]
        for customer in ("acme", "umbrella", "acme"):
            gateway.ask("/rollout", X_Customer=customer)
        gateway.ask("/")
        assert gateway.plugin("stamp")["calls"] > calls
        until(agrees)
        routes = {it["route"]: it for it in gateway.figures()["routes"]}
        rows = page.run(ROWS.replace("NAME", "routes"))
        assert [row[0].split()[0] for row in rows if row[0] and len(row) > 1] == sorted(routes)
        [beta] = [row for row in rows if row[1:3] == ["stamp-beta", "30 %"]]
        [leg] = [each for each in routes["rollout"]["plugins"] if each["plugin"] == "stamp-beta"]
        assert beta[4:] == [f"{leg['calls']:,}", f"{leg['failures']:,}", spoken(leg["p50"]), spoken(leg["p99"])]

        install(python, stamp(tmp_path, "3.0.0", f"raise ValueError({INJECTED!r})"))
        until(lambda: INJECTED in page.run("document.getElementById('plugins').textContent"))
        assert page.run("document.querySelectorAll('table img, table script').length") == 0
        papers = set()
        for width, scheme in ((1400, "light"), (1400, "dark"), (800, "dark"), (800, "light")):
            page.show(width, scheme)
            assert page.run(SCROLLED) == 0, "something must be scrolled sideways on a machine however slow"
            papers.add((scheme, page.run("getComputedStyle(document.body).backgroundColor")))
        assert len(papers) == 2
        install(python, stamp(tmp_path, "3.1.0"))
        until(lambda: any(row[0] == "stamp gateway-stamp 3.1.0" for row in shown()))
        assert INJECTED not in page.run("document.getElementById('plugins').textContent")
        assert page.run("document.title") == "Gateway: plugins and routes"

        assert page.run("[...new Set(performance.getEntriesByType('resource').map(it => it.name))]") == [
            f"{gateway.url}/plugins.json"
        ]
        page.run("window.fetch = async () => { throw new Error() }, 0")
        until(lambda: page.run("document.getElementById('age').textContent") == "the gateway does not answer")
        assert page.errors == []


@pytest.mark.parametrize(
    ("configuration", "told"),
    [
        ('[paths."/"]\nmidleware = []', "midleware"),
        ("[host]\nplugin = 1", "plugin is not a setting"),
        ("[", "end of document"),
    ],
)
def test_a_wrong_configuration_is_told(python: Path, tmp_path: Path, configuration: str, told: str) -> None:
    (file := tmp_path / "gateway.toml").write_text(configuration)
    command = [python, GATEWAY / "gateway.py", file]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{file}: ")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_the_gateway_is_short() -> None:
    assert len((GATEWAY / "gateway.py").read_text("utf-8").splitlines()) < 250
