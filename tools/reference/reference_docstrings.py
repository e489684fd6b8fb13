"""What of a source is documentation besides its docstrings: comments at fields; and how docstrings are laid out."""

import ast
import functools
import io
import re
import tokenize
from types import ModuleType

_DIRECTIVE = re.compile(r"(?:noqa|type|fmt|ruff|pragma)\b|---")


@functools.cache
def comments_of(module: ModuleType) -> dict[str, str]:
    """Qualified name -> the comment at the end of its assignment, or right above it. Fields and constants alone."""
    if not getattr(module, "__file__", None):
        return {}
    with open(module.__file__, encoding="utf-8") as file:
        return comments_in(file.read())


def comments_in(source: str) -> dict[str, str]:
    """`comments_of` a text."""
    trailing, alone = {}, {}  # line -> comment
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        text = token.string.lstrip("#").strip()
        if token.type == tokenize.COMMENT and not _DIRECTIVE.match(text):
            (alone if token.line.lstrip().startswith("#") else trailing)[token.start[0]] = text
    found: dict[str, str] = {}

    def visit(body: list[ast.stmt], within: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{within}{node.name}.")
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                visit(node.body, within)  # self.size = size
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            name = getattr(target, "id", None) or getattr(target, "attr", None)
            if name is None:
                continue
            above, line = [], node.lineno - 1
            while line in alone:
                above.insert(0, alone[line])
                line -= 1
            comment = trailing.get(node.end_lineno) or trailing.get(node.lineno) or " ".join(above)
            if comment:
                found[within + name] = comment

    visit(ast.parse(source).body, "")
    return found


def in_items(docstring: str, names: set[str]) -> str:
    """A docstring with each parameter or field that it explains, as in `size: of the pool.`, as an item of a list.

    Sentences that begin with "Raises" or "Returns" stand alone. Other text, and what is indented, stays as it is.
    """
    return "\n\n".join(_paragraph(part, names) for part in re.split(r"\n\s*\n", docstring))


def _paragraph(text: str, names: set[str]) -> str:
    if not names or text.startswith((" ", "- ", "|")):
        return text
    text = " ".join(text.split("\n"))
    name = "(?:" + "|".join(sorted(map(re.escape, names), key=len, reverse=True)) + ")"
    entry = rf"(?:(?<=^)|(?<=[.;?)] ))({name}(?:(?:, | and | or |, and ){name})*): "
    pieces = re.split(entry, text)
    lines = [f"{pieces[0].strip()}\n"] if pieces[0].strip() else []
    for which, what in zip(pieces[1::2], pieces[2::2], strict=True):
        quoted = re.sub(rf"\b{name}\b", lambda found: f"`{found[0]}`", which)
        said, *rest = re.split(r"(?<=[.:)]) (?=(?:Raises|Returns)\b)", what.strip())
        lines += [f"- {quoted}: {said}", *(f"\n{sentence}\n" for sentence in rest)]
    return "\n".join(lines).strip()


def without_tags(docstring: str) -> str:
    """What looks like an HTML tag outside of code marks, as text: `<think>` is one of ours."""
    return re.sub(r"(`[^`]*`)|<(?=[\w/])", lambda found: found[1] or "&lt;", docstring)
