"""`python -m pluginhost` is the `pluginhost` command."""

from pluginhost.cli import main

main()
