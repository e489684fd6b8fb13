"""lookup_chain: a thing leads to a person, the person to a city, and so on; each hop is one look-up.

Tools are either one per relation ("find_supplier") or one per kind that returns a whole record ("get_item").
"""

from envs_synthetic.draft import MAX_TOOLS, Builder, Draft, Param, Path, Ref, sentence

# kind -> relation -> kind it leads to; "code" and "number" lead nowhere
RELATIONS = {
    "item": {
        "supplier": "company", "maker": "company", "owner": "person", "designer": "person", "origin": "city",
        "shelf": "code", "price": "number", "barcode": "number", "part number": "code",
    },
    "person": {
        "manager": "person", "mentor": "person", "neighbor": "person", "hometown": "city", "employer": "company",
        "keepsake": "item", "locker": "code", "badge": "code", "phone": "number", "last order": "order",
    },
    "company": {
        "director": "person", "founder": "person", "headquarters": "city", "rival": "company", "flagship": "item",
        "contract": "code", "account": "number",
    },
    "city": {
        "mayor": "person", "twin city": "city", "main employer": "company", "depot": "code", "postcode": "number",
    },
    "order": {
        "buyer": "person", "product": "item", "courier": "company", "destination": "city", "invoice": "code",
        "total": "number",
    },
}  # fmt: skip
ENDS = ("code", "number")
SYNONYMS = {
    "supplier": "vendor", "maker": "manufacturer", "owner": "holder", "manager": "boss", "mentor": "coach",
    "price": "cost", "employer": "workplace", "director": "head", "buyer": "customer", "courier": "carrier",
    "phone": "phone number", "twin city": "sister city", "product": "article",
}  # fmt: skip
PARAMS = {
    "item": ("item", "name", "item_name"),
    "person": ("person", "name", "who"),
    "company": ("company", "name", "firm"),
    "city": ("city", "name", "place"),
    "order": ("order", "order_id", "id"),
}
PLURALS = {"item": "items", "person": "people", "company": "companies", "city": "cities", "order": "orders"}
SUFFIXES = ("Works", "Foods", "Labs", "Group", "Press", "Lines", "Tools")

Hop = tuple[str, str]  # kind, relation


def make(b: Builder, n_calls: int) -> Draft:
    hops = walk(b, n_calls)
    kinds = list(dict.fromkeys(kind for kind, _ in hops))
    entities = Entities(b)
    path = [entities.new(kind) for kind, _ in hops]
    end_kind = RELATIONS[hops[-1][0]][hops[-1][1]]
    path.append(entities.new(end_kind))

    extra = spare_relations(b, hops)
    columns = {kind: list(dict.fromkeys(r for k, r in hops + extra if k == kind)) for kind in kinds}
    for kind in kinds:
        for _ in range(b.rng.randint(2, 4)):
            entities.new(kind)
    tables = {}
    for kind in kinds:
        rows = []
        for entity in entities.of[kind]:
            row = {"name": entity}
            for relation in columns[kind]:
                row[column(relation)] = entities.any(RELATIONS[kind][relation], path[-1])
            rows.append(row)
        for at, (kind_at, relation) in enumerate(hops):
            if kind_at == kind:
                next(r for r in rows if r["name"] == path[at])[column(relation)] = path[at + 1]
        tables[kind] = b.table(PLURALS[kind], "name", rows)

    record_wise = b.rng.random() < 0.3
    readers = record_readers(b, tables, columns) if record_wise else relation_readers(b, tables, hops, extra)
    given: str | Ref = path[0]
    for hop in hops:
        tool, param, where = readers[hop]
        given = Ref(b.call(tool, {param: given}), where)
    start = {"item": f"the {path[0]}", "order": f"order {path[0]}"}.get(hops[0][0], path[0])
    return b.done("lookup_chain", ask(b, start, [relation for _, relation in hops]), given)


def column(relation: str) -> str:
    return relation.replace(" ", "_")


