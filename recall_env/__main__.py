"""recall-env: its commands, each of which stands in a file of its name in commands/; and its exit codes.

Data on stdout, words on stderr; exit 0 good, 1 failed, 2 usage, 130 stopped by Ctrl-C.
"""

import sys

import typer

from recall_env.commands.check import check_command
from recall_env.commands.doctor import doctor
from recall_env.commands.eval import evaluate_agent
from recall_env.commands.list import list_tasks
from recall_env.commands.new import new_package
from recall_env.commands.play import play_one
from recall_env.commands.replay import replay_episodes
from recall_env.commands.rescore import rescore_episodes
from recall_env.commands.serve import serve
from recall_env.commands.show import show
from recall_env.errors import RecallError
from recall_env.terminal import say

COMMANDS = {
    "list": list_tasks,
    "show": show,
    "play": play_one,
    "eval": evaluate_agent,
    "replay": replay_episodes,
    "rescore": rescore_episodes,
    "doctor": doctor,
    "check": check_command,
    "serve": serve,
    "new": new_package,
}

STOPPED = 130

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """Entry point: every fault a person can fix is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False, prog_name="recall-env")
    except RecallError as error:
        say(f"recall-env: {error}")
        code = 2
    except KeyboardInterrupt:
        code = STOPPED
    except (BrokenPipeError, SystemExit) as ended:  # typer turns the first into the second
        if not isinstance(ended, BrokenPipeError) and not isinstance(ended.__context__, BrokenPipeError):
            raise
        code = 0  # the reader of our output has gone, as `head` does
        sys.stdout = None
    except Exception as error:
        if not hasattr(error, "format_message"):  # a usage error; typer's classes moved between its versions
            raise
        say(f"recall-env: {error.format_message()} (try recall-env --help)")
        code = 2
    if code == STOPPED:  # typer makes it of Ctrl-C in some versions, and says nothing
        say("recall-env: stopped")
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
