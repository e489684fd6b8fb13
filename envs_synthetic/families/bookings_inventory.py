"""bookings_inventory: tools that change a stock, move goods between places, or book and rebook slots.

Stateful: the last call reads what the calls before it have left behind.
"""

from envs_synthetic.draft import Builder, Draft, Param, Ref

FAMILY = "bookings_inventory"


def make(b: Builder, n_calls: int) -> Draft:
    shapes = [stock, transfers]
    if n_calls >= 3:
        shapes.append(bookings)
    return b.pick(shapes)(b, n_calls)


# -- stock: ups and downs of one item, then its count

DOWN = {"reserve": "reserve", "sell": "sell", "ship": "ship", "withdraw": "withdraw", "scrap": "scrap"}
UP = {"restock": "restock", "add": "add", "return": "return", "receive": "receive"}
LEFT = ("stock", "count", "level", "tally", "supply")


def stock(b: Builder, n_calls: int) -> Draft:
    names = b.words.several("item", b.rng.randint(4, 7))
    item = names[0]
    rows = [{"name": name, "stock": b.words.number(1200, 4900)} for name in names]
    table = b.table(b.pick(("stock", "goods", "inventory", "items")), "name", rows, mutable=True)
    param = b.spell(b.pick(("item", "name", "item_name", "product")))
    amount = b.spell(b.pick(("quantity", "amount", "count", "units")))
    down, up = b.pick(sorted(DOWN)), b.pick(sorted(UP))
    left = b.pick(LEFT)

    changers = {}
    for verb, sign in ((down, "-"), (up, "+")):
        body = table.find(param, "row", b.missing("item", param))
        if sign == "-":
            body += [
                f"if {amount} > {table.get('row', 'stock')}:",
                f'    raise ValueError(f"only {{{table.get("row", "stock").replace(chr(34), chr(39))}}} left")',
            ]
        body += [f"if {amount} <= 0:", f'    raise ValueError("{amount} must be positive")']
        body += table.put("row", "stock", f"{table.get('row', 'stock')} {sign} {amount}")
        body.append(b.pick(('return "ok"', f'return {{"done": "{verb}", "{param}": {param}}}', 'return {"ok": True}')))
        about = f"{verb.title()}s some units of an item."
        changers[verb] = (b.doer(verb, "item"), about, [Param(param), Param(amount, "integer")], body)
    returned, where = b.shape(left, table.get("row", "stock"), (param, param))
    reader = b.getter(left, "item")
    b.tool(
        reader,
        f"{left.capitalize()} of an item.",
        [Param(param)],
        [*table.find(param, "row", b.missing("item", param)), *returned],
    )

    verbs = [b.pick((down, up)) for _ in range(n_calls - 1)]
    for verb in changers:
        if verb in verbs or b.rng.random() < 0.5:
            b.tool(*changers[verb])
    changes = []
    for verb in verbs:
        units = b.words.number(11, 160)
        b.call(changers[verb][0], {param: item, amount: units})
        changes.append((verb, units))
    answer = Ref(b.call(reader, {param: item}), where)
    if b.rng.random() < 0.4:
        returned, _ = b.shape("items", "len(list(" + table.each() + "))")
        b.tool(b.spell("count", "items"), "How many kinds of items there are.", [], returned)
    told = ", then ".join(f"{verb} {units}" for verb, units in changes)
    listed = "; ".join(f"{verb} {units}" for verb, units in changes)
    question = b.pick(
        (
            f"For the {item}: {told}. What is the {left} afterwards?",
            f"{told[0].upper() + told[1:]} of the {item}. What is the {left} after that?",
            f"What is the {left} of the {item} once you {told}?",
            f"Please {told} units of the {item} and tell me its {left}.",
            f"Do this with the {item}, in order: {listed}. Then report the {left}.",
            f"I want to know the {left} of the {item} after these steps: {listed}.",
        )
    )
    return b.done(FAMILY, question, answer)


# -- transfers: amounts move between places

