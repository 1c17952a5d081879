"""The catalogue of events is what is emitted, topic by topic and field by field."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pluginhost import Finding, PluginHostError, PluginManager
from pluginhost.events import TOPICS
from pluginhost.lifecycle import TRANSITIONS

import pluginapi

if TYPE_CHECKING:
    from pluginapi import Event

ELSEWHERE = {
    "plugin.late", "plugin.breaker", "plugin.died", "plugin.restarted", "plugin.reloaded", "plugin.reload_failed",
    "route.fallback", "route.promoted", "route.rolled_back", "route.changed",
}  # fmt: skip
"""What tells these has tests of its own, which hold them against the catalogue."""


class Fails(pluginapi.Plugin):
    def init(self, host: pluginapi.Host) -> None:
        raise RuntimeError


def test_every_event_of_the_host_is_in_the_catalogue_with_its_fields() -> None:
    told: list[Event] = []
    off = {"plugins": {"off": {"enabled": False}}}
    with PluginManager(configuration=off) as manager:
        manager.subscribe(told.append)
        for name, factory in {"some": pluginapi.Plugin, "off": pluginapi.Plugin, "fails": Fails}.items():
            manager.register(name, factory)
        for name in ("some", "off", "fails"):
            with contextlib.suppress(PluginHostError):
                manager.get(name, pluginapi.Plugin)
        handle = manager.handle("some")
        manager.stop("some")
        manager.start("some")
        manager.apply({"plugins": {"some": {"config": {"a": 1}}}})
        manager.unload("some")
        handle.move("discovered")
        handle.refuse("refused", PluginHostError(Finding("plugin-unknown", "no", "no")))
    assert {event.topic for event in told} == set(TOPICS) - ELSEWHERE
    for event in told:
        assert list(event.fields) == list(TOPICS[event.topic].fields), event.topic
        assert event.source == ""


def test_every_state_has_a_topic() -> None:
    assert {f"plugin.{state}" for state in TRANSITIONS} <= set(TOPICS)


def test_every_topic_says_what_has_happened() -> None:
    for topic in TOPICS.values():
        assert topic.says
        assert all(topic.fields.values())
