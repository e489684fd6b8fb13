"""The API reference: everything public has words, and the site is built without a warning or a broken link."""

import subprocess
import sys
import types
from pathlib import Path

import pdoc.doc
import pytest
from reference_docstrings import comments_in, in_items, without_tags
from reference_site import PAGES, PUBLIC, ROOT, broken_links, read, undocumented


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_of_a_module_has_words(name):
    assert undocumented(read((name,))[name]) == []


PLANTED = '''
"""A module."""
__all__ = ["GOOD", "BAD", "Good", "Bad", "good", "bad"]

GOOD = 1  # a constant with words
BAD = 2


class Good:
    """Words."""

    field: int = 0

    def told(self):
        """Words."""

    def untold(self):
        pass

    @property
    def silent(self):
        return 1


class Bad:
    pass


def good():
    """Words."""


def bad():
    pass
'''


def test_a_name_without_words_is_found(tmp_path, monkeypatch):
    (tmp_path / "planted_names.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(tmp_path)
    found = undocumented(read(("planted_names",))["planted_names"])
    assert sorted(found) == [f"planted_names.{name}" for name in ("BAD", "Bad", "Good.silent", "Good.untold", "bad")]


def test_a_module_without_words_is_found():
    module = types.ModuleType("silent")
    module.__all__ = []
    assert undocumented(pdoc.doc.Module(module)) == ["silent"]


def test_the_site_is_built_without_a_fault_and_holds_every_page(tmp_path):
    folder = tmp_path / "site"
    command = [sys.executable, "tools/reference/reference_site.py", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert (done.returncode, done.stdout.split()) == (0, [str(folder / "index.html")]), done.stderr
    for place in (*PAGES.values(), *(f"{name.replace('.', '/')}.html" for name in PUBLIC), "search.js"):
        assert (folder / place).stat().st_size > 1000
    index = (folder / "index.html").read_text()
    for name in PUBLIC:
        assert f'href="{name.replace(".", "/")}.html"' in index
    assert "tokens of one trajectory" in (folder / "recall_train" / "config.html").read_text()  # a field's comment
    (folder / "guide" / "train.html").unlink()
    assert any("train.html" in line for line in broken_links(folder))


def test_the_index_leads_to_every_page_of_the_guide():
    index = (ROOT / "docs" / "index.md").read_text()
    pages = [page for page in PAGES if page.name != "index.md"]
    assert [page.name for page in pages if f"{page.name})" not in index] == []
    assert "(docs/index.md)" in (ROOT / "README.md").read_text()


def test_comments_at_fields_and_constants_are_read():
    source = "# above it,\n# in two lines\nA = 1\nB = 2  # beside it\n# not of C\n\nC = 3\nD = 4  # noqa: E501\n"
    source += (
        "class K:\n    x: int = 0  # seconds\n    def __init__(self):\n        self.y = 1  # tokens\n        z = 2\n"
    )
    found = {"A": "above it, in two lines", "B": "beside it", "K.x": "seconds", "K.y": "tokens"}
    assert comments_in(source) == found


def test_parameters_that_a_docstring_explains_become_a_list():
    text = "Does it.\n\nsize: of the pool. a and b: the ends; note: no name. Raises ValueError: never.\nReturns it."
    items = in_items(text, {"size", "a", "b"})
    assert items.split("\n")[:3] == ["Does it.", "", "- `size`: of the pool."]
    assert items.split("\n")[3] == "- `a` and `b`: the ends; note: no name."
    assert "\n\nRaises ValueError: never." in items
    assert in_items("Nothing: of the kind.", {"size"}) == "Nothing: of the kind."
    assert in_items("- a: a list\n- b: already", {"a", "b"}) == "- a: a list\n- b: already"


def test_a_tag_in_a_docstring_is_shown_and_not_obeyed():
    assert without_tags("a <tool_call> and `<think>`, 1 < 2") == "a &lt;tool_call> and `<think>`, 1 < 2"


def test_the_pages_are_those_of_the_folder():
    assert {page.name for page in Path(ROOT / "docs").glob("*.md")} <= {page.name for page in PAGES}
