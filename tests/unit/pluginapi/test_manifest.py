from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginapi.manifest import BuiltAgainst, PluginEntry, Provides, Requires, is_program
from pluginhost import metadata

from pluginapi import Manifest, ManifestError

texts = st.lists(st.text()).map(tuple)
requires = st.builds(Requires, texts, texts, texts, texts)
plugins = st.builds(PluginEntry, st.text(), st.text(), st.text(), st.none() | texts, texts, requires)
names = st.from_regex(r"[a-z][a-z0-9._-]*(/[a-z][a-z0-9._-]*)*", fullmatch=True)
contracts = st.lists(st.text(), min_size=1).map(tuple)
programs = st.builds(PluginEntry, st.text(), st.text(), st.text(), contracts, texts, requires, names)
manifests = st.builds(
    Manifest,
    st.none() | st.builds(BuiltAgainst, st.text(), st.text(), st.text(), st.text()),
    st.none() | st.builds(Provides, st.text(), st.text(), texts),
    st.lists(plugins | programs).map(tuple),
)


@given(manifests)
def test_a_manifest_survives_json(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(manifests)
def test_the_host_reads_what_pluginapi_writes(manifest: Manifest) -> None:
    """The host has a reader of its own, since it must not import the API package in a survey: both agree."""
    read = metadata.parse_manifest(manifest.to_json().encode())
    assert read.malformed == ""
    assert read.api == (manifest.api.package if manifest.api else None)
    assert read.fingerprint == (manifest.api.fingerprint if manifest.api else None)
    assert read.provides == (manifest.provides.package if manifest.provides else None)
    for plugin in {(plugin.group, plugin.name): plugin for plugin in manifest.plugins}.values():
        assert read.plugins[plugin.group, plugin.name] == (
            plugin.entry_point,
            None if plugin.contracts is None else [*plugin.contracts],
            [*plugin.capabilities],
            {key: [*texts] for key in metadata.REQUIRES if (texts := getattr(plugin.requires, key))},
            plugin.program or "",
        )


def test_both_readers_know_the_same_requirements() -> None:
    assert Requires.__slots__ == metadata.REQUIRES


def plugin_json(**facts: object) -> str:
    """Returns a manifest with one plugin, of which `facts` are told besides."""
    plugin = {"group": "g", "name": "n", "entry_point": "m", "contracts": None, "capabilities": [], **facts}
    return json.dumps({"schema": 1, "api": None, "provides": None, "plugins": [plugin]})


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, Requires()),
        ({"requires": {}}, Requires()),
        ({"requires": {"host": ["streaming"]}}, Requires(host=("streaming",))),
        ({"requires": {"plugins": ["b", "a"], "contracts": [], "later": 1}}, Requires(plugins=("b", "a"))),
    ],
)
def test_what_a_manifest_does_not_say_it_does_not_require(facts: dict[str, object], expected: Requires) -> None:
    [plugin] = Manifest.from_json(plugin_json(**facts)).plugins
    assert plugin.requires == expected
    [(*_, read, program)] = metadata.parse_manifest(plugin_json(**facts).encode()).plugins.values()
    assert (plugin.program, program) == (None, "")
    assert read == {key: [*texts] for key in metadata.REQUIRES if (texts := getattr(expected, key))}


@pytest.mark.parametrize(
    "requires", [None, 7, "english", ["english"], {"plugins": "english"}, {"host": None}, {"contracts": ["a", 1]}]
)
def test_requirements_of_another_shape_are_refused_by_both_readers(requires: object) -> None:
    with pytest.raises(ManifestError, match="malformed: TypeError"):
        Manifest.from_json(plugin_json(requires=requires))
    assert metadata.parse_manifest(plugin_json(requires=requires).encode()).malformed.startswith("TypeError: ")


@pytest.mark.parametrize("program", ["greeter", "pluginhost_gopher/greeter", "a/b/c d/größe", "a..b/.c"])
def test_a_program_is_a_file_of_the_wheel_or_a_name(program: str) -> None:
    text = plugin_json(program=program, contracts=["Greeter"])
    [plugin] = Manifest.from_json(text).plugins
    [(*_, read)] = metadata.parse_manifest(text.encode()).plugins.values()
    assert plugin.program == read == program


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        *(({"program": value}, "TypeError") for value in (7, ["greeter"], True)),
        *(
            ({"program": value}, "ValueError")
            for value in (
                "",
                "/bin/sh",
                "..",
                "../greeter",
                "a/../../b",
                "a//b",
                "a/",
                "./a",
                "a\\b",
                "C:/b",
                "a\nb",
                "\0",
            )
        ),
        *(({"contracts": value}, "ValueError") for value in (None, [])),
    ],
)
def test_a_program_of_another_shape_is_refused_by_both_readers(facts: dict[str, object], kind: str) -> None:
    """It would lead out of the distribution; and nothing but its contracts says what it serves."""
    text = plugin_json(**{"program": "greeter", "contracts": ["Greeter"]} | facts)
    with pytest.raises(ManifestError, match=f"malformed: {kind}"):
        Manifest.from_json(text)
    assert metadata.parse_manifest(text.encode()).malformed.startswith(f"{kind}: ")


@given(st.text())
def test_both_readers_agree_upon_what_a_program_is(text: str) -> None:
    assert is_program(text) == metadata.is_program(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["schema", "api", "plugins", "provides"]), inner),
)


@given(
    json_values
    | st.fixed_dictionaries({"schema": st.just(1), "api": json_values, "provides": json_values, "plugins": json_values})
)
def test_whatever_is_not_a_manifest_is_refused_by_both_readers_alike(value: object) -> None:
    text = json.dumps(value)
    malformed = metadata.parse_manifest(text.encode()).malformed
    try:
        Manifest.from_json(text)
    except ManifestError:
        pass
    else:
        assert malformed == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', "[" * 100_000])
def test_a_malformed_manifest_is_one_clear_error(text: str) -> None:
    with pytest.raises(ManifestError, match="manifest"):
        Manifest.from_json(text)
