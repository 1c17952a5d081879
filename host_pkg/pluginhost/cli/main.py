"""The command's entry: its subcommands, and how an error ends it."""

from __future__ import annotations

import traceback
from typing import Any

import click

from pluginhost.cli import output
from pluginhost.cli.cache import cache
from pluginhost.cli.call import call
from pluginhost.cli.check import check
from pluginhost.cli.config import config
from pluginhost.cli.control import ps, reload, restart, rollback, stop
from pluginhost.cli.doctor import doctor
from pluginhost.cli.enable import disable, enable
from pluginhost.cli.explain import explain
from pluginhost.cli.info import info
from pluginhost.cli.list import list_
from pluginhost.cli.new import new
from pluginhost.cli.options import TRACEBACK
from pluginhost.cli.profile import profile
from pluginhost.cli.proto import proto
from pluginhost.cli.route import route
from pluginhost.cli.serve import serve
from pluginhost.cli.watch import watch
from pluginhost.errors import PluginHostError, escape


class _Failure(click.ClickException):
    """An error of ours as click ends a command with it."""

    def __init__(self, error: PluginHostError, *, with_traceback: bool) -> None:
        super().__init__(str(error))
        vars(self)["exit_code"] = 2 if error.finding.stage == "usage" else 1
        self._traceback = "".join(traceback.format_exception(error)) if with_traceback else ""

    def show(self, file: Any = None) -> None:
        if self._traceback:
            output.write(escape(self._traceback, keep="\n"), err=True)
        output.write_error(f"error: {self.message}")


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            ctx.exit(super().invoke(ctx) or 0)  # a subcommand returns its exit status
        except PluginHostError as exc:
            raise _Failure(exc, with_traceback=ctx.meta.get(TRACEBACK, False)) from None


@click.group(
    cls=_Group,
    commands=[
        list_, info, check, doctor, profile, call, enable, disable, config, new, proto, serve, explain, cache,
        ps, reload, restart, stop, rollback, route, watch,
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
@click.version_option(None, "-V", "--version", package_name="pluginhost", message="%(prog)s %(version)s")
def _command() -> None:
    """Lists, explains, calls and starts plugins that are installed as wheels, and acts on those that run."""


def main() -> None:
    """Runs the command and exits with its status."""
    _command(prog_name="pluginhost")
