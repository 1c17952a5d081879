from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginapi.manifest import BuiltAgainst, PluginEntry, Provides, Requires
from pluginhost import metadata

from pluginapi import Manifest, ManifestError

texts = st.lists(st.text()).map(tuple)
requires = st.builds(Requires, texts, texts, texts, texts)
plugins = st.builds(PluginEntry, st.text(), st.text(), st.text(), st.none() | texts, texts, requires)
manifests = st.builds(
    Manifest,
    st.none() | st.builds(BuiltAgainst, st.text(), st.text(), st.text(), st.text()),
    st.none() | st.builds(Provides, st.text(), st.text(), texts),
    st.lists(plugins).map(tuple),
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
    [(*_, read)] = metadata.parse_manifest(plugin_json(**facts).encode()).plugins.values()
    assert read == {key: [*texts] for key in metadata.REQUIRES if (texts := getattr(expected, key))}


@pytest.mark.parametrize(
    "requires", [None, 7, "english", ["english"], {"plugins": "english"}, {"host": None}, {"contracts": ["a", 1]}]
)
def test_requirements_of_another_shape_are_refused_by_both_readers(requires: object) -> None:
    with pytest.raises(ManifestError, match="malformed: TypeError"):
        Manifest.from_json(plugin_json(requires=requires))
    assert metadata.parse_manifest(plugin_json(requires=requires).encode()).malformed.startswith("TypeError: ")


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
