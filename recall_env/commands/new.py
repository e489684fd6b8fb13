"""recall-env new: a package that holds an environment."""

from pathlib import Path
from typing import Annotated

import typer

from recall_env.new import create
from recall_env.terminal import say


def new_package(
    name: Annotated[str, typer.Argument(metavar="NAME", help="of the package, as it will be imported: my_tools")],
    folder: Annotated[Path | None, typer.Option(help="where; default: a folder of that name, here")] = None,
) -> None:
    """A package with an environment in it, to be changed into yours. Example: recall-env new my_tools"""
    made, module = create(name, folder)
    print(made)
    say(f"next: recall-env check {made}\n      recall-env play {made} gold\n      edit {module}")
