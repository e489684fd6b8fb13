"""table_join: three tables that refer to each other by id; the answer needs rows from several of them.

Held out: no training task is of this family.
"""

from envs_synthetic.draft import Builder, Draft, Param, Path, Ref, a
from envs_synthetic.layouts import Layout, Row

FAMILY = "table_join"

# (who, kind), (link, its number), (what, kind): people have links, each link refers to a thing
SCHEMAS = (
    (("customer", "person"), ("order", "amount"), ("item", "item")),
    (("student", "person"), ("course", "credits"), ("teacher", "person")),
    (("patient", "person"), ("visit", "fee"), ("doctor", "person")),
    (("member", "person"), ("loan", "pages"), ("novel", "word")),
    (("driver", "person"), ("trip", "mileage"), ("city", "city")),
    (("farmer", "person"), ("field", "harvest"), ("crop", "word")),
    (("sailor", "person"), ("voyage", "nights"), ("harbor", "city")),
)
DETAILS = ("price", "rating", "stock", "weight", "license", "account")


def make(b: Builder, n_calls: int) -> Draft:
    world = World(b, links=max(2, n_calls - 3))
    shapes = []
    if n_calls == 2:
        shapes = [world.first_link]
    if n_calls in (3, 4):
        shapes = [world.through, world.through, world.select]
    if n_calls >= 5:
        shapes += [world.sum_of_links]
    if n_calls == 7:
        shapes += [world.sum_of_things]
    return b.pick(shapes)(n_calls)


