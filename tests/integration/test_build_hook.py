"""The build hook stamps what is true and fails, with what to write where, when it cannot."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from forge import GREETER
from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename

import pluginapi
from pluginapi import ManifestError

if TYPE_CHECKING:
    from forge import Command, Forge

TABLE = '[tool.pluginapi.plugins."pluginhost.plugins".p]\n'
PROGRAM = TABLE + 'contracts = ["Greeter"]\nprogram = "zoo_p/greet"'


def test_the_stamp_says_what_the_wheel_was_built_against(forge: Forge) -> None:
    settings = (
        TABLE
        + 'contracts = ["Greeter"]\ncapabilities = ["loud"]\nrequires = {contracts = ["Handler"], plugins = ["q"]}'
    )
    wheel = forge.wheel("zoo-p", {"zoo_p.py": GREETER}, 'p = "zoo_p"', hook=True, settings=settings)
    assert json.loads(forge.metadata(wheel, "extra_metadata/pluginapi.json")) == {
        "schema": 1,
        "api": {
            "package": "pluginapi",
            "distribution": "pluginapi",
            "version": importlib.metadata.version("pluginapi"),
            "fingerprint": pluginapi.fingerprint(),
        },
        "provides": None,
        "plugins": [
            {
                "group": "pluginhost.plugins",
                "name": "p",
                "entry_point": "zoo_p",
                "contracts": ["Greeter"],
                "capabilities": ["loud"],
                "requires": {"plugins": ["q"], "contracts": ["Handler"], "capabilities": [], "host": []},
                "program": None,
            }
        ],
    }


def test_the_api_version_is_the_distributions_own() -> None:
    assert importlib.metadata.version("pluginapi") == pluginapi.API_VERSION


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dependencies": ()}, 'write `dependencies = ["pluginapi~=1.0"]` under [project]'),
        ({"dependencies": ("pluginapi",)}, 'write `dependencies = ["pluginapi~=1.0"]` under [project]'),
        ({"dependencies": ("pluginapi~=2.0",)}, "is built against pluginapi 1."),
        ({"entry_points": 'p = "zoo_q:New"'}, "the wheel holds no module 'zoo_q' (did you mean 'zoo_p'?)"),
        ({"entry_points": 'p = "zoo_p:Now"'}, "defines no 'Now' (did you mean 'New'?); write `def Now():`"),
        ({"entry_points": ""}, 'write `[project.entry-points."pluginhost.plugins"]`'),
        ({"settings": TABLE + 'contracts = ["Greter"]'}, "does not have (did you mean 'Greeter'?); it has Greeter,"),
        ({"settings": TABLE.replace(".p]", ".q]")}, 'write `[project.entry-points."pluginhost.plugins"]` with `q ='),
        ({"settings": TABLE + "contract = []"}, "does not know 'contract' (did you mean 'contracts'?)"),
        ({"settings": TABLE + 'contracts = "Greeter"'}, "has 'Greeter' as contracts, which is not a list of text"),
        ({"settings": TABLE + "capabilities = [1]"}, "has [1] as capabilities, which is not a list of text: write"),
        ({"settings": TABLE + 'requires = ["q"]'}, 'not a table: write `requires = { plugins = ["name"] }`'),
        ({"settings": TABLE + "requires.plugin = []"}, ".p.requires] does not know 'plugin' (did you mean 'plugins'?)"),
        ({"settings": TABLE + 'requires.host = "tls"'}, ".p.requires] has 'tls' as host, which is not a list of text"),
        ({"settings": TABLE + 'requires.contracts = ["Greter"]'}, "does not have (did you mean 'Greeter'?)"),
        ({"settings": TABLE + 'requires.plugins = ["q", "p"]'}, ".p.requires] names 'p', the plugin itself: take it"),
        (
            {"settings": PROGRAM.replace("/greet", "/great")},
            "no such file (did you mean 'zoo_p/greet'?); build it first",
        ),
        ({"settings": PROGRAM.replace("greet", "data")}, "the file is not executable; next: chmod +x "),
        ({"settings": PROGRAM.replace("zoo_p/", "../")}, "neither a file of the wheel nor a name: write `program ="),
        ({"settings": PROGRAM.replace("zoo_p/", "/usr/")}, "neither a file of the wheel nor a name: write `program ="),
        ({"settings": PROGRAM.replace('"zoo_p/greet"', "[]")}, "has [] as program, which is neither a file of the"),
        ({"settings": PROGRAM.replace("Greeter", "Greter")}, "does not have (did you mean 'Greeter'?)"),
        ({"settings": PROGRAM.replace('["Greeter"]', "[]")}, "has a program and no contracts, and nothing else says"),
        ({"settings": '[tool.pluginapi]\napi = "acme_api"'}, "no installed distribution is stamped as the API package"),
        ({"settings": '[tool.pluginapi]\nprovides = "acme_api"'}, "the wheel holds no acme_api/__init__.py"),
    ],
)
def test_the_build_fails_and_says_what_to_write_where(forge: Forge, options: dict[str, object], told: str) -> None:
    defaults: dict[str, object] = {"entry_points": 'p = "zoo_p:New"'}
    files = {"zoo_p.py": GREETER, "zoo_p/greet": "#!/bin/sh\n", "zoo_p/data": "no program\n"}
    with pytest.raises(ManifestError) as caught:
        forge.wheel("zoo-p", files, hook=True, **(defaults | options))  # type: ignore[arg-type]
    assert told in str(caught.value)


def test_a_program_is_stamped_in_place_of_a_module_and_binds_the_wheel_to_its_platform(forge: Forge) -> None:
    """Nothing Python is looked for; and what runs here alone is not offered to other platforms."""
    wheel = forge.wheel("zoo-p", {"zoo_p/greet": "#!/bin/sh\n"}, 'p = "zoo_p"', hook=True, settings=PROGRAM)
    [plugin] = json.loads(forge.metadata(wheel, "extra_metadata/pluginapi.json"))["plugins"]
    assert (plugin["entry_point"], plugin["program"], plugin["contracts"]) == ("zoo_p", "zoo_p/greet", ["Greeter"])
    _, _, _, tags = parse_wheel_filename(wheel.name)
    assert {(tag.interpreter, tag.abi) for tag in tags} == {("py3", "none")}
    assert tags <= {*sys_tags()}
    assert "any" not in {tag.platform for tag in tags}
    assert "Root-Is-Purelib: false" in forge.metadata(wheel, "WHEEL")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.getinfo("zoo_p/greet").external_attr >> 16 & 0o111 == 0o111


def test_a_program_that_is_only_named_is_looked_for_where_it_is_started(forge: Forge) -> None:
    settings = PROGRAM.replace("zoo_p/greet", "no-such-program")
    wheel = forge.wheel("zoo-p", {"zoo_p/data": "some\n"}, 'p = "zoo_p"', hook=True, settings=settings)
    [plugin] = json.loads(forge.metadata(wheel, "extra_metadata/pluginapi.json"))["plugins"]
    assert plugin["program"] == "no-such-program"
    assert wheel.name.endswith("py3-none-any.whl")


def test_the_tag_and_the_files_of_another_hook_count(forge: Forge) -> None:
    """A program is mostly built by a hook, which may know better what it runs on."""
    hook = """
