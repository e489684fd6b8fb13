"""Ways a tool source can hold a table: dicts, dataclasses, sqlite, CSV text, nested JSON, handed-in state, and so on.

A layout writes the lines that define the table, and the expressions by which tools read and change a row, so that a
family says *what* it looks up and the layout decides how the source does it. A row is a dict of column -> text or
number; the key column is part of it.
"""

import csv
import io
import json
import random
from dataclasses import dataclass
from typing import Any, ClassVar

Row = dict[str, Any]


@dataclass
class Layout:
    """A table of `rows`, found by `key`. Subclasses say how it is written; this one is the dict of dicts."""

    name: str  # lower-case plural: "items"
    key: str
    rows: list[Row]
    imports: ClassVar[tuple[str, ...]] = ()
    mutable: ClassVar[bool] = True

    @property
    def var(self) -> str:
        return self.name.upper()

    def define(self) -> list[str]:
        lines = [f"    {row[self.key]!r}: {row!r}," for row in self.rows]
        return [f"{self.var} = {{", *lines, "}"]

    def state(self) -> dict[str, Any]:
        """What setup(state) is handed for this table."""
        return {}

    def setup(self) -> list[str]:
        """The lines of setup(state) for this table."""
        return []

    def find(self, key: str, into: str, missing: str) -> list[str]:
        """Lines that bind `into` to the row whose key is the expression `key`, or raise a KeyError of `missing`."""
        return [
            f"if {key} not in {self.var}:",
            f"    raise KeyError({missing})",
            f"{into} = {self.var}[{key}]",
        ]

    def get(self, row: str, column: str) -> str:
        return f'{row}["{column}"]'

    def put(self, row: str, column: str, value: str) -> list[str]:
        return [f"{self.get(row, column)} = {value}"]

    def each(self) -> str:
        return f"{self.var}.values()"


class DictOfDicts(Layout):
    pass


class ListOfDicts(Layout):
    def define(self) -> list[str]:
        return [f"{self.var} = [", *(f"    {row!r}," for row in self.rows), "]"]

    def find(self, key: str, into: str, missing: str) -> list[str]:
        return [
            f'{into} = next((r for r in {self.var} if r["{self.key}"] == {key}), None)',
            f"if {into} is None:",
            f"    raise KeyError({missing})",
        ]

    def each(self) -> str:
        return self.var


class Dataclasses(Layout):
    imports = ("from dataclasses import dataclass",)

    @property
    def record(self) -> str:
        return self.name.title().replace("_", "") + "Record"

    def define(self) -> list[str]:
        fields = [f"    {column}: {type(value).__name__}" for column, value in self.rows[0].items()]
        made = [f"    {self.record}({', '.join(repr(v) for v in row.values())})," for row in self.rows]
        return ["@dataclass", f"class {self.record}:", *fields, "", "", f"{self.var} = [", *made, "]"]

    def find(self, key: str, into: str, missing: str) -> list[str]:
        return [
            f"for {into} in {self.var}:",
            f"    if {into}.{self.key} == {key}:",
            "        break",
            "else:",
            f"    raise KeyError({missing})",
        ]

    def get(self, row: str, column: str) -> str:
        return f"{row}.{column}"

    def each(self) -> str:
        return self.var


class Columns(Layout):
    """One dict per column; a row is its key."""

    def column(self, column: str) -> str:
        return f"{column.upper()}_OF_{self.var}"

    def define(self) -> list[str]:
        lines = []
        for column in self.rows[0]:
            pairs = ", ".join(f"{row[self.key]!r}: {row[column]!r}" for row in self.rows)
            lines.append(f"{self.column(column)} = {{{pairs}}}")
        return lines

    def find(self, key: str, into: str, missing: str) -> list[str]:
        return [
            f"{into} = {key}",
            f"if {into} not in {self.column(self.key)}:",
            f"    raise KeyError({missing})",
        ]

    def get(self, row: str, column: str) -> str:
        return f"{self.column(column)}[{row}]"

    def each(self) -> str:
        return f"list({self.column(self.key)})"


class Tuples(Layout):
    mutable = False

    def define(self) -> list[str]:
        head = f"# {', '.join(self.rows[0])}"
        return [head, f"{self.var} = (", *(f"    {tuple(row.values())!r}," for row in self.rows), ")"]

    def find(self, key: str, into: str, missing: str) -> list[str]:
        at = list(self.rows[0]).index(self.key)
        return [
            f"matches = [r for r in {self.var} if r[{at}] == {key}]",
            "if not matches:",
            f"    raise KeyError({missing})",
            f"{into} = matches[0]",
        ]

    def get(self, row: str, column: str) -> str:
        return f"{row}[{list(self.rows[0]).index(column)}]"

    def each(self) -> str:
        return self.var


