"""What is known of a call holds inside a `with` block: on its thread, in its task, and nowhere else."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest
from pluginhost import ConfigurationError, context
from pluginhost.callers import current


def test_it_holds_inside_and_not_outside() -> None:
    assert current() == {}
    with context(customer="c-7", tenant="acme"):
        assert current() == {"customer": "c-7", "tenant": "acme"}
    assert current() == {}


def test_one_within_another_adds_to_it_and_comes_first() -> None:
    with context(customer="c-7", tenant="acme"):
        with context(customer="c-8", region="eu"):
            assert current() == {"customer": "c-8", "tenant": "acme", "region": "eu"}
        assert current() == {"customer": "c-7", "tenant": "acme"}


def test_it_ends_with_what_is_raised_inside() -> None:
    with pytest.raises(KeyError), context(customer="c-7"):
        raise KeyError("customer")
    assert current() == {}


def test_another_thread_has_none_of_it_unless_it_is_given() -> None:
    seen = []

    def look() -> None:
        seen.append(dict(current()))

    with context(customer="c-7"):
        for target in (look, contextvars.copy_context().run):
            arguments = () if target is look else (look,)
            thread = threading.Thread(target=target, args=arguments)
            thread.start()
            thread.join()
    assert seen == [{}, {"customer": "c-7"}]


def test_threads_have_each_their_own() -> None:
    seen: dict[str, set[str]] = {}
    all_inside = threading.Barrier(4)

    def look(name: str) -> None:
        with context(customer=name):
            all_inside.wait(30)
            seen[name] = {current()["customer"] for _ in range(1_000)}

    threads = [threading.Thread(target=look, args=(f"c-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {f"c-{number}": {f"c-{number}"} for number in range(4)}


def test_tasks_have_each_their_own_and_what_held_where_they_began() -> None:
    async def of(name: str, inside: asyncio.Barrier) -> dict[str, str]:
        with context(customer=name):
            await inside.wait()
            return dict(current())

    async def run() -> list[dict[str, str]]:
        inside = asyncio.Barrier(2)
        with context(tenant="acme"):
            tasks = [asyncio.create_task(of(name, inside)) for name in ("c-1", "c-2")]
        return [*await asyncio.gather(*tasks), dict(current())]

    assert asyncio.run(run()) == [
        {"tenant": "acme", "customer": "c-1"},
        {"tenant": "acme", "customer": "c-2"},
        {},
    ]


@pytest.mark.parametrize("value", [7, None, b"c-7", ["c-7"], type("Text", (str,), {})("c-7")])
def test_a_value_that_is_no_text_is_told(value: Any) -> None:
    """A number would never be one of a rule's texts, and nobody would know why."""
    with (
        pytest.raises(ConfigurationError, match="customer is no text") as caught,
        context(tenant="acme", customer=value),
    ):
        pass
    assert caught.value.finding.hint == "give one: customer=str(…)"
    assert current() == {}


def test_what_is_known_cannot_be_changed_where_nothing_is() -> None:
    held: Any = current()
    with pytest.raises(TypeError):
        held["customer"] = "c-7"
