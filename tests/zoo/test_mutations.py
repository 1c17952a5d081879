"""Metadata files, mutated by a seeded chance: a survey never raises, and the good plugin beside them stays ready."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from forge import Forge
from pluginhost import PluginManager
from zoo.cases import FILES
from zoo.site_folder import SiteFolder, install_template
from zoo.test_zoo import check_finding

if TYPE_CHECKING:
    from collections.abc import Callable

MUTATIONS = int(os.environ.get("PLUGINHOST_MUTATIONS", "2000"))
BATCH = 10
"""Mutated distributions that one survey judges at once; each has a folder of its own."""
SECONDS = 60.0
"""What a survey may take, on a busy machine; most take some hundredths."""

PIECES = [
    *(
        bytes([byte])
        for byte in (0, 9, 10, 11, 12, 13, 27, 28, 32, 34, 39, 44, 47, 58, 59, 61, 91, 92, 93, 127, 133, 255)
    ),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", "\u202e".encode(), "\u2028".encode(), "\u0430".encode()),
    *(b"9" * 20_000, b"1e999", b"-1", b"NaN", b"\\ud800", b"(" * 500, b"[" * 20_000, b"{}", b"null", b"A" * 70_000),
    *(b"Name: other\n", b"Version: 2\n", b"\n\n", b"Requires-Dist: ", b"pluginapi>=2\n", b"; extra == 'x'", b" ~= "),
    *(
        b"[pluginhost.plugins]\n",
        b"[other]\n",
        b"bad = ",
        b":New",
        b" [x]",
        b"../",
        b"json:loads",
        b"pluginapi/__init__.py,,\n",
    ),
    *(b'"editable": true', b"file://", b".pth,,\n", b".so,,\n", b"x.zip,,\n"),
]


def changed(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Returns a file's bytes after one change: flipped, cut, doubled, put in, or spliced with another file."""
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + int(chance.paretovariate(0.7)))
    head, part, tail = data[:start], data[start:end], data[end:]
    changes: list[Callable[[], bytes]] = [
        lambda: head + bytes(byte ^ 1 << chance.randrange(8) for byte in part) + tail,
        lambda: head + tail,
        lambda: head + part * chance.choice((2, 3, 50)) + tail,
        lambda: head + chance.choice(PIECES) + part + tail,
        lambda: head + chance.choice(PIECES) + tail,
        lambda: head,
        lambda: head + other[chance.randrange(len(other) + 1) :],
        lambda: head + chance.randbytes(len(part)) + tail,
        lambda: b"\n".join(chance.sample(lines := data.split(b"\n"), len(lines))),
    ]
    return chance.choice(changes)()[: 3 << 20]


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Returns a file's bytes after a few changes."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        data = changed(data, other, chance)
    return data


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_template(Forge(tmp_path_factory.mktemp("mutated")))


@pytest.mark.parametrize("first", range(0, MUTATIONS, 500))
def test_mutated_metadata_costs_itself_alone(
    first: int, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = SiteFolder(template, tmp_path / "site")
    monkeypatch.syspath_prepend(str(site.root))
    files = {name: site.info.joinpath(name).read_bytes() for name in FILES if name != "direct_url.json"}
    files["direct_url.json"] = b'{"url": "file:///zoo/bad", "dir_info": {"editable": true}}'
    shutil.rmtree(site.info)
    for seed in range(first, min(first + 500, MUTATIONS), BATCH):
        infos = [mutate(site.root, files, number) for number in range(seed, seed + BATCH)]
        started = time.monotonic()
        survey = PluginManager().survey()
        assert time.monotonic() - started < SECONDS, f"the mutations from {seed} take that long"
        json.dumps(survey.to_dict())
        states = {row.name: row.state for row in survey if row.origin == str(site.root)}
        assert states.pop("a-good") == states.pop("z-good") == "ready", f"the mutations from {seed} cost a good plugin"
        told = [*survey.findings, *(finding for row in survey for finding in row.findings)]
        for finding in {finding.message: finding for finding in told}.values():
            check_finding(finding.to_dict())
        for info in infos:
            shutil.rmtree(info)


def mutate(root: Path, files: dict[str, bytes], number: int) -> Path:
    """Returns the dist-info of a distribution with a name of its own and, mostly, one mutated file."""
    chance = random.Random(number)
    own = {name: content.replace(b"zoo-bad", b"zoo-bad-%d" % number) for name, content in files.items()}
    own["entry_points.txt"] = own["entry_points.txt"].replace(b"bad = ", b"bad%d = " % number)
    for name in chance.sample(FILES, chance.choice((1, 1, 1, 1, 2, 5))):
        own[name] = mutated(own[name], own[chance.choice(FILES)], chance)
    info = root / f"zoo_bad_{number}-1.2.3.dist-info"
    for name, content in own.items():
        target = info / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return info