PLACES = (("account", "person", "balance"), ("depot", "city", "stock"), ("wallet", "person", "credit"))


def transfers(b: Builder, n_calls: int) -> Draft:
    noun, kind, held = b.pick(PLACES)
    places = b.words.several(kind, b.rng.randint(4, 6))
    rows = [{"name": name, "held": b.words.number(1500, 4900)} for name in places]
    table = b.table(f"{noun}s", "name", rows, mutable=True)
    source, target, amount = b.pick(
        (("source", "target", "amount"), ("giver", "taker", "amount"), ("start", "end", "units"))
    )
    verb = b.pick(("move", "transfer", "send"))
    body = [
        *table.find(source, "giving", b.missing(noun, source)),
        f"have = {table.get('giving', 'held')}",
        f"if {amount} > have:",
        '    raise ValueError(f"only {have} there")',
        *table.put("giving", "held", f"have - {amount}"),
        *table.find(target, "taking", b.missing(noun, target)),
        *table.put("taking", "held", f"{table.get('taking', 'held')} + {amount}"),
        b.pick(('return "moved"', 'return {"ok": True}', f'return {{"{b.spell("moved")}": {amount}}}')),
    ]
    mover = b.doer(verb, held)
    b.tool(
        mover,
        f"{verb.title()}s {held} between two {noun}s.",
        [Param(source), Param(target), Param(amount, "integer")],
        body,
    )
    param = b.pick((noun, "name"))
    reader, where = b.reader(table, held, "held", noun, param)
    param = b.spell(param)

    asked = places[0]
    legs = []
    for _ in range(n_calls - 1):
        other = b.pick(places[1:])
        legs.append((b.words.number(12, 280), *(b.pick(((asked, other), (other, asked))))))
    for units, giver, taker in legs:
        b.call(mover, {source: giver, target: taker, amount: units})
    answer = Ref(b.call(reader, {param: asked}), where)
    if b.rng.random() < 0.4:
        returned, _ = b.shape("total", f"sum({table.get('r', 'held')} for r in {table.each()})")
        b.tool(b.spell("total", held), f"Sum of {held} over all {noun}s.", [], returned)
    steps = [f"{units} from {giver} to {taker}" for units, giver, taker in legs]
    told, listed = ", then ".join(steps), "; ".join(steps)
    question = b.pick(
        (
            f"{verb} {told}. What is the {held} of {asked} now?",
            f"What is the {held} of {asked} after you {verb} {told}?",
            f"Please {verb} {told}, and tell me the {held} of {asked}.",
            f"{verb} in this order: {listed}. Report the {held} of {asked}.",
            f"I need the {held} of {asked} once you {verb} {told}.",
            f"First {verb} {told}. Then how much {held} does {asked} have?",
        )
    )
    return b.done(FAMILY, question, answer)


# -- bookings: a booking made, moved about, and confirmed

SLOTS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
THINGS = (("room", "word"), ("boat", "word"), ("studio", "city"), ("court", "word"), ("van", "person"))