from pathlib import Path
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

class Build(BuildHookInterface):
    def initialize(self, version, build_data):
        built = Path(self.directory, "built")
        built.parent.mkdir(exist_ok=True)
        built.write_text("#!/bin/sh")
        built.chmod(0o755)
        build_data["force_include"][str(built)] = "zoo_p/greet"
        build_data["tag"] = "py3-none-manylinux_2_17_x86_64"
"""
    settings = f'{PROGRAM}\n[tool.hatch.build.targets.wheel.hooks.custom]\npath = "build.py"'
    wheel = forge.wheel("zoo-p", {"build.py": hook}, 'p = "zoo_p"', hook=True, settings=settings)
    assert wheel.name.endswith("-py3-none-manylinux_2_17_x86_64.whl")
    assert zipfile.Path(wheel, "zoo_p/greet").read_text() == "#!/bin/sh"


def test_an_applications_own_api_is_stamped_found_and_enforced(forge: Forge, command: Command) -> None:
    """`provides` stamps the API, `api` builds a plugin against it, and `--api` holds the plugin to it."""
    files = {
        "acme_api/__init__.py": "from acme_api.shapes import Shape\n",
        "acme_api/shapes.py": "from abc import abstractmethod\nfrom pluginapi import Plugin\n\nclass Shape(Plugin):\n"
        "    @abstractmethod\n    def area(self, size: float) -> float: ...\n",
    }
    settings = '[tool.pluginapi]\nprovides = "acme_api"'
    site = forge.install(forge.wheel("acme-shapes", files, hook=True, settings=settings, version="3.1"))
    source = (
        "from acme_api import Shape\n\nclass Square(Shape):\n    def area(self, size: float) -> float:\n"
        "        return size * size\n\ndef New() -> Square:\n    return Square()\n"
    )
    options = {
        "settings": f'[tool.pluginapi]\napi = "acme_api"\n{TABLE}contracts = ["Shape"]',
        "dependencies": ["acme-shapes~=3.0"],
    }
    code = f"""
import sys; sys.path[:0] = [{str(site)!r}, {str(forge.folder)!r}]
from pathlib import Path; import tempfile
sys.path.insert(0, {str(__file__.rpartition("/integration")[0])!r})
from forge import Forge
import pluginapi
folder = Path(tempfile.mkdtemp(dir={str(forge.folder)!r}))
print(Forge(folder).wheel("zoo-square", {{"zoo_square.py": {source!r}}}, 'p = "zoo_square"', hook=True, **{options!r}))
print(pluginapi.fingerprint("acme_api"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    wheel, fingerprint = done.stdout.split()
    forge.install(type(forge.folder)(wheel))
    assert fingerprint.startswith("sha256:")
    [row] = [row for row in command.json("list", "--api", "acme_api")["plugins"] if row["name"] == "p"]
    assert (row["state"], row["api"], row["contracts"]) == ("ready", "acme-shapes~=3.0", ["Shape"])
    assert command("call", "p", "area", "3", "--api", "acme_api").stdout == b"9.0\n"
    others = [row for row in command.json("list", "--api", "acme_api")["plugins"] if row["name"] == "english"]
    assert [finding["code"] for finding in others[0]["findings"]] == ["pin-missing"]


def test_an_editable_install_carries_its_stamp(forge: Forge, wheelhouse: object) -> None:
    wheel_source = forge.wheel("zoo-p", {"zoo_p.py": GREETER}, 'p = "zoo_p:New"', hook=True)
    [source] = forge.folder.glob("src/zoo-p-*")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", forge.site, "--editable", source], check=True)
    [stamp] = forge.site.glob("zoo_p-*.dist-info/extra_metadata/pluginapi.json")
    assert stamp.read_text() == forge.metadata(wheel_source, "extra_metadata/pluginapi.json")
