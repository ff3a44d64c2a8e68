"""The ``embevo`` command: which commands there are, and what becomes of errors."""

import errno
import importlib
from typing import Any, Final

import click

from embevo.errors import EmbevoError

from .output import prepare

# Name to the module and attribute that hold the command. A module is imported when its command is used or
# listed; what is heavy it imports when it runs, so that looking at a run does not wait for torch.
COMMANDS: Final = {
    "train": "embevo_cli.train:train",
    "sweep": "embevo_cli.sweep:sweep",
    "analyze": "embevo_cli.analyze:analyze",
    "audit": "embevo_cli.audit:audit",
    "explain": "embevo_cli.explain:explain",
    "diff": "embevo_cli.diff:diff",
    "null": "embevo_cli.null:null",
    "report": "embevo_cli.report:report",
    "figures": "embevo_cli.figures:figures",
    "animate": "embevo_cli.animate:animate",
    "view": "embevo_cli.view:view",
    "plan": "embevo_cli.plan:plan",
    "corpus": "embevo_cli.corpus:corpus",
    "info": "embevo_cli.info:info",
    "verify": "embevo_cli.verify:verify",
    "recover": "embevo_cli.recover:recover",
    "compact": "embevo_cli.compact:compact",
    "rewind": "embevo_cli.rewind:rewind",
    "push": "embevo_cli.push:push",
    "pull": "embevo_cli.pull:pull",
    "annotate": "embevo_cli.annotate:annotate",
    "ls": "embevo_cli.ls:ls",
    "export": "embevo_cli.export:export",
    "export-safetensors": "embevo_cli.export_safetensors:export_safetensors",
    "merge": "embevo_cli.merge:merge",
    "import-safetensors": "embevo_cli.import_safetensors:import_safetensors",
}
_INTERRUPTED: Final = 130
_NO_ROOM: Final = "Make room there, of bytes (df -h) and of files (df -i), and give the same command again."
# What helps where the system refuses a file, by the number of the error.
_TO_DO: Final = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EROFS: "Nothing can be written there: mount it for writing, or give another place.",
    errno.EACCES: "Give it to the user who runs this, or run it as the one whose it is.",
}


class _Failure(click.ClickException):
    """An error that is the user's to read: one message on stderr, no traceback."""

    exit_code = 2


def _failure(error: BaseException, message: str) -> _Failure:
    return _Failure("\n".join([message, *getattr(error, "__notes__", [])]))


class _Commands(click.Group):
    """The commands of :data:`COMMANDS`, in that order."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name]} is {command!r}, not a click command")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EmbevoError as error:
            raise _failure(error, str(error)) from error
        except OSError as error:
            # A pipe that the reader has closed is click's to end quietly.
            if error.errno == errno.EPIPE:
                raise
            reason = error.strerror or str(error)
            message = f"{error.filename}: {reason}" if error.filename else reason
            to_do = _TO_DO.get(error.errno or 0)
            raise _failure(error, f"{message}. {to_do}" if to_do else message) from error
        except KeyboardInterrupt as error:
            click.echo(_failure(error, "Interrupted.").message, err=True)
            ctx.exit(_INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="embevo", message="%(prog)s %(version)s")
def embevo() -> None:
    """A flight recorder for embedding matrices: every training step, nothing lost."""


def main() -> None:
    """Run the command line; does not return."""
    prepare()
    embevo(prog_name="embevo")