def walk(b: Builder, n_calls: int) -> list[Hop]:
    """Hops over at most four different relations, the last of which leads to a name, code or number."""
    while True:
        hops: list[Hop] = []
        kind = b.pick(("item", "item", "person", "company", "city", "order"))
        for at in range(n_calls):
            last = at == n_calls - 1
            options = [r for r, to in RELATIONS[kind].items() if (to in ENDS and last) or (to not in ENDS)]
            if last and b.rng.random() < 0.6:
                options = [r for r in options if RELATIONS[kind][r] in ENDS]
            if len(set(hops)) >= (3 if not last else 4):
                options = [r for r in options if (kind, r) in hops] or (options if last else [])
            if not options:
                break
            relation = b.pick(options)
            hops.append((kind, relation))
            kind = RELATIONS[kind][relation]
        if len(hops) == n_calls and len(set(hops)) <= 4:
            return hops


def spare_relations(b: Builder, hops: list[Hop]) -> list[Hop]:
    """Up to two relations of the same kinds that the question does not ask for."""
    kinds = {kind for kind, _ in hops}
    spare = [(k, r) for k in RELATIONS if k in kinds for r in RELATIONS[k] if (k, r) not in hops]
    return b.rng.sample(spare, min(b.rng.randint(0, 2), MAX_TOOLS - len(set(hops)), len(spare)))


class Entities:
    """Names per kind; `any` gives one of a kind for noise, never `avoid`."""

    def __init__(self, b: Builder) -> None:
        self.b = b
        self.of: dict[str, list] = {}
        self.suffix = b.pick(SUFFIXES)

    def new(self, kind: str) -> str | int:
        words = self.b.words
        if kind == "company":
            made = f"{words.draw('word').title()} {self.suffix}"
        elif kind in ("code", "order"):
            made = words.code()
        else:
            made = words.number() if kind == "number" else words.draw(kind)
        self.of.setdefault(kind, []).append(made)
        return made

    def any(self, kind: str, avoid: str | int) -> str | int:
        if kind in ENDS:
            return self.new(kind)
        while len([e for e in self.of.get(kind, []) if e != avoid]) < 2:
            self.new(kind)
        return self.b.pick([e for e in self.of[kind] if e != avoid])


Readers = dict[Hop, tuple[str, str, Path]]  # hop -> (tool, parameter, path in the result)


def relation_readers(b: Builder, tables: dict, hops: list[Hop], extra: list[Hop]) -> Readers:
    readers = {}
    params = {kind: b.pick(PARAMS[kind]) for kind in tables}
    for kind, relation in dict.fromkeys(hops + extra):
        tool, where = b.reader(tables[kind], relation, column(relation), kind, params[kind])
        readers[kind, relation] = (tool, b.spell(params[kind]), where)
    return readers


def record_readers(b: Builder, tables: dict, columns: dict[str, list[str]]) -> Readers:
    readers = {}
    for kind, table in tables.items():
        param = b.spell(b.pick(PARAMS[kind]))
        fields = ", ".join(f'"{b.spell(r)}": {table.get("row", column(r))}' for r in columns[kind])
        body = [*table.find(param, "row", b.missing(kind, param)), f"return {{{fields}}}"]
        named = columns[kind][0] if len(columns[kind]) == 1 else f"{columns[kind][0]} and {columns[kind][1]}"
        about = f"record of one {kind}: {named}" if len(columns[kind]) < 3 else f"record of one {kind}"
        name = b.tool(b.getter(kind, "record"), sentence(about), [Param(param)], body)
        for relation in columns[kind]:
            readers[kind, relation] = (name, param, (b.spell(relation),))
    return readers


def ask(b: Builder, start: str, relations: list[str]) -> str:
    words = [SYNONYMS[r] if r in SYNONYMS and b.rng.random() < 0.12 else r for r in relations]
    last = words[-1]
    nested = " of ".join(f"the {r}" for r in reversed(words)) + f" of {start}"
    owned = start + "".join(f"'s {r}" for r in words)
    forward = ", then the ".join(words)
    templates = [
        f"What is {nested}?",
        f"Tell me {nested}.",
        f"I need {nested}. What is it?",
        f"Please look up {nested}.",
        f"Start with {start} and take the {forward}. Report that last {last}.",
        f"For {start}, find the {forward}. What is the {last}?",
        f"Which {last} do you reach from {start} by taking the {forward}?",
        f"Someone asks about {start}: what is {nested.removesuffix(start)}it?" if len(words) < 4 else f"Give {nested}.",
    ]
    if len(words) <= 3:
        templates += [f"What is {owned}?", f"Look up {owned}."]
    return b.pick(templates)