class World:
    """The three tables. `id`-wise: who(name) -> id; links(who id) -> ids; link(id) -> number and thing; thing(id)."""

    def __init__(self, b: Builder, links: int) -> None:
        self.b = b
        (self.who, who_kind), (self.link, self.number), (self.thing, thing_kind) = b.pick(SCHEMAS)
        self.detail = b.pick(DETAILS)
        count = b.rng.randint(3, 4)
        self.people = [
            {"id": f"{self.who[0]}{n}", "name": name}
            for n, name in zip(b.rng.sample(range(10, 99), count), b.words.several(who_kind, count), strict=True)
        ]
        things = [name.title() if thing_kind == "word" else name for name in b.words.several(thing_kind, links + 3)]
        self.things = [
            {"id": f"{self.thing[0].upper()}{n}", "name": name, "detail": b.words.number()}
            for n, name in zip(b.rng.sample(range(100, 999), len(things)), things, strict=True)
        ]
        self.links: list[Row] = []
        self.asked = self.people[0]

    def fill(self, own: int) -> None:
        """Gives the person asked about `own` links, each to another thing, and the others some too."""
        owners = [self.asked] * own + [self.b.pick(self.people[1:]) for _ in range(self.b.rng.randint(2, 4))]
        things = self.things[:own] + [self.b.pick(self.things) for _ in owners[own:]]
        for owner, thing in zip(owners, things, strict=True):
            self.links.append(
                {
                    "id": self.b.words.code(),
                    "owner": owner["id"],
                    "thing": thing["id"],
                    "number": self.b.words.number(110, 990),
                }
            )
        b = self.b
        self.people_table = b.table(f"{self.who}s", "name", self.people)
        self.links_table = b.table(f"{self.link}s", "id", self.links)
        self.things_table = b.table("cities" if self.thing == "city" else f"{self.thing}s", "id", self.things)

    def who_tool(self) -> tuple[str, str, Path]:
        """name -> id of the person."""
        param = self.b.pick((self.who, "name"))
        tool, path = self.b.reader(
            self.people_table, f"{self.who} id", "id", "name", param, f"id of a {self.who} by name"
        )
        return tool, self.b.spell(param), path

    def links_tool(self, first_only: bool = False) -> tuple[str, str, Path]:
        """id of the person -> ids of the links (or of the only one)."""
        b, table = self.b, self.links_table
        param = b.spell(self.who, "id")
        body = [f"found = [{table.get('r', 'id')} for r in {table.each()} if {table.get('r', 'owner')} == {param}]"]
        body += ["if not found:", f'    raise KeyError(f"no {self.link} of {{{param}!r}}")']
        if first_only:
            returned, path = b.shape(self.link, "found[0]", (param, param))
            about = f"Id of the {self.link} of a {self.who} id."
        else:
            returned, path = b.shape(f"{self.link}s", "found", (param, param))
            about = f"Ids of all {self.link}s of a {self.who} id."
        name = b.getter(f"{self.link}s" if not first_only else self.link, self.who)
        return b.tool(name, about, [Param(param)], [*body, *returned]), param, path

    def link_tool(self, column: str) -> tuple[str, str, Path]:
        """id of a link -> its number or its thing's id."""
        noun = self.number if column == "number" else f"{self.thing} id"
        param = f"{self.link}_id"
        tool, path = self.b.reader(self.links_table, noun, column, self.link, param)
        return tool, self.b.spell(param), path

    def row_tool(self) -> tuple[str, str, dict[str, Path]]:
        """id of a link -> the whole row."""
        b, table, param = self.b, self.links_table, self.b.spell(self.link, "id")
        keys = {"thing": b.spell(self.thing, "id"), "number": b.spell(self.number)}
        fields = ", ".join(f'"{key}": {table.get("row", column)}' for column, key in keys.items())
        body = [*table.find(param, "row", b.missing(self.link, param)), f"return {{{fields}}}"]
        name = b.getter(self.link, "row")
        tool = b.tool(name, f"{self.thing.title()} id and {self.number} of {a(self.link)}.", [Param(param)], body)
        return tool, param, {column: (key,) for column, key in keys.items()}

    def thing_tool(self, column: str) -> tuple[str, str, Path]:
        noun = self.detail if column == "detail" else f"{self.thing} name"
        param = f"{self.thing}_id"
        tool, path = self.b.reader(self.things_table, noun, column, self.thing, param)
        return tool, self.b.spell(param), path

    def total_tool(self) -> tuple[str, Path]:
        returned, path = self.b.shape("total", "sum(values)")
        name = self.b.spell(*self.b.pick(("total_of", "add_up", "sum_of")).split("_"))
        return self.b.tool(name, "Adds up numbers.", [Param("values", "numbers")], returned), path

    # -- shapes

    def first_link(self, n_calls: int) -> Draft:
        """who -> link; or who -> sum over the links in one tool."""
        b = self.b
        summed = b.rng.random() < 0.5
        self.fill(b.rng.randint(2, 3) if summed else 1)
        who, who_param, id_at = self.who_tool()
        found = Ref(b.call(who, {who_param: self.asked["name"]}), id_at)
        name = self.asked["name"]
        if not summed:
            links, param, path = self.links_tool(first_only=True)
            answer = Ref(b.call(links, {param: found}), path)
            what = f"the {self.link} id of {self.who} {name}"
        else:
            param, table = b.spell(self.who, "id"), self.links_table
            value = f"sum({table.get('r', 'number')} for r in {table.each()} if {table.get('r', 'owner')} == {param})"
            returned, path = b.shape("total", value, (param, param))
            tool = b.getter(f"total {self.number}", self.who)
            b.tool(tool, f"Sum of {self.number} over a {self.who} id.", [Param(param)], returned)
            answer = Ref(b.call(tool, {param: found}), path)
            what = f"the total {self.number} of {self.who} {name}"
        if b.rng.random() < 0.5:
            self.thing_tool("detail")
        return b.done(FAMILY, self.ask(what), answer)

    def through(self, n_calls: int) -> Draft:
        """who -> the only link -> (thing ->) a value."""
        b = self.b
        self.fill(1)
        who, who_param, id_at = self.who_tool()
        links, links_param, link_at = self.links_tool(first_only=True)
        found = Ref(b.call(who, {who_param: self.asked["name"]}), id_at)
        link = Ref(b.call(links, {links_param: found}), link_at)
        name = self.asked["name"]
        if n_calls == 3:
            tool, param, path = self.link_tool("number")
            answer = Ref(b.call(tool, {param: link}), path)
            what = f"the {self.number} of the {self.link} of {self.who} {name}"
            if b.rng.random() < 0.4:
                self.thing_tool("detail")
        else:
            tool, param, path = self.link_tool("thing")
            thing = Ref(b.call(tool, {param: link}), path)
            column = b.pick(("detail", "name"))
            last, last_param, last_at = self.thing_tool(column)
            answer = Ref(b.call(last, {last_param: thing}), last_at)
            noun = f"{self.detail} of the {self.thing}" if column == "detail" else f"{self.thing} name"
            what = f"the {noun} of the {self.link} of {self.who} {name}"
        return b.done(FAMILY, self.ask(what), answer)

    def select(self, n_calls: int) -> Draft:
        """One generic tool over all tables: value of a column in the row where a key column has a value."""
        b = self.b
        self.fill(1)
        who_id, thing_id = f"{self.who}_id", f"{self.thing}_id"
        link_columns = {"id": "id", who_id: "owner", thing_id: "thing", self.number: "number"}
        tables: dict[str, tuple[Layout, dict[str, str]]] = {
            f"{self.who}s": (self.people_table, {"id": "id", "name": "name"}),
            f"{self.link}s": (self.links_table, link_columns),
            self.things_table.name: (self.things_table, {"id": "id", "name": "name", self.detail: "detail"}),
        }
        b.lines.append("def rows_of(table):")
        for name, (table, columns) in tables.items():
            fields = ", ".join(f'"{shown}": {table.get("r", column)}' for shown, column in columns.items())
            b.lines += [f'    if table == "{name}":', f"        return [{{{fields}}} for r in {table.each()}]"]
        b.lines.append(f'    raise KeyError(f"no table {{table!r}}; tables: {", ".join(tables)}")')
        where, value, column = b.pick(
            (("where", "value", "column"), ("key", "equals", "column"), ("by", "value", "take"))
        )
        all_columns = tuple(dict.fromkeys(shown for _, columns in tables.values() for shown in columns))
        returned, path = b.shape("value", f"found[0][{column}]")
        body = [
            "rows = rows_of(table)",
            f"for asked in ({where}, {column}):",
            "    if asked not in rows[0]:",
            '        raise KeyError(f"no column {asked!r}; columns: " + ", ".join(rows[0]))',
            f"found = [r for r in rows if str(r[{where}]) == {value}]",
            "if not found:",
            f'    raise LookupError(f"no row with {{{where}}} {{{value}!r}}")',
            *returned,
        ]
        params = [
            Param("table", enum=tuple(tables)),
            Param(where, enum=all_columns),
            Param(value),
            Param(column, enum=all_columns),
        ]
        tool = b.tool(b.pick(("select", b.spell("select", "value"), b.spell("query", "table"))),
                      "Value of a column where another column matches.", params, body)  # fmt: skip

        def look(table: str, by: str, equals: str | Ref, take: str) -> Ref:
            return Ref(b.call(tool, {"table": table, where: by, value: equals, column: take}), path)

        name = self.asked["name"]
        found = look(f"{self.who}s", "name", name, "id")
        if n_calls == 3:
            thing = look(f"{self.link}s", who_id, found, thing_id)
            take = b.pick(("detail", "name"))
        else:
            link = look(f"{self.link}s", who_id, found, "id")
            thing = look(f"{self.link}s", "id", link, thing_id)
            take = "detail"
        answer = look(self.things_table.name, "id", thing, self.detail if take == "detail" else "name")
        noun = f"{self.detail} of the {self.thing}" if take == "detail" else f"{self.thing} name"
        return b.done(FAMILY, self.ask(f"the {noun} of the {self.link} of {self.who} {name}"), answer)

    def sum_of_links(self, n_calls: int) -> Draft:
        """who -> links -> the number of each -> total."""
        b, own = self.b, n_calls - 3
        self.fill(own)
        who, who_param, id_at = self.who_tool()
        links, links_param, links_at = self.links_tool()
        if b.rng.random() < 0.5:
            tool, param, path = self.link_tool("number")
        else:
            tool, param, paths = self.row_tool()
            path = paths["number"]
        total, total_at = self.total_tool()
        found = Ref(b.call(who, {who_param: self.asked["name"]}), id_at)
        listed = b.call(links, {links_param: found})
        numbers = [Ref(b.call(tool, {param: Ref(listed, (*links_at, at))}), path) for at in range(own)]
        answer = Ref(b.call(total, {"values": numbers}), total_at)
        if b.rng.random() < 0.3:
            self.thing_tool("detail")
        what = f"the total {self.number} over all {self.link}s of {self.who} {self.asked['name']}"
        return b.done(FAMILY, self.ask(what), answer)

    def sum_of_things(self, n_calls: int) -> Draft:
        """who -> links -> the thing of each -> a detail of each -> total."""
        b, own = self.b, (n_calls - 3) // 2  # two calls a link, and three more
        self.fill(own)
        who, who_param, id_at = self.who_tool()
        links, links_param, links_at = self.links_tool()
        tool, param, path = self.link_tool("thing")
        last, last_param, last_at = self.thing_tool("detail")
        found = Ref(b.call(who, {who_param: self.asked["name"]}), id_at)
        listed = b.call(links, {links_param: found})
        details = []
        for at in range(own):
            thing = Ref(b.call(tool, {param: Ref(listed, (*links_at, at))}), path)
            details.append(Ref(b.call(last, {last_param: thing}), last_at))
        total, total_at = self.total_tool()
        answer = Ref(b.call(total, {"values": details}), total_at)
        what = (
            f"the total {self.detail} of the {self.thing} behind every {self.link} of {self.who} {self.asked['name']}"
        )
        return b.done(FAMILY, self.ask(what), answer)

    def ask(self, what: str) -> str:
        whose = what.rsplit(" of ", 1)[1]
        return self.b.pick(
            (
                f"What is {what}?",
                f"Tell me {what}.",
                f"For {whose}, find {what.rsplit(' of ', 1)[0]}.",
                f"Look up {what} in the tables.",
                f"I need {what}. What is it?",
                f"The tables know {what}. Report it.",
            )
        )
