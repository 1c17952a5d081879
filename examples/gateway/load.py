"""Sends requests to a gateway while a command runs, and tells how they went.

- `python load.py -- pip install ./stamp` sends them until that has ended and another version of `stamp` has answered

It exits with 1 if a request failed, or the command, or if no other version has answered in time.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

PATIENCE = 30
"""Seconds for a gateway to start, and for another version to answer."""
PAUSE = 0.002
"""Seconds between two requests of a connection: the command is to have its share of a processor, too."""


class Load:
    """Requests over connections that are kept.

    Attributes:
        versions: How many responses had which `x-stamp`, in the order in which these came first.
        failures: What went wrong.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self.versions = Counter[str]()
        self.failures: list[str] = []
        self.is_over = False

    async def send(self) -> None:
        """Sends one request after the other on one connection until it is over."""
        reader, writer = await self._connect()
        with contextlib.closing(writer):
            while not self.is_over:
                try:
                    await self._one(reader, writer)
                    await asyncio.sleep(PAUSE)
                except (OSError, EOFError, ValueError) as exc:
                    self.failures.append(repr(exc))
                    reader, writer = await self._connect()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return await asyncio.open_connection(self._url.hostname, self._url.port)
            except OSError:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.1)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"GET {self._url.path or '/'} HTTP/1.1\r\nhost: {self._url.netloc}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        if status.split()[1] == "200":
            self.versions[headers.get("x-stamp", "none")] += 1
        else:
            self.failures.append(f"{status}: {body.decode(errors='replace').strip()}")


async def run(url: str, connections: int, command: list[str]) -> bool:
    """Sends requests while a command runs, prints how they went, and returns whether all is well."""
    load = Load(url)
    senders = [asyncio.create_task(load.send()) for _ in range(connections)]
    while not load.versions and not load.failures and not any(sender.done() for sender in senders):
        await asyncio.sleep(0.01)
    process = await asyncio.create_subprocess_exec(*command)
    status = await process.wait()
    end = time.monotonic() + PATIENCE
    while status == 0 and len(load.versions) < 2 and time.monotonic() < end:
        await asyncio.sleep(0.01)
    load.is_over = True
    await asyncio.gather(*senders)
    print(f"{load.versions.total() + len(load.failures):,} requests, {len(load.failures):,} failed")
    for version, count in load.versions.items():
        print(f"stamp {version}: {count:,}")
    for failure, count in Counter(load.failures).most_common(5):
        print(f"{count:,} times: {failure}", file=sys.stderr)
    return status == 0 and not load.failures and len(load.versions) > 1


def main() -> None:
    """Runs the command under load."""
    parser = argparse.ArgumentParser(description="Sends requests to a gateway while a command runs.")
    parser.add_argument("command", nargs="+", help="what is run, and its arguments")
    parser.add_argument("--url", default="http://127.0.0.1:8000/", help="where requests go")
    parser.add_argument("--connections", type=int, default=4, help="how many are sent at a time")
    args = parser.parse_args()
    sys.exit(0 if asyncio.run(run(args.url, args.connections, args.command)) else 1)


if __name__ == "__main__":
    main()
