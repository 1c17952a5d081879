"""Wheels, mutated by a seeded chance: a survey never raises, nothing is written outside the store, and others serve."""

from __future__ import annotations

import json
import os
import random
import resource
import struct
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from forge import Forge
from handmade import Handmade, member, row
from pluginhost import PluginManager
from pluginhost.catalogue import CODES
from zoo.site_folder import SiteFolder, install_template
from zoo.test_mutations import SECONDS, mutated
from zoo.test_zoo import check_finding

if TYPE_CHECKING:
    from collections.abc import Callable

WHEELS = int(os.environ.get("PLUGINHOST_WHEELS", "200"))
BATCH = 10
"""Mutated wheels that one survey judges at once."""
MEMORY = 300 << 20
"""Bytes by which the process may grow; a wheel has some thousands."""

NAMES = [
    "../evil",
    "/evil",
    "a/../../evil",
    "a\\evil",
    "C:evil",
    "evil\n",
    "e" * 250,
    "a//evil",
    ".",
    "evil.pth",
    "x.pyc",
]
NAMES += [
    "json.py",
    "pluginapi/__init__.py",
    "zoo_a_good.py",
    "a.data/scripts/evil",
    "\u202eevil",
    "evil ",
    "sub/evil/",
]
SPOTS = [b"PK\1\2", b"PK\3\4", b"PK\5\6"]


def whole(wheel: Handmade, chance: random.Random) -> bytes:
    """Returns a wheel with a sound archive whose members or metadata are not what they should be."""

    def rename() -> None:
        name = chance.choice(list(wheel.files))
        wheel.files[chance.choice(NAMES)] = wheel.files.pop(name)

    def special() -> None:
        name = chance.choice([*NAMES, *wheel.files])
        mode = chance.choice((0o120777, 0o060666, 0o020666, 0o010666, 0o040755, 0o140777, 0o100644))
        wheel.infos.append((member(name, mode), chance.choice((b"/etc/passwd", b"..", b"", b"\0" * (2 << 20)))))
        if chance.random() < 0.8:
            wheel.rows[name] = row(name, wheel.infos[-1][1])

    def edit() -> None:
        name = chance.choice([name for name in wheel.files if "dist-info" in name] or [*wheel.files])
        content = wheel.files[name]
        wheel.files[name] = mutated(content if isinstance(content, bytes) else content.encode(), b"Name: x", chance)

    def record() -> None:
        name = chance.choice([*wheel.files, "absent.py", "../absent.py"])
        wheel.rows[name] = chance.choice((None, f"{name},,", f"{name},sha256=x,-1", name, '"', row(name, b"x", "md5")))

    for _ in range(chance.choice((1, 1, 2, 4))):
        chance.choice((rename, special, edit, record))()
    return wheel.data()


def patched(data: bytes, chance: random.Random) -> bytes:
    """Returns an archive whose headers say something else in one place."""
    changed = bytearray(data)
    spots = [at for mark in SPOTS for at in range(len(data) - 30) if data.startswith(mark, at)]
    at = chance.choice(spots) + chance.randrange(4, 46)
    form, value = chance.choice(
        (("<B", 0xFF), ("<H", 0xFFFF), ("<L", 0xFFFFFFFF), ("<L", 0x7FFFFFFF), ("<H", 0), ("<B", 1))
    )
    at = min(at, len(data) - struct.calcsize(form))
    struct.pack_into(form, changed, at, value if chance.random() < 0.5 else chance.randrange(value + 1))
    return bytes(changed)


def mutation(number: int) -> Handmade | bytes:
    """Returns the bytes of a mutated wheel with a name of its own."""
    chance = random.Random(number)
    wheel = Handmade(f"zoo-bad-{number}")
    wheel.method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    data = wheel.data()
    changes: list[Callable[[], bytes]] = [
        lambda: mutated(data, Handmade("zoo-bad-other").data(), chance),
        lambda: patched(data, chance),
        lambda: patched(patched(data, chance), chance),
        lambda: whole(wheel, chance),
        lambda: whole(wheel, chance),
        lambda: patched(whole(wheel, chance), chance),
    ]
    return chance.choice(changes)()


def listing(folder: Path, store: Path) -> dict[str, tuple[int, int]]:
    """Returns all that is in a folder but not in the store, with sizes and times."""
    paths = [path for path in folder.rglob("*") if store not in path.parents and path not in (store, store.parent)]
    found = {str(path): path.lstat() for path in paths if path.is_file()}
    return {path: (status.st_size, status.st_mtime_ns) for path, status in found.items() if "__pycache__" not in path}


@pytest.mark.parametrize("first", range(0, WHEELS, 100))
def test_mutated_wheels_cost_themselves_alone(
    first: int, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = SiteFolder(_template(tmp_path_factory), tmp_path / "site")
    site.uninstall()
    monkeypatch.setattr(sys, "path", [str(site.root), *sys.path])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10**10)
    store = tmp_path / "cache" / "pluginhost" / "wheels"
    folder = tmp_path / "plugins"
    Handmade("zoo-sound", "1.0").write(folder)
    manager = PluginManager(plugin_dirs=[folder])
    manager.survey()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in range(first, min(first + 100, WHEELS), BATCH):
        paths = [folder / f"zoo_bad_{number}-1.2.3-py3-none-any.whl" for number in range(start, start + BATCH)]
        for number, path in enumerate(paths, start):
            path.write_bytes(mutation(number))  # type: ignore[arg-type]
        before, started = listing(tmp_path, store), time.monotonic()
        survey = manager.survey()
        assert time.monotonic() - started < SECONDS, f"the wheels from {start} take that long"
        after = {path: found for path, found in listing(tmp_path, store).items() if not path.endswith(".index")}
        assert after == {path: found for path, found in before.items() if not path.endswith(".index")}
        assert not [path for path in store.iterdir() if path.is_symlink() or path.name.startswith(".")]
        assert [path for path in store.rglob("*") if path.is_symlink()] == []
        json.dumps(survey.to_dict())
        states = {
            row.name: row.state for row in survey if row.distribution in ("zoo-a-good", "zoo-z-good", "zoo-sound")
        }
        assert states == {"a-good": "ready", "z-good": "ready", "sound": "ready"}, f"the wheels from {start}"
        told = [*survey.findings, *(finding for row in survey for finding in row.findings)]
        for finding in {finding.message: finding for finding in told}.values():
            check_finding(finding.to_dict())
            assert finding.code in CODES
        silent = {str(path) for path in paths} - {finding.path for finding in survey.findings}
        unpacked = " ".join(survey.path and [" ".join(os.listdir(entry)) for entry in survey.path])
        assert [path for path in silent if Path(path).name.partition("-")[0] not in unpacked] == [], "none is lost"
        for path in paths:
            path.unlink()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown) << 10 < MEMORY


_TEMPLATES: list[Path] = []


def _template(factory: pytest.TempPathFactory) -> Path:
    if not _TEMPLATES:
        _TEMPLATES.append(install_template(Forge(factory.mktemp("wheels"))))
    return _TEMPLATES[0]
