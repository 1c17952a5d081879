"""pluginhost: pins are judged; a call asserts the contract and runs `init` and `shutdown`."""

import sys

from pluginhost import PluginManager


def survey(group):
    """Prints the plugins that may run."""
    print(*(row.name for row in PluginManager(group).survey() if row.state == "ready"), sep="\n")


def call(group, name, probe="new"):
    """Prints one plugin's greeting."""
    from pluginapi import Greeter

    with PluginManager(group, probe=probe) as manager:
        print(manager.get(name, Greeter).greet("World"))


globals()[sys.argv[1]](*sys.argv[2:])
