"""importlib.metadata, as a host without a framework uses it: pins are judged, by packaging."""

import sys
from importlib.metadata import entry_points, version

from packaging.requirements import Requirement


def admitted(**which):
    """Yields the entry points whose pin the installed API satisfies."""
    api = version("pluginapi")
    for entry_point in entry_points(**which):
        pins = [pin for pin in map(Requirement, entry_point.dist.requires or ()) if pin.name == "pluginapi"]
        pins = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
        if pins and all(pin.specifier.contains(api, prereleases=True) for pin in pins):
            yield entry_point


def survey(group):
    """Prints the plugins that may run."""
    print(*(entry_point.name for entry_point in admitted(group=group)), sep="\n")


def call(group, name):
    """Prints one plugin's greeting."""
    (entry_point,) = admitted(group=group, name=name)
    print(entry_point.load()().greet("World"))


globals()[sys.argv[1]](*sys.argv[2:])
