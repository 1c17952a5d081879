"""stevedore: no pins are judged."""

import sys

from stevedore import DriverManager, NamedExtensionManager


def survey(group):
    """Prints the plugins."""
    # Every manager imports what it manages. This one manages no name, so it lists only.
    print(*NamedExtensionManager(group, []).entry_points_names(), sep="\n")


def call(group, name):
    """Prints one plugin's greeting."""
    print(DriverManager(group, name, invoke_on_load=True).driver.greet("World"))


globals()[sys.argv[1]](*sys.argv[2:])
