from __future__ import annotations

import pytest
from pluginhost import ConfigurationError, PluginManager
from pluginhost.config import plugin_settings


def test_what_is_left_out_has_its_default() -> None:
    settings = plugin_settings({"a": {}, "b": {"enabled": False, "config": {"x": 1}}})
    assert (settings["a"].enabled, settings["a"].config) == (True, {})
    assert (settings["b"].enabled, settings["b"].config) == (False, {"x": 1})


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"enable": True}, "plugins.a.enable"),
        ({"enabled": 1}, "plugins.a.enabled"),
        ({"config": 3}, "plugins.a.config"),
    ],
)
def test_a_wrong_setting_is_named_by_its_path(settings: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigurationError, match=path) as caught:
        PluginManager(plugins={"a": settings})
    assert caught.value.finding.code == "configuration-wrong"