def bookings(b: Builder, n_calls: int) -> Draft:
    """book, (move | assign)*, confirm: the receipt depends on where the booking ended and how often it changed."""
    thing, kind = b.pick(THINGS)
    names = [name.title() for name in b.words.several(kind, b.rng.randint(4, 6))]
    table = b.table(f"{thing}s", "name", [{"name": name, "rate": b.words.number(110, 480)} for name in names])
    ids = [b.words.code() for _ in range(3)]
    receipts = [b.words.code("B1074" if b.words.code_shape != "B1074" else "TR-582") for _ in range(23)]
    b.lines += [
        f"FREE_IDS = {ids!r}",
        f"RECEIPTS = {receipts!r}",
        f"DAYS = {list(SLOTS)!r}",
        "BOOKED = {}",
        "",
        "",
        "def stamp(booking):",
        "    held = BOOKED[booking]",
        "    mix = DAYS.index(held[1]) + 7 * held[2] + sum(ord(c) for c in held[0] + held[3])",
        "    return RECEIPTS[mix % len(RECEIPTS)]",
        "",
        "",
        "def booked(booking):",
        "    if booking not in BOOKED:",
        f"        raise KeyError({b.missing('booking', 'booking')})",
        "    return BOOKED[booking]",
    ]
    key, day = b.spell(thing), b.pick(("day", "weekday", "date"))
    ref = b.spell(b.pick(("booking", "booking_id", "ref")))
    check_day = [f"if {day} not in DAYS:", f'    raise ValueError("{day} must be one of " + ", ".join(DAYS))']
    returned, id_path = b.shape("booking", "booking", None)
    verb = b.pick(("book", "reserve"))
    book = b.doer(verb, thing)
    b.tool(
        book,
        f"{verb.title()}s a {thing} for a day.",
        [Param(key), Param(day)],
        [
            *table.find(key, "row", b.missing(thing, key)),
            *check_day,
            "booking = FREE_IDS.pop(0)",
            f'BOOKED[booking] = [{table.get("row", "name")}, {day}, 0, ""]',
            *returned,
        ],
    )
    done = b.pick(('return "ok"', 'return {"ok": True}', 'return "changed"'))
    verb_day, verb_name = b.pick(("move", "shift", "rebook")), b.pick(("assign", "hand", "give"))
    mover, hander = b.doer(verb_day, "booking"), b.doer(verb_name, "booking")
    person = b.pick(("person", "name", "guest"))
    move = (
        mover,
        "Moves a booking to another day.",
        [Param(ref), Param(day)],
        [f"held = booked({ref})", *check_day, f"held[1] = {day}", "held[2] += 1", done],
    )
    hand = (
        hander,
        "Puts a booking in a person's name.",
        [Param(ref), Param(person)],
        [f"held = booked({ref})", f"held[3] = {person}", "held[2] += 2", done],
    )
    confirm = b.doer(b.pick(("confirm", "close", "settle")), "booking")
    b.tool(
        confirm,
        "Confirms a booking and returns its receipt.",
        [Param(ref)],
        [f"booked({ref})", *b.shape("receipt", f"stamp({ref})")[0]],
    )

    first_day, chosen = b.pick(SLOTS), names[0]
    ticket = Ref(b.call(book, {key: chosen, day: first_day}), id_path)
    current, told = first_day, []
    used: set[str] = set()
    for _ in range(n_calls - 2):
        if b.rng.random() < 0.65:
            current = b.pick([slot for slot in SLOTS if slot != current])
            b.call(mover, {ref: ticket, day: current})
            told.append(f"{verb_day} it to {current}")
            used.add(mover)
        else:
            who = b.words.draw("person")
            b.call(hander, {ref: ticket, person: who})
            told.append(f"{verb_name} it to {who}")
            used.add(hander)
    for spec in (move, hand):
        if spec[0] in used or b.rng.random() < 0.3:
            b.tool(*spec)
    if b.rng.random() < 0.4:
        b.reader(table, "rate", "rate", thing, thing)
    _, where = b.shape("receipt", "")
    answer = Ref(b.call(confirm, {ref: ticket}), where)
    last = confirm.split("_")[0].removesuffix("Booking")
    steps = ", ".join(told)
    question = b.pick(
        (
            f"{verb} the {thing} {chosen} for {first_day}, {steps}, and {last} it. What is the receipt?",
            f"I need the receipt for this: {verb} {thing} {chosen} on {first_day}, {steps}, then {last} the booking.",
            f"{verb} {thing} {chosen} for {first_day}. Then {steps}. Finally {last} it and report its receipt.",
            f"Which receipt do you get when you {verb} {thing} {chosen} for {first_day}, {steps}, and {last} it?",
            f"On {first_day} we want the {thing} {chosen}: {verb} it. After that {steps}. Now {last} it. The receipt?",
            f"Please {verb} {chosen} ({thing}, {first_day}), {steps}, {last} it, and tell me the receipt.",
        )
    )
    return b.done(FAMILY, question, answer)
