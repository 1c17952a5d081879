"""What a contract's file says, and what its methods make of calls."""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib
import os
import re
import subprocess
import sys
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pluginhost.errors import ConfigurationError, PluginCallError
from pluginhost.goplugin import proto
from protos import assert_protoc_agrees, compiled, file_of

import pluginapi
from pluginapi import Greeter, Handler, Plugin, Request, Response, idempotent

ROOT = Path(__file__).parents[4]
GOLDEN = Path(__file__).with_name("golden")
PLACES = {
    "pluginapi": "", "wide_api": "tests/wide", "editor_api": "examples/editor/editor-api",
    "build_api": "examples/build_tool/build-api", "gateway_api": "examples/gateway/gateway-api",
}  # fmt: skip
CONTRACTS = [
    ("pluginapi", "Greeter"), ("pluginapi", "Transformer"), ("pluginapi", "Operation"), ("pluginapi", "Handler"),
    ("wide_api", "Wide"), ("editor_api", "Language"), ("build_api", "Task"), ("gateway_api", "Modifier"),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _apis() -> Iterator[None]:
    """The APIs on this process's path; they are forgotten afterwards, since other tests have copies of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for place in filter(None, PLACES.values()):
            patch.syspath_prepend(str(ROOT / place))
        yield
    for api, place in PLACES.items():
        if place:
            sys.modules.pop(api, None)
    proto.file_of.cache_clear()


def contract(api: str, name: str) -> type:
    found: type = getattr(importlib.import_module(api), name)
    return found


@pytest.mark.parametrize(("api", "name"), [*CONTRACTS, ("pluginhost.goplugin.proto", "Plugin")])
def test_the_text_is_the_one_that_was_looked_at(api: str, name: str) -> None:
    """With REWRITE_GOLDEN set, it is written anew; look at the difference."""
    file = proto.PLUGIN if name == "Plugin" else proto.file_of(contract(api, name))
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:0", file.text)
    golden = GOLDEN / f"{name}.proto"
    if "REWRITE_GOLDEN" in os.environ:
        golden.write_text(text, "utf-8")
    assert text == golden.read_text("utf-8")


def test_protoc_makes_of_the_texts_what_is_declared(tmp_path: Path) -> None:
    files = [proto.PLUGIN, *(proto.file_of(contract(*each)) for each in CONTRACTS)]
    assert_protoc_agrees(tmp_path, *files)


def test_a_contracts_file_has_the_pin_and_the_fingerprint_as_an_option(tmp_path: Path) -> None:
    """What protoc made of the text says it, to whoever reads it with the class that protoc made."""
    _, made = compiled(tmp_path, proto.PLUGIN, proto.file_of(Greeter))
    options = proto.PLUGIN.message(".google.protobuf.FileOptions").FromString(made.options.SerializeToString())
    stated = options.Extensions[proto.PLUGIN.pool.FindExtensionByName("pluginhost.plugin.contract")]
    assert (stated.package, stated.version, stated.name) == ("pluginapi", pluginapi.API_VERSION, "Greeter")
    assert stated.fingerprint == pluginapi.fingerprint()


def test_a_program_says_what_it_was_made_for() -> None:
    describe = proto.PLUGIN.methods["describe"]
    assert describe.path == "/pluginhost.plugin.Plugin/Describe"
    told = proto.Description([proto.contract_of(Greeter)], ["format"])
    assert describe.unpack_result(describe.pack_result(told)) == told
    init = proto.PLUGIN.methods["init"]
    assert init.unpack_call(init.pack_call(("english", b"{}", []), {})) == (("english", b"{}", []), {})
    assert [proto.PLUGIN.methods[name].unpack_result(b"") for name in ("init", "validate", "shutdown")] == [None] * 3


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class SayRequest:
    """Has the name that a method's request would have."""

    colour: Colour


class Colours(enum.Enum):
    """Its member would have the name of one of `Colour`."""

    S_RED = "red"


class Own(Plugin):
    """Has one of each kind of method and attribute."""

    title: str
    limit = 3

    @property
    @abstractmethod
    def size(self) -> int:
        """How large it is."""

    @property
    def place(self) -> Path:
        return Path()

    @place.setter
    def place(self, value: Path) -> None: ...

    @functools.cached_property
    def slow(self) -> list[str]:
        return []

    @abstractmethod
    def say(self, request: SayRequest, colours: Colours) -> None: ...

    @abstractmethod
    def mixed(
        self, a: int, /, b: str = "b", *rest: float, c: int = 0, d: Path | None = None, e: list[int] | None = None,
        **more: int,
    ) -> None: ...  # fmt: skip

    @abstractmethod
    def marked(self, a: int = ..., b: str = "b") -> None: ...  # type: ignore[assignment]

    @idempotent
    @abstractmethod
    async def slowly(self, a: int) -> str: ...

    @abstractmethod
    def items(self) -> Iterator[Colour]: ...

    @abstractmethod
    def flow(self) -> AsyncIterator[str]: ...

    @staticmethod
    def static(a: int) -> int:
        return a

    @abstractmethod
    def __call__(self, a: int) -> int: ...

    def _private(self, a: int) -> int:
        return a


OWN = file_of(Own)


def test_what_a_contract_has_can_be_called() -> None:
    assert {name: each.rpc for name, each in OWN.methods.items()} == {
        "say": "Say", "mixed": "Mixed", "marked": "Marked", "slowly": "Slowly", "items": "Items", "flow": "Flow",
        "static": "Static", "__call__": "Call",
    }  # fmt: skip
    assert {each.rpc for each in OWN.reads.values()} == {"GetTitle", "GetLimit", "GetSize", "GetPlace", "GetSlow"}
    assert {each.rpc for each in OWN.writes.values()} == {"SetPlace"}
    assert {name for name, each in OWN.methods.items() if each.is_stream} == {"items", "flow"}
    assert {name for name, each in OWN.methods.items() if each.is_async} == {"slowly", "flow"}
    assert {name for name, each in OWN.methods.items() if each.is_idempotent} == {"slowly"}
    assert OWN.methods["items"].unpack_result(OWN.methods["items"].pack_result(Colour.RED)) is Colour.RED
    assert OWN.writes["place"].unpack_call(OWN.writes["place"].pack_call((Path("a"),), {})) == ((Path("a"),), {})
    assert OWN.reads["size"].path == f"/{OWN.service}/GetSize"
    assert "  // How large it is.\n  rpc GetSize(" in OWN.text


def test_a_name_is_there_once(tmp_path: Path) -> None:
    """What the API calls its classes keeps its name; what is made has a number after it."""
    assert "rpc Say(SayRequest2) returns (SayResponse);" in OWN.text
    assert "COLOUR_S_RED" not in OWN.text.replace("COLOURS_S_RED", "")
    assert_protoc_agrees(tmp_path, OWN)


def test_a_host_sends_the_defaults_and_a_go_host_may_leave_them_out() -> None:
    mixed, marked = OWN.methods["mixed"], OWN.methods["marked"]
    assert mixed.unpack_call(mixed.pack_call((1,), {})) == ((1, "b"), {"c": 0, "d": None, "e": None})
    given = mixed.unpack_call(mixed.pack_call((1, "x", 1.5, 2), {"c": 3, "d": Path("p"), "e": [], "f": 4}))
    assert given == ((1, "x", 1.5, 2.0), {"c": 3, "d": Path("p"), "e": [], "f": 4})
    assert mixed.unpack_call(b"\x08\x01") == ((1, "b"), {"c": 0, "d": None, "e": None})
    assert marked.unpack_call(marked.pack_call((), {})) == ((), {"b": "b"})  # a mark is no value
    assert marked.unpack_call(b"") == ((), {})  # the plugin's own default holds
    for arguments, named in (((), {}), ((1, 2, 3, "x"), {"a": 1})):
        with pytest.raises((TypeError, PluginCallError)):
            mixed.pack_call(arguments, named)


def test_appended_fields_and_methods_change_no_number() -> None:
    """What is appended with a default is left out by an older other side, and ignored by it."""

    @dataclasses.dataclass
    class Old:
        a: int

    @dataclasses.dataclass
    class New:
        a: int
        b: str = "new"

    def versions(of: type, more: bool) -> type:
        def take(self: object, value: object, **named: object) -> object: ...

        def take_more(self: object, value: object, factor: int = 2) -> object: ...

        chosen = take_more if more else take
        chosen.__annotations__ = {"value": of, "return": of, "factor": int, "named": int}
        chosen.__name__ = "take"
        return type("Kept", (Plugin,), {"__module__": __name__, "take": chosen, **({"later": take} if more else {})})

    old, new = (file_of(versions(*each)).methods["take"] for each in ((Old, False), (New, True)))
    assert old.path == new.path
    assert new.unpack_call(old.pack_call((Old(1),), {})) == ((New(1),), {})
    assert old.unpack_result(new.pack_result(New(1, "x"))) == Old(1)


def with_method(**functions: object) -> type:
    return type("Made", (Plugin,), {"__module__": __name__, **functions})


def test_two_names_that_are_one_there_are_refused() -> None:
    def get_lang(self: object) -> str: ...

    class Clashing(Greeter):
        pass

    Clashing.get_lang = get_lang  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="both called GetLang there"):
        file_of(Clashing)

    def say(self: object, a_b: int, aB: int) -> str: ...  # noqa: N803

    with pytest.raises(ConfigurationError, match="its name is too like a_b"):
        file_of(with_method(say=say))

    def größe(self: object) -> int: ...

    with pytest.raises(ConfigurationError, match="nothing can be called 'Größe' there"):
        file_of(with_method(größe=größe))


