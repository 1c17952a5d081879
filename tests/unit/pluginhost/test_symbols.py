from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest
from pluginhost import PluginLookupError, Symbol, symbols
from pluginhost.survey import Candidate, Distribution

CANDIDATE = Candidate("pluginhost.plugins", "some", "some:New", Distribution("some", "1.0", "", ""))


@pytest.fixture
def module() -> ModuleType:
    module = ModuleType("some")
    exec("Counter = 0\ndef Tick():\n    global Counter\n    Counter += 1\n    return Counter\n", vars(module))
    return module


def test_a_symbol_sees_what_the_plugin_rebinds_and_sets_what_it_reads(module: ModuleType) -> None:
    counter, tick = Symbol(module, "Counter", int, CANDIDATE), Symbol(module, "Tick", Callable[[], int], CANDIDATE)
    assert [tick() for _ in range(3)] == [1, 2, 3]
    assert counter.get() == 3
    counter.set(10)
    assert tick() == 11


@pytest.mark.parametrize(
    ("name", "type", "code"),
    [("Count", int, "symbol-missing"), ("Counter", str, "symbol-type"), ("Counter", Callable, "symbol-type")],
)
def test_a_missing_symbol_and_a_wrong_type_have_codes(module: ModuleType, name: str, type: type, code: str) -> None:
    with pytest.raises(PluginLookupError) as caught:
        Symbol(module, name, type, CANDIDATE)
    assert caught.value.finding.code == code


def test_a_value_of_another_type_is_not_set(module: ModuleType) -> None:
    counter = Symbol(module, "Counter", int, CANDIDATE)
    with pytest.raises(PluginLookupError, match="symbol-type"):
        counter.set("many")  # type: ignore[arg-type]
    assert counter.get() == 0


def test_a_symbol_whose_type_changed_is_told_when_it_is_read(module: ModuleType) -> None:
    counter = Symbol(module, "Counter", int, CANDIDATE)
    module.Counter = "three"  # type: ignore[attr-defined]
    with pytest.raises(PluginLookupError, match="symbol-type"):
        counter.get()


def test_eight_threads_read_a_symbol_while_it_is_set(module: ModuleType) -> None:
    counter = Symbol(module, "Counter", int, CANDIDATE)
    barrier = threading.Barrier(8)

    def work(number: int) -> bool:
        barrier.wait()
        for _ in range(1_000):
            counter.set(number)
            if counter.get() not in range(8):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_a_module_declares_its_configuration_by_a_type_that_describes_a_table() -> None:
    module = ModuleType("some")
    assert symbols.config_type(module) is None
    module.Config = dataclasses.make_dataclass("Config", ["size"])  # type: ignore[attr-defined]
    assert symbols.config_type(module) is module.Config
    for other in (type("Config", (), {}), {"size": 3}, module.Config("3")):
        module.Config = other  # type: ignore[attr-defined]
        assert symbols.config_type(module) is None, "what happens to have the name is none"
    assert symbols.config_type(object()) is None, "what stands in a module's place has no such names"  # type: ignore[arg-type]
