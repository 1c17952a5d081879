"""Wheels are the same bytes whoever builds them, and are built and installed from our own wheels alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forge import BIN, ROOT

PROJECTS = ["plugins/calculator", "pluginapi"]


@pytest.fixture(scope="module")
def offline(wheelhouse: Path) -> dict[str, str]:
    """An environment in which pip, build and uv take packages from the wheelhouse and nowhere else."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_", "PYTHON"))}
    return kept | {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheelhouse),
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(wheelhouse),
        "UV_OFFLINE": "1",
        "UV_NO_CONFIG": "1",
    }


@pytest.mark.parametrize("project", PROJECTS)
def test_pip_build_and_uv_make_the_same_bytes(tmp_path: Path, offline: dict[str, str], project: str) -> None:
    commands = {
        "pip": [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir"],
        "build": [sys.executable, "-m", "build", "--outdir"],
        "uv": [str(BIN / "uv"), "build", "--wheel", "--python", sys.executable, "--out-dir"],
    }
    digests = {}
    for tool, command in commands.items():
        source, out = tmp_path / tool, tmp_path / f"{tool}-out"
        shutil.copytree(ROOT / project, source, ignore=shutil.ignore_patterns("dist", "build"))
        done = subprocess.run([*command, out, source], env=offline, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{tool}: {done.stdout}{done.stderr}"
        [wheel] = out.glob("*.whl")
        digests[tool] = (wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert len(set(digests.values())) == 1, digests


def test_a_plugin_installs_from_a_clean_clone_with_the_wheelhouse_alone(
    tmp_path: Path, offline: dict[str, str], wheelhouse: Path
) -> None:
    """README's line, with build isolation and without an index."""
    source = shutil.copytree(ROOT / "plugins" / "english", tmp_path / "english")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-index",
        "--find-links",
        wheelhouse,
        "--target",
        tmp_path / "site",
    ]
    environment = {key: value for key, value in offline.items() if not key.startswith("PIP_")}
    done = subprocess.run(
        [*pip, source], env=environment | {"PIP_CONFIG_FILE": os.devnull}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in (tmp_path / "site").glob("*.dist-info")) == [
        "pluginapi-1.0.0.dist-info",
        "pluginhost_english-1.0.0.dist-info",
    ]


def test_the_wheelhouse_holds_one_wheel_of_each_distribution_of_ours(wheelhouse: Path) -> None:
    ours = {wheel.name.partition("-")[0] for wheel in wheelhouse.glob("plugin*.whl") if "pluggy" not in wheel.name}
    plugins = {f"pluginhost_{folder.parent.name}" for folder in ROOT.glob("plugins/*/pyproject.toml")}
    assert ours == plugins | {"pluginapi", "pluginhost"}
