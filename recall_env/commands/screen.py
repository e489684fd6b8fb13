"""Text for a person: coloured and wrapped on a terminal, plain anywhere else and where NO_COLOR is set.

What models, tools and authors wrote is data here: no control character of theirs reaches the terminal, and nothing of
it is read as markup.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from recall_env.schema import function_of
from recall_env.terminal import inert, parameters_of

Words = Text | str


class Screen:
    """Writes line by line, and at once."""

    def __init__(self, file: TextIO | None = None):
        """file: default, stdout."""
        self._file = sys.stdout if file is None else file
        colours = {"color_system": None} if os.environ.get("NO_COLOR") else {}
        self._console = Console(file=self._file, highlight=False, markup=False, emoji=False, **colours)
        self.is_terminal = self._console.is_terminal

    def write(self, words: Words = "", *, style: str = "", indent: int = 0, hang: int = 0) -> None:
        """Lines that begin `indent` columns in; what a terminal is too narrow for goes on `hang` further in."""
        text = styled(words, style) if isinstance(words, str) else words
        if self.is_terminal:
            width = max(20, self._console.width - indent)
            lines = list(text.wrap(self._console, width - hang if hang else width))
        else:
            lines = list(text.split(allow_blank=True))
        for number, line in enumerate(lines):
            inner = hang if number and self.is_terminal else 0
            line.rstrip()
            self._put(Text(" " * (indent + inner)).append_text(line) if line else line)

    def heading(self, words: str, style: str) -> None:
        self.write()
        self.write(words, style=f"bold {style}")

    def python(self, source: str) -> None:
        """Source, with the colours of its syntax."""
        if not self.is_terminal:
            self.write(source)
            return
        code = Syntax(inert(source), "python", theme="ansi_dark", background_color="default", word_wrap=True)
        self._put(code, end="")

    def table(self, rows: Sequence[Sequence[Words]], *, indent: int = 0, heads: int = 1) -> None:
        """Aligned columns, those of numbers to the right. heads: rows that are column names."""
        texts = [[styled(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
        widths = [max(cell.cell_len for cell in column) for column in zip(*texts, strict=True)]
        for number, row in enumerate(texts):
            line = Text(" " * indent)
            for cell, width in zip(row, widths, strict=True):
                gap = " " * (width - cell.cell_len)
                is_number = cell.plain.strip().replace(".", "", 1).lstrip("-").isdigit()
                line.append(gap).append_text(cell) if is_number else line.append_text(cell).append(gap)
                line.append("  ")
            line.rstrip()
            if number < heads:
                line.stylize("dim")
            self._put(line)

    def _put(self, what: Any, end: str = "\n") -> None:
        with self._console.capture() as drawn:  # printed by ourselves: rich would answer a reader that has gone
            self._console.print(what, end=end, soft_wrap=isinstance(what, Text))
        print(drawn.get(), end="", file=self._file, flush=True)


def styled(words: str, style: str = "") -> Text:
    return Text(end="").append(inert(words), style)  # not the style of the whole: what is appended has its own


def signature_text(schema: dict[str, Any]) -> Text:
    """A tool as `signature` writes it, coloured."""
    function = function_of(schema)
    text = styled(function["name"], "bold cyan").append("(")
    for number, (name, kind, optional) in enumerate(parameters_of(function)):
        text.append(", " * bool(number)).append_text(styled(name, "cyan")).append(": ").append_text(styled(kind, "dim"))
        if optional:
            text.append(" (optional)", "dim")
    text.append(")")
    about = (function.get("description") or "").split("\n")[0]
    return text.append_text(styled(f": {about}", "dim")) if about else text
