"""text_search: notes point to other notes, by subject or by id, until one holds what was asked for."""

import re

from envs_synthetic.draft import Builder, Draft, Param, Path, Ref, a
from envs_synthetic.layouts import Layout, Row

FAMILY = "text_search"

DOCS = ("note", "memo", "letter", "page", "report", "email", "ticket")
SOUGHT = {
    "code": ("The code is {0} now.", "Use code {0} at the door.", "Its code reads {0} today.", "Remember code {0}."),
    "locker": ("It lies in locker {0} today.", "Look in locker {0} first.", "Kept in locker {0} since May."),
    "phone": ("Call phone {0} about it.", "The phone is {0} now.", "Ask at phone {0} for help."),
    "price": ("The price was {0} last week.", "Sold at a price of {0} each.", "Its price rose to {0} here."),
    "reference": ("Filed under reference {0} now.", "Quote reference {0} please.", "See reference {0} in the archive."),
}
NUMBERS = ("phone", "price")
# how a text about {0} leads on to a subject or an id {1}
BY_SUBJECT = (
    "The {0} was moved; the {2} about the {1} says more.",
    "Nothing on the {0} here. Read on about the {1}.",
    "For the {0} see the {2} about the {1}.",
    "The {0} depends on the {1} now.",
)
BY_ID = (
    "The {0} was checked; continue with {2} {1}.",
    "More on the {0} stands in {2} {1}.",
    "The {0} is gone. Replaced by {2} {1}.",
    "Details of the {0} went to {2} {1}.",
)


def make(b: Builder, n_calls: int) -> Draft:
    doc, sought = b.pick(DOCS), b.pick(sorted(SOUGHT))
    extract = b.rng.random() < 0.5  # a tool reads the value out of the last text; else that text is the last result
    hops = plan(b, n_calls)
    subjects = b.words.several("item", len(hops) + b.rng.randint(2, 3))
    ids = [b.words.code() for _ in hops]
    last = b.pick(SOUGHT[sought])
    value = b.words.number(1001, 9899) if sought in NUMBERS else b.words.code()

    texts = []
    for at in range(len(hops) - 1):
        leads = BY_SUBJECT if hops[at + 1] == "search" else BY_ID
        texts.append(b.pick(leads).format(subjects[at], (subjects if leads is BY_SUBJECT else ids)[at + 1], doc))
    rows = [row(b, *found, 2000) for found in zip(ids, subjects, [*texts, last.format(value)], strict=False)]
    for subject in subjects[len(hops) :]:
        other = b.words.number(1001, 9899) if sought in NUMBERS else b.words.code()
        rows.append(row(b, b.words.code(), subject, b.pick(SOUGHT[sought]).format(other), 1980))
    table = b.table(f"{doc}s", "id", rows)

    tools = Tools(b, table, doc)
    search, query, found_at = tools.search()
    ref, read, text_at = tools.read()
    extractor, value_at = tools.extract(sought) if extract else (read, text_at)

    step = 0
    for at, how in enumerate(hops):
        if how == "search":
            asked = Ref(step, text_at, rf"\b({subjects[at]})\b") if at else subjects[0]
            found = b.call(search, {query: asked})
            given = Ref(found, found_at)
        else:
            given = Ref(step, text_at, rf"(?<!\w)({ids[at]})(?!\w)")
        step = b.call(extractor if at == len(hops) - 1 else read, {ref: given})
    pattern = None if extract else re.escape(last).replace(r"\{0\}", r"([\w-]+)")
    return b.done(FAMILY, ask(b, doc, sought, subjects[0], len(hops)), Ref(step, value_at, pattern))


def plan(b: Builder, calls: int) -> list[str]:
    """Hops whose calls add up: one by search takes two calls, one by id takes one."""
    hops = ["search"]
    calls -= 2
    while calls:
        hops.append("id" if calls == 1 or b.rng.random() < 0.5 else "search")
        calls -= 1 if hops[-1] == "id" else 2
    return hops


