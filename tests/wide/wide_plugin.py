"""A plugin of the contracts `Wide` and `Named`."""

import asyncio
import os
import pathlib
import signal
import threading

from wide_api import Config, Greeter, Level, Named, PluginError, Refused, Wide

Capabilities = ("odd", "wide")
Answer = 42


class Plugin(Wide, Named):
    unit = "mm"
    title = "Wide"
    concurrency = 4

    def __init__(self):
        self._level, self._did, self._heard, self._items = Level.LOW, [], [], {"one": 1}
        self._inside, self._lock = 0, threading.Lock()

    # -- its life

    def init(self, host):
        self._host = host
        self._config = host.config_as(Config)
        host.logger.info("init of %s", self.name)
        host.emit("wide.began", size=self._config.size)
        host.subscribe(lambda event: self._heard.append((event.topic, event.source, event.fields["text"])), "told.")

    def validate(self):
        if self._config.size < 0:
            raise ValueError("a size below zero")

    def shutdown(self):
        self._host.emit("wide.ended", size=self._config.size)

    # -- attributes

    @property
    def level(self):
        return self._level

    @level.setter
    def level(self, value):
        self._level = value

    @property
    def size(self):
        return self._config.size

    @property
    def broken(self):
        raise PluginError("broken")

    @broken.setter
    def broken(self, value):
        raise Refused(3, "not to be mended")

    def named(self):
        return f"{self.title} {self.name}"

    # -- arguments and values

    def defaults(self, a, b=20, /, c=30, *, d=40):
        return [a, b, c, d]

    def variadic(self, first, *rest, **named):
        return first, list(rest), named

    def numbers(self, whole, real, odd, flag):
        return whole, real, odd, flag

    def data(self, value):
        return value[::-1]

    def tree(self, value):
        return value

    def moments(self, value):
        return value

    def nested(self, value):
        return value

    def either(self, value):
        return value

    def enums(self, colour, levels):
        return [colour, *levels, *levels.values()]

    def path(self, value, others):
        return value.joinpath(*others)

    def anything(self, value):
        return value

    def nothing(self):
        return None

    # -- what goes wrong

    def fail(self, kind):
        raise ERRORS[kind]()

    def wrong_reply(self):
        return "text"

    # -- streams

    def count(self, to):
        self._did.append("begun")
        try:
            for number in range(to):
                if number == 5:
                    raise Refused(5, "five")
                yield number
        finally:
            self._did.append("closed")

    def did(self):
        did, self._did = self._did, []
        return did

    # -- coroutines

    async def later(self, value):
        await asyncio.sleep(0)
        return value

    async def wait(self, seconds):
        self._did.append("asleep")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self._did.append("cancelled")
            raise
        return "awake"

    async def fail_later(self, kind):
        await asyncio.sleep(0)
        raise ERRORS[kind]()

    async def count_later(self, to):
        from wide_api import Point

        try:
            for number in range(to):
                await asyncio.sleep(0)
                if number == 5:
                    raise Refused(5, "five")
                yield Point(number, -number)
        finally:
            self._did.append("closed")

    # -- Python's protocols

    def __call__(self, x, *, times=1):
        return x * times

    def __len__(self):
        return len(self._items)

    def __getitem__(self, key):
        return self._items[key]

    def __setitem__(self, key, value):
        self._items[key] = value

    def __contains__(self, key):
        return key in self._items

    def __iter__(self):
        yield from self._items

    # -- the host's services

    def configured(self):
        host = self._host
        return [dict(host.config), self._config.size, self._config.words, sorted(host.capabilities)]

    def say(self, text):
        self._host.logger.getChild("sub").warning("said %s", text)
        self._host.emit("wide.said", text=text)

    def heard(self):
        return self._heard

    def keep(self, text):
        file = self._host.data_folder / "kept.txt"
        file.write_text(text)
        return file

    def ask(self, name, whom):
        return self._host.get(name, Greeter).greet(whom)

    def greetings(self):
        return {name: greeter.greet("all") for name, greeter in self._host.all(Greeter).items()}

    # -- its process

    def pid(self):
        return os.getpid()

    def overlaps(self):
        with self._lock:
            self._inside += 1
            inside = self._inside
        threading.Event().wait(0.02)
        with self._lock:
            self._inside -= 1
        return inside

    def survive(self, marker):
        return die_once(marker)

    def survive_not(self, marker):
        return die_once(marker)

    async def survive_later(self, marker):
        return die_once(marker)


def die_once(marker: pathlib.Path) -> int:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


class Own(PluginError):
    """The plugin's own, which no host knows."""


ERRORS = {
    "own word": lambda: PluginError("no", 3),
    "refused": lambda: Refused(7, "why not"),
    "its own": lambda: Own("own"),
    "value": lambda: ValueError("a ü"),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "stop": StopIteration,
    "missing": lambda: NotImplementedError("no"),
    "group": lambda: ExceptionGroup("both", [ValueError("a"), PluginError("b")]),
    "large": lambda: ValueError("x" * 100_000),
}


def New():
    return Plugin()
