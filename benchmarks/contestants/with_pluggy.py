"""pluggy: no pins are judged, and a survey imports every plugin."""

import sys

import pluggy


class Manager(pluggy.PluginManager):
    """Takes a method for a hook by its name, as pytest's manager does: these plugins carry no mark of pluggy's."""

    def parse_hookimpl_opts(self, plugin, name):
        return {} if name == "greet" else None


manager = Manager("benchmarks")


def survey(group):
    """Prints the plugins."""
    manager.load_setuptools_entrypoints(group)
    print(*(name for name, _ in manager.list_name_plugin()), sep="\n")


def call(group, name):
    """Prints one plugin's greeting."""
    manager.load_setuptools_entrypoints(group, name)
    manager.register(manager.get_plugin(name)())
    print(*manager.hook.greet(name="World"))


globals()[sys.argv[1]](*sys.argv[2:])