class Sqlite(Layout):
    imports = ("import sqlite3",)

    @property
    def db(self) -> str:
        return f"{self.var}_DB"

    def define(self) -> list[str]:
        columns = ", ".join(f'"{column}"' for column in self.rows[0])
        marks = ", ".join("?" for _ in self.rows[0])
        rows = [f"    {tuple(row.values())!r}," for row in self.rows]
        return [
            f'{self.db} = sqlite3.connect(":memory:", check_same_thread=False)',
            f"{self.db}.row_factory = sqlite3.Row",
            f"{self.db}.execute('CREATE TABLE {self.name} ({columns})')",
            f'{self.db}.executemany("INSERT INTO {self.name} VALUES ({marks})", [',
            *rows,
            "])",
        ]

    def find(self, key: str, into: str, missing: str) -> list[str]:
        return [
            f"{into} = {self.db}.execute('SELECT * FROM {self.name} WHERE \"{self.key}\" = ?', ({key},)).fetchone()",
            f"if {into} is None:",
            f"    raise KeyError({missing})",
        ]

    def put(self, row: str, column: str, value: str) -> list[str]:
        sql = f'UPDATE {self.name} SET "{column}" = ? WHERE "{self.key}" = ?'
        return [f"{self.db}.execute('{sql}', ({value}, {self.get(row, self.key)}))"]

    def each(self) -> str:
        return f"{self.db}.execute('SELECT * FROM {self.name}').fetchall()"


class CsvText(Layout):
    """CSV text parsed when the source loads; whole-number columns become int again."""

    imports = ("import csv", "import io")

    def define(self) -> list[str]:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([list(self.rows[0]), *(list(r.values()) for r in self.rows)])
        lines = text.getvalue().splitlines()
        numbers = [c for c, v in self.rows[0].items() if isinstance(v, int | float)]
        cast = "".join(f', {c}={type(self.rows[0][c]).__name__}(r["{c}"])' for c in numbers)
        load = f"{{r[{self.key!r}]: dict(r{cast}) for r in csv.DictReader(io.StringIO({self.var}_CSV))}}"
        return [f'{self.var}_CSV = """\\', *lines, '"""', f"{self.var} = {load}"]


class NestedJson(Layout):
    imports = ("import json",)

    def define(self) -> list[str]:
        rows = ",\n".join("  " + json.dumps(row) for row in self.rows)
        return [
            f'_DOC_{self.var} = json.loads(\'\'\'{{"version": 2, "{self.name}": [',
            *rows.split("\n"),
            "]}''')",
            f'{self.var} = {{r["{self.key}"]: r for r in _DOC_{self.var}["{self.name}"]}}',
        ]


class Registry(Layout):
    """A class with methods; the functions stand in front of it."""

    def define(self) -> list[str]:
        title = self.name.title().replace("_", "")
        return [
            f"class {title}Registry:",
            "    def __init__(self, rows):",
            f'        self.rows = {{r["{self.key}"]: r for r in rows}}',
            "",
            "    def find(self, key):",
            "        return self.rows.get(key)",
            "",
            "    def all(self):",
            "        return list(self.rows.values())",
            "",
            "",
            f"{self.var} = {title}Registry([",
            *(f"    {row!r}," for row in self.rows),
            "])",
        ]

    def find(self, key: str, into: str, missing: str) -> list[str]:
        return [f"{into} = {self.var}.find({key})", f"if {into} is None:", f"    raise KeyError({missing})"]

    def each(self) -> str:
        return f"{self.var}.all()"


class HandedIn(Layout):
    """The table is not in the source: the episode's state hands it to setup(state)."""

    def state(self) -> dict[str, Any]:
        return {self.name: self.rows}

    def setup(self) -> list[str]:
        return [f'{self.var}.update({{r["{self.key}"]: dict(r) for r in state["{self.name}"]}})']

    def define(self) -> list[str]:
        return [f"{self.var} = {{}}"]


LAYOUTS: dict[str, type[Layout]] = {
    "dict": DictOfDicts,
    "list": ListOfDicts,
    "dataclass": Dataclasses,
    "columns": Columns,
    "tuples": Tuples,
    "sqlite": Sqlite,
    "csv": CsvText,
    "json": NestedJson,
    "registry": Registry,
    "state": HandedIn,
}


def choose(rng: random.Random, name: str, key: str, rows: list[Row], mutable: bool = False) -> Layout:
    kinds = [kind for kind in LAYOUTS.values() if kind.mutable or not mutable]
    return rng.choice(kinds)(name, key, rows)