def row(b: Builder, ref: str, subject: str, text: str, since: int) -> Row:
    return {"id": ref, "subject": subject, "year": since + b.rng.randint(1, 19), "text": text}


class Tools:
    """The tools over one table of documents; each method adds one and says how it is called and read."""

    def __init__(self, b: Builder, table: Layout, doc: str) -> None:
        self.b, self.table, self.doc = b, table, doc
        self.ref = b.spell(b.pick((doc, f"{doc}_id", "id")))
        self.find = table.find(self.ref, "row", b.missing(doc, self.ref))

    def search(self) -> tuple[str, str, Path]:
        """(tool, its parameter, where the id is): it gives a list of ids, or only the first."""
        b, get = self.b, self.table.get
        query = b.pick(("query", "subject", "topic", "word"))
        match = b.pick((f"{get('r', 'subject')} == {query}.lower()", f"{query}.lower() in {get('r', 'subject')}"))
        if b.rng.random() < 0.5:
            body = [f"found = [{get('r', 'id')} for r in {self.table.each()} if {match}]"]
        else:
            body = ["found = []", f"for r in {self.table.each()}:", f"    if {match}:"]
            body.append(f"        found.append({get('r', 'id')})")
        several = b.rng.random() < 0.5
        if not several:
            body += ["if not found:", f'    raise LookupError(f"no {self.doc} about {{{query}!r}}")']
        returned, path = b.shape("ids", "found") if several else b.shape(b.pick(("id", self.doc)), "found[0]")
        name = b.spell(b.pick(("search", "find", "lookup")), f"{self.doc}s")
        about = f"Ids of {self.doc}s about a subject." if several else f"Id of the {self.doc} about a subject."
        return b.tool(name, about, [Param(query)], [*body, *returned]), query, (*path, 0) if several else path

    def read(self) -> tuple[str, str, Path]:
        """(the parameter, the tool, where the text is)."""
        b = self.b
        returned, path = b.shape("text", self.table.get("row", "text"), (self.ref, self.ref))
        name = b.spell(b.pick(("read", "open", "get", "fetch")), self.doc)
        return self.ref, b.tool(name, f"Text of one {self.doc}.", [Param(self.ref)], [*self.find, *returned]), path

    def extract(self, sought: str) -> tuple[str, Path]:
        """(tool, where the value is); it takes the same parameter as read."""
        b = self.b
        returned, path = b.shape(sought, "match[1]", (self.ref, self.ref))
        body = [
            *self.find,
            f"text = {self.table.get('row', 'text')}",
            f'match = re.search(r"{sought}\\D*? ([\\w-]*\\d[\\w-]*)", text)',
            "if match is None:",
            f'    raise ValueError("no {sought} in this {self.doc}")',
            *returned,
        ]
        b.imports.add("import re")
        return b.tool(
            b.getter(sought, self.doc), f"The {sought} written in {a(self.doc)}.", [Param(self.ref)], body
        ), path


def ask(b: Builder, doc: str, sought: str, subject: str, hops: int) -> str:
    first = f"the {doc} about the {subject}"
    if hops == 1:
        return b.pick(
            (
                f"Which {sought} does {first} give?",
                f"What {sought} stands in {first}?",
                f"Find {first} and report the {sought}.",
                f"I need the {sought} from {first}.",
                f"There is a {sought} in {first}. What is it?",
                f"Look for {first}; what {sought} does it name?",
            )
        )
    times = {2: "one more", 3: "two more"}.get(hops, f"{hops - 1} more")
    return b.pick(
        (
            f"Start with {first} and follow it from {doc} to {doc} until you find a {sought}. Which?",
            f"{first} leads through {times} to a {sought}. What is the {sought}?",
            f"Find {first}, read on where it points, and report the {sought} at the end.",
            f"What {sought} do you find when you follow {first} through {times}?",
            f"I need a {sought}. The trail begins at {first}; follow it.",
            f"Follow the trail of {doc}s that begins with {first}. Which {sought} is at its end?",
        )
    )
