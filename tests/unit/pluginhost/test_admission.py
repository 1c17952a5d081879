from __future__ import annotations

import marshal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from pluginhost import Finding, PluginRefused, admission
from pluginhost.discovery import Discovery
from pluginhost.metadata import Manifest
from pluginhost.survey import Candidate, Distribution, Facts, Row, Survey

API = Distribution("pluginapi", "1.2.0", "/site", "/site/pluginapi-1.2.0.dist-info", Facts())


def candidate(*requires: str, value: str = "some:New", manifest: Manifest | None = None) -> Candidate:
    facts = Facts([*requires], manifest=manifest)
    distribution = Distribution("some", "1.0", "/site", "/site/some-1.0.dist-info", facts)
    return Candidate("pluginhost.plugins", "some", value, distribution)


def admit(*candidates: Candidate, api: Distribution = API) -> Survey:
    discovery = Discovery([])
    discovery.candidates, discovery.api = list(candidates), api
    return admission.admit(discovery, "pluginapi")


def codes(*requires: str, value: str = "some:New", manifest: Manifest | None = None) -> list[str]:
    [row] = admit(candidate(*requires, value=value, manifest=manifest))
    return [finding.code for finding in row.findings if finding.code != "dependency-missing"]


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        (["pluginapi~=1.0"], []),
        (["PluginAPI (>=1.0)"], []),
        (["other", "pluginapi==1.2.*"], []),
        (["pluginapi~=2.0"], ["pin-unsatisfied"]),
        (["pluginapi>=1", "pluginapi<1.1"], ["pin-unsatisfied"]),
        (["pluginapi~=1.0; python_version < '3'"], ["pin-missing"]),
        (["pluginapi~=1.0; python_version >= '3'"], []),
        (["pluginapi~=1.0; extra == 'x'"], ["pin-missing"]),
        (["pluginapi"], ["pin-missing"]),
        (["other~=1.0"], ["pin-missing"]),
        ([], ["pin-missing"]),
        (["pluginapi~=1.0", "not a requirement !"], ["pin-malformed"]),
    ],
)
def test_the_pin_is_judged_with_its_markers(requires: list[str], expected: list[str]) -> None:
    assert codes(*requires) == expected


@given(st.sampled_from(["~=", ">=", "<=", "==", "!=", "<", ">"]), st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_the_verdict_is_packagings(operator: str, version: tuple[int, int]) -> None:
    specifier = f"{operator}{version[0]}.{version[1]}"
    assert (codes(f"pluginapi{specifier}") == []) == SpecifierSet(specifier).contains("1.2.0", prereleases=True)


@pytest.mark.parametrize("value", ["a", "a.b", "a:New", "a.b : New", "a:X.new", "a:New [extra]"])
def test_these_values_are_entry_points(value: str) -> None:
    assert codes("pluginapi~=1.0", value=value) == []


@pytest.mark.parametrize("value", ["", ":New", "a b", "a:b:c", "a/b:New", "../a:New", "a:", "a..b", "a:New()", "1a"])
def test_these_values_are_not(value: str) -> None:
    assert codes("pluginapi~=1.0", value=value) == ["entry-point-malformed"]


def test_a_fork_is_the_same_version_with_another_fingerprint() -> None:
    own, built = Manifest(), Manifest()
    own.provides, own.provides_fingerprint = "pluginapi", "sha256:own"
    api = Distribution("pluginapi", "1.2.0", "/site", "/site/x", Facts(manifest=own))
    for version, fingerprint, expected in [
        ("1.2.0", "sha256:own", []),
        ("1.2.0", "sha256:other", ["api-forked"]),
        ("1.1.0", "sha256:other", []),
    ]:
        built.api, built.version, built.fingerprint = "pluginapi", version, fingerprint
        [row] = admit(candidate("pluginapi~=1.0", manifest=built), api=api)
        assert [finding.code for finding in row.findings] == expected


def test_a_malformed_or_contradicting_manifest_refuses() -> None:
    assert codes("pluginapi~=1.0", manifest=Manifest("no JSON")) == ["manifest-malformed"]
    other = Manifest()
    other.plugins["pluginhost.plugins", "some"] = ("elsewhere:New", None, [], {}, "")
    assert codes("pluginapi~=1.0", manifest=other) == ["manifest-mismatch"]


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert codes(value="a b", manifest=Manifest("no JSON")) == [
        "entry-point-malformed",
        "pin-missing",
        "manifest-malformed",
    ]


def test_disabled_is_a_state_of_its_own() -> None:
    [row] = admit(candidate("pluginapi~=1.0"))
    assert row.state == "ready"
    row.barred = Finding("disabled", "it is disabled", "enable it")
    assert row.state == "disabled"
    with pytest.raises(PluginRefused, match="disabled"):
        row.require_ready()


def test_a_row_tells_what_the_manifest_says() -> None:
    stamped = Manifest()
    stamped.api, stamped.version = "pluginapi", "1.1.0"
    requires = {"plugins": ["english"], "host": ["streaming"]}
    stamped.plugins["pluginhost.plugins", "some"] = ("some:New", ["Greeter"], ["loud"], requires, "")
    [row] = admit(candidate("pluginapi~=1.0", manifest=stamped))
    assert (row.requires, row.built_against) == (requires, "1.1.0")
    assert row.to_dict()["requires"] == requires
    again = Row.from_plain(marshal.loads(marshal.dumps(row.to_plain())))
    assert (again.contracts, again.capabilities) == (["Greeter"], ["loud"])
    assert (again.requires, again.built_against) == (requires, "1.1.0")
    stamped.api = "acme_api"
    [row] = admit(candidate("pluginapi~=1.0", manifest=stamped))
    assert row.built_against == "", "another API's versions say nothing here"
    [row] = admit(candidate("pluginapi~=1.0"))
    assert (row.requires, row.built_against) == ({}, "")


def test_a_survey_survives_the_index() -> None:
    program = candidate("pluginapi~=1.0")
    program.program = "some/greeter"
    survey = admit(candidate("pluginapi~=1.0"), candidate(), program)
    again = Survey.from_plain(marshal.loads(marshal.dumps(survey.to_plain())))
    assert again.to_dict() == survey.to_dict()
    assert [row.candidate.program for row in again] == ["", "", "some/greeter"]
    assert [row.state for row in again] == [row.state for row in survey]
