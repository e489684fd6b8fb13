"""Docstrings in Google's style: what they say of a function, and of each of its arguments."""

import inspect
import re

_SECTION = re.compile(r"(Args|Arguments|Parameters|Attributes|Returns|Raises|Yields|Examples?|Notes?):\s*$")
_ENTRY = re.compile(r"(\w+)(?:\s*\([^)]*\))?:\s*(.*)")


def read_docstring(text: str | None) -> tuple[str, str, dict[str, str]]:
    """A docstring in Google's style: (its first paragraph, the rest of its prose, what Args or Attributes say by name).

    What it returns is told to the model too, at the end of the prose; other sections are not.
    """
    prose: list[str] = []
    notes: dict[str, str] = {}
    section, indent, last = "", 0, ""
    for line in inspect.cleandoc(text or "").splitlines():
        depth = len(line) - len(line.lstrip())
        if found := _SECTION.match(line):
            section, indent, last = found[1], 0, ""
            if section == "Returns":
                prose += ["Returns:"] if prose[-1:] == [""] else ["", "Returns:"]
        elif not section or (depth == 0 and line):
            section = ""
            prose.append(line)
        elif section == "Returns" and line:
            prose[-1] += " " + line.strip()
        elif section in ("Args", "Arguments", "Parameters", "Attributes") and line:
            indent = indent or depth
            entry = _ENTRY.match(line.strip()) if depth == indent else None
            if entry:
                last = entry[1]
                notes[last] = entry[2]
            elif last:
                notes[last] = f"{notes[last]} {line.strip()}".strip()
    summary, _, rest = "\n".join(prose).strip().partition("\n\n")
    return " ".join(summary.split()), rest.strip(), notes
