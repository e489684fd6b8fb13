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
_LEAST_TEXT = 30  # columns that a text needs beside others


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

    def table(self, rows: Sequence[Sequence[Words]], *, last_wraps: bool = False) -> None:
        """Aligned columns under their names, which are the first row; numbers stand to the right.

        last_wraps: the last column is of text. Where it has no room beside the others, it stands below them.
        """
        texts = [[styled(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
        widths = [max(cell.cell_len for cell in column) for column in zip(*texts, strict=True)]
        before = sum(widths[:-1]) + 2 * (len(widths) - 1)
        room = self._console.width - before if last_wraps and self.is_terminal else sum(widths)
        beside = not last_wraps or room >= _LEAST_TEXT
        for number, row in enumerate(texts):
            *cells, last = map(_aligned, row, widths)
            line = Text("  ", end="").join(cells)
            last.rstrip()
            below = [last]
            if beside:
                first, *below = last.wrap(self._console, room) if last_wraps else [last]
                line.append("  ").append_text(first)
            line.rstrip()
            for text, indent in [(line, 0), *((rest, before if beside else 4) for rest in below)]:
                if number == 0:
                    text.stylize("dim")
                self.write(text, indent=indent)

    def _put(self, what: Any, end: str = "\n") -> None:
        with self._console.capture() as drawn:  # printed by ourselves: rich would answer a reader that has gone
            self._console.print(what, end=end, soft_wrap=isinstance(what, Text))
        print(drawn.get(), end="", file=self._file, flush=True)


def _aligned(cell: Text, width: int) -> Text:
    gap = " " * (width - cell.cell_len)
    is_number = cell.plain.strip().replace(".", "", 1).lstrip("-").isdigit()
    return Text(gap, end="").append_text(cell) if is_number else cell.copy().append(gap)


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
