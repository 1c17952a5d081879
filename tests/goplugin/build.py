"""Builds the peers in Go, of what Debian packages; `python tests/goplugin/build.py` does, where that is installed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent
CACHE = SOURCES.parents[1] / ".pytest_cache" / "d" / "goplugin"
"""Where they stay for later runs, with what Go compiled."""
GOCODE = Path("/usr/share/gocode")
"""Where Debian has the sources of Go packages: go-plugin 1.0.1, grpc 1.33."""

PACKAGES = "golang-go golang-github-hashicorp-go-plugin-dev golang-google-grpc-dev protobuf-compiler protoc-gen-go-1-3"


def missing() -> str:
    """Returns what has to be installed before the peers can be built, with the command; empty if nothing."""
    lacks = [program for program in ("go", "protoc", "protoc-gen-go") if shutil.which(program) is None]
    lacks += [] if (GOCODE / "src/github.com/hashicorp/go-plugin").exists() else ["go-plugin"]
    return f"there is no {', '.join(lacks)} here; apt-get install {PACKAGES}" if lacks else ""


def build() -> Path:
    """Returns a folder with `bin/greeter-plugin`, `bin/greeter-host` and `peer.desc`, the descriptors of `peer.proto`.

    Nothing is done where they stand already, built of the same sources. Go keeps what it compiled there too. Of several
    processes that ask at once, one builds and the others wait.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    files = [*sorted(SOURCES.glob("*/*.go")), SOURCES / "peer.proto"]
    sources = hashlib.sha256(b"".join(file.read_bytes() for file in files))
    sources.update(subprocess.run(["go", "version"], capture_output=True, check=True).stdout)
    built = CACHE / "built"
    with CACHE.joinpath("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists() or built.read_text() != sources.hexdigest():
            _build(CACHE)
            built.write_text(sources.hexdigest())
    return CACHE


def _build(folder: Path) -> None:
    code = folder / "src" / "peers"
    for package in ("peer", "greeter-plugin", "greeter-host"):
        shutil.copytree(SOURCES / package, code / package, dirs_exist_ok=True)
    _run(
        "protoc", f"--proto_path={SOURCES}", f"--go_out=plugins=grpc:{code / 'peer'}",
        f"--descriptor_set_out={folder / 'peer.desc'}", "peer.proto",
    )  # fmt: skip
    env = {"GO111MODULE": "off", "GOPATH": f"{GOCODE}:{folder}", "GOCACHE": str(folder / "cache")}
    env |= {"CGO_ENABLED": "0", "GOENV": "off", "GOFLAGS": ""}  # nothing of the person's
    _run("go", "build", "-o", f"{folder / 'bin'}/", "peers/greeter-plugin", "peers/greeter-host", **env)


def _run(*command: str, **env: str) -> None:
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    if lacks := missing():
        print(lacks)
    else:
        build()
