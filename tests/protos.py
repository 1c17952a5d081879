"""Contracts made for tests, their `.proto` files, and what protoc makes of these."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from pluginhost.goplugin.files import File
from pluginhost.isolation.codec import codec_of

from pluginapi import Plugin

if TYPE_CHECKING:
    from pathlib import Path


def contract_of(*kinds: Any) -> type:
    """Returns a contract with a method for each type, which takes and returns a value of it."""
    members: dict[str, object] = {"__module__": __name__}
    for number, kind in enumerate(kinds):
        members[f"echo{number}"] = function = lambda self, value: value
        function.__annotations__ = {"value": kind, "return": kind}
    return type("Made", (Plugin,), members)


def file_of(contract: type) -> File:
    """Returns a contract's file, which says nothing of its API."""
    codec = codec_of(contract)
    return File(contract, [*codec.methods.values(), *codec.reads.values(), *codec.writes.values()])


def compiled(folder: Path, *files: File) -> list[FileDescriptorProto]:
    """Returns what protoc makes of the files' texts, in a folder of their own; without it, the test is skipped."""
    if not shutil.which("protoc"):
        (pytest.fail if "CI" in os.environ else pytest.skip)(
            "protoc is not installed: apt-get install protobuf-compiler"
        )
    for file in files:
        (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_text(file.text, "utf-8")
    command = ["protoc", f"--proto_path={folder}", "--descriptor_set_out=/dev/stdout", *(file.name for file in files)]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert not done.stderr, done.stderr.decode()
    return list(FileDescriptorSet.FromString(done.stdout).file)


def bare(file: FileDescriptorProto) -> FileDescriptorProto:
    """Returns a descriptor without the JSON names, which follow from the others."""
    copy = FileDescriptorProto()
    copy.CopyFrom(file)
    for message in copy.message_type:
        for each in (message, *message.nested_type):
            for field in each.field:
                field.ClearField("json_name")
    for extension in copy.extension:
        extension.ClearField("json_name")
    return copy


def assert_protoc_agrees(folder: Path, *files: File) -> None:
    """Fails unless protoc makes of each text what the file declares."""
    for file, made in zip(files, compiled(folder, *files), strict=True):
        assert bare(made) == file.descriptor, file.name