def test_a_contract_of_a_package_called_like_protobufs_is_told_apart(tmp_path: Path) -> None:
    @dataclasses.dataclass
    class string:  # noqa: N801
        at: object

    class Google(Plugin):
        @abstractmethod
        def google(self, at: string, table: dict[str, int], of: TableEntry) -> object: ...

    @dataclasses.dataclass
    class TableEntry:
        text: str

    Google.google.__annotations__ = {"at": string, "table": dict[str, int], "of": TableEntry, "return": object}
    file = file_of(Google)
    assert ".google.protobuf.Value result" in file.text
    assert_protoc_agrees(tmp_path, file)


def test_the_wrong_type_is_told_with_its_method() -> None:
    with pytest.raises(PluginCallError) as raised:
        proto.file_of(Handler).methods["handle"].pack_call((Request("1", "text"),), {})  # type: ignore[arg-type]
    assert raised.value.finding.code == "arguments-wrong"
    assert "/pluginapi.handler.Handler/Handle: " in raised.value.finding.message
    assert "request.body: a str where a bytes belongs" in raised.value.finding.message
    response = proto.file_of(Handler).methods["handle"]
    assert response.unpack_result(response.pack_result(Response(200, b"x"))) == Response(200, b"x")


def test_loading_a_plugin_imports_none_of_it() -> None:
    code = "import sys, pluginhost.manager, pluginhost.isolation.codec; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert not any(name.startswith(("google", "grpclib", "pluginhost.goplugin")) for name in done.stdout.split())
