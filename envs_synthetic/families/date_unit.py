"""date_unit: dates are shifted and measures converted, always by a tool: nothing is worked out in the head."""

from envs_synthetic.draft import Builder, Draft, Param, Ref

FAMILY = "date_unit"


def make(b: Builder, n_calls: int) -> Draft:
    return b.pick((dates, measures))(b, n_calls)


# -- dates: look one up, then shift it step by step

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
EVENTS = {
    "due date": ("invoice", "code"),
    "delivery date": ("order", "code"),
    "opening date": ("the shop in", "city"),
    "start date": ("project", "word"),
    "birthday": ("", "person"),
    "expiry date": ("permit", "code"),
    "purchase date": ("the", "item"),
}
KEYS = {"code": "ref", "city": "city", "word": "project", "person": "person", "item": "item"}

# operation -> (tool names, description, second parameter, its type)
SHIFTS = {
    "days": (("add_days", "shift_days", "days_after"), "Date some days later.", "days", "integer"),
    "weeks": (("add_weeks", "shift_weeks", "weeks_after"), "Date some weeks later.", "weeks", "integer"),
    "back": (("subtract_days", "days_before", "go_back"), "Date some days earlier.", "days", "integer"),
    "weekday": (("next_weekday", "find_weekday", "following"), "Next given weekday after a date.", "weekday", "string"),
}
DELTAS = {"days": "+ timedelta(days={0})", "weeks": "+ timedelta(weeks={0})", "back": "- timedelta(days={0})"}


def dates(b: Builder, n_calls: int) -> Draft:
    event = b.pick(sorted(EVENTS))
    prefix, kind = EVENTS[event]
    value = b.words.code if kind == "code" else lambda: b.words.draw(kind)
    names = [value().title() if kind == "word" else value() for _ in range(b.rng.randint(3, 6))]
    rows = [{"name": name, "date": any_date(b)} for name in names]
    table = b.table(b.pick(("dates", "events", "records")), "name", rows)
    param = KEYS[kind] if kind != "code" or b.rng.random() < 0.5 else f"{prefix}_id"
    reader, where = b.reader(table, event, "date", prefix if kind == "code" else KEYS[kind], param)
    param = b.spell(param)
    b.imports.add("from datetime import date, timedelta")
    gap = n_calls >= 3 and b.rng.random() < 0.25  # ends with the days between the shifted date and another one
    shifts = [b.pick(sorted(SHIFTS)) for _ in range(n_calls - (3 if gap else 1))]
    while len(set(shifts)) > 3:
        shifts = [b.pick(sorted(set(shifts))[:3]) for _ in shifts]
    spare = [s for s in SHIFTS if s not in shifts]
    offered = list(dict.fromkeys(shifts)) + (b.rng.sample(spare, 1) if b.rng.random() < 0.4 else [])
    start_name = b.spell(b.pick(("day", "start", "start_date", "from_date")))
    tools = {shift: shift_tool(b, shift, start_name) for shift in offered}

    thing = f"{prefix} {names[0]}".strip()
    at = Ref(b.call(reader, {param: names[0]}), where)
    told = []
    for shift in shifts:
        name, extra, path = tools[shift]
        if shift == "weekday":
            amount: str | int = b.pick(WEEKDAYS)
            told.append(b.pick((f"go to the next {amount}", f"take the next {amount}")))
        else:
            amount = b.rng.randint(2, 12) if shift == "weeks" else b.rng.randint(3, 95)
            unit = "weeks" if shift == "weeks" else "days"
            told.append(f"{'go back' if shift == 'back' else b.pick(('add', 'add', 'go on'))} {amount} {unit}")
        at = Ref(b.call(name, {start_name: at, extra: amount}), path)
    if gap:
        other_thing = f"{prefix} {names[1]}".strip()
        other = Ref(b.call(reader, {param: names[1]}), where)
        first, second = b.pick((("start", "end"), ("first", "second"), ("date1", "date2")))
        name = b.spell(b.pick(("days_between", "count_days", "gap_days")))
        body, path = b.shape("days", f"abs((date.fromisoformat({second}) - date.fromisoformat({first})).days)")
        b.tool(name, "Days between two dates.", [Param(first), Param(second)], body)
        at = Ref(b.call(name, {first: at, second: other}), path)
        question = ask_gap(b, event, thing, other_thing, told)
    else:
        question = ask_date(b, event, thing, told)
    return b.done(FAMILY, question, at)


def any_date(b: Builder) -> str:
    return f"{b.rng.randint(2011, 2034)}-{b.rng.randint(1, 12):02d}-{b.rng.randint(1, 28):02d}"


def shift_tool(b: Builder, shift: str, start: str) -> tuple[str, str, tuple]:
    """(tool, its second parameter, the path to the date in its result)."""
    names, about, extra, kind = SHIFTS[shift]
    name = b.spell(*b.pick(names).split("_"))
    body = [f"day = date.fromisoformat({start})"]
    if shift == "weekday":
        body += [
            f"names = {list(WEEKDAYS)!r}",
            f"if {extra} not in names:",
            f'    raise ValueError("{extra} must be one of " + ", ".join(names))',
            f"ahead = (names.index({extra}) - day.weekday() - 1) % 7 + 1",
        ]
        returned, path = b.shape("date", "(day + timedelta(days=ahead)).isoformat()")
    elif b.rng.random() < 0.3 and shift != "back":
        step = {"days": 1, "weeks": 7}[shift]
        body += [f"for _ in range({extra}):", f"    day += timedelta(days={step})"]
        returned, path = b.shape("date", "day.isoformat()")
    else:
        returned, path = b.shape("date", f"(day {DELTAS[shift].format(extra)}).isoformat()")
    b.tool(name, about, [Param(start), Param(extra, kind)], [*body, *returned])
    return name, extra, path


def owner(event: str, thing: str) -> str:
    return f"the {event} of {thing}"


def ask_date(b: Builder, event: str, thing: str, told: list[str]) -> str:
    steps, listed, what = ", then ".join(told), "; ".join(told), owner(event, thing)
    return b.pick(
        (
            f"Take {what}, {steps}. What date is that?",
            f"Start from {what}, then {steps}. Which date do you get?",
            f"Which date comes out when you take {what}, then {steps}?",
            f"From {what}: {listed}. Report the date.",
            f"I need a date: {what}, then {steps}.",
            f"Look up {what}. Now {steps}. The resulting date?",
            f"{steps}, counting from {what}. What is the date?",
        )
    )


def ask_gap(b: Builder, event: str, thing: str, other: str, told: list[str]) -> str:
    what, whose = owner(event, thing), owner(event, other)
    if not told:
        return b.pick(
            (
                f"How many days lie between {what} and that of {other}?",
                f"How many days are there between {what} and {whose}?",
                f"Count the days between {what} and {whose}.",
                f"By how many days do {what} and {whose} differ?",
                f"Take {what} and {whose}. How many days are between them?",
                f"I want the number of days between {what} and that of {other}.",
            )
        )
    steps = ", then ".join(told)
    return b.pick(
        (
            f"Take {what}, {steps}. How many days are between that date and {whose}?",
            f"How many days lie between {whose} and the date you get from {what} when you {steps}?",
            f"From {what}, {steps}. Count the days between the result and {whose}.",
            f"Start with {what}; {steps}. What is the gap in days to {whose}?",
            f"I want the days between two dates: {what} after you {steps}, and {whose}.",
            f"Shift {what} ({steps}). By how many days does it differ from {whose}?",
        )
    )


# -- measures: look some up, add, scale, convert

# quantity -> (unit -> size in the first unit)
UNITS = {
    "length": {"cm": 1, "inches": 2.54, "feet": 30.48, "meters": 100, "yards": 91.44},
    "weight": {"grams": 1, "pounds": 453.6, "ounces": 28.35, "kilos": 1000},
    "volume": {"ml": 1, "cups": 236.6, "pints": 473.2, "liters": 1000, "gallons": 3785},
    "duration": {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400},
}
NOUNS = {
    "length": ("length", "height", "width"),
    "weight": ("weight", "mass", "load"),
    "volume": ("volume", "capacity", "content"),
    "duration": ("runtime", "duration", "lifetime"),
}


def measures(b: Builder, n_calls: int) -> Draft:
    quantity = b.pick(sorted(UNITS))
    sizes = UNITS[quantity]
    unit, *targets = b.rng.sample(sorted(sizes), 3)
    noun = b.pick(NOUNS[quantity])
    # n = things + (1 total if several) + (1 scale) + (1 convert) [+ 1 convert back on]
    things, scaled, converted = b.pick(plans(n_calls))
    items = b.words.several("item", max(things + 1, b.rng.randint(4, 6)))
    rows = [{"name": item, "amount": b.rng.randint(11, 480)} for item in items]
    table = b.table(b.pick(("measures", "sizes", "specs")), "name", rows)
    reader, where = b.reader(table, noun, "amount", "item", "item", f"{noun} of an item in {unit}")

    ends = [Ref(b.call(reader, {"item": item}), where) for item in items[:things]]
    at, tail = ends[0], []
    if things > 1:
        returned, path = b.shape("total", "round(sum(values), 2)")
        name = b.spell(*b.pick(("total_of", "add_up", "sum_of")).split("_"))
        b.tool(name, "Adds up numbers.", [Param("values", "numbers")], returned)
        at = Ref(b.call(name, {"values": ends}), path)
    if scaled:
        by = b.spell(b.pick(("by", "factor", "times")))
        times = b.rng.randint(3, 19)
        returned, path = b.shape("product", f"round(value * {by}, 2)")
        name = b.spell(b.pick(("multiply", "scale", "multiplied")))
        b.tool(name, "Multiplies a number.", [Param("value", "number"), Param(by, "number")], returned)
        at = Ref(b.call(name, {"value": at, by: times}), path)
        tail.append(f"multiply by {times}")
    if converted:
        convert, params, path = convert_tool(b, sizes)
        for here, there in zip([unit, *targets], targets[:converted], strict=False):
            at = Ref(b.call(convert, {params[0]: at, params[1]: here, params[2]: there}), path)
            tail.append(f"convert from {here} to {there}")
    if b.rng.random() < 0.3 and len(b.tools) < 5:
        color = b.table("extras", "name", [{"name": item, "serial": b.words.code()} for item in items])
        b.reader(color, "serial", "serial", "item", "item")
    return b.done(FAMILY, ask_measure(b, noun, items[:things], tail, converted, targets, unit), at)


def plans(n_calls: int) -> list[tuple[int, int, int]]:
    """(things, scaled, conversions) that make up n_calls."""
    found = []
    for scaled in (0, 1):
        for converted in (0, 1, 2):
            for things in range(1, 6):
                if things + (things > 1) + scaled + converted == n_calls and (converted or things > 1):
                    found.append((things, scaled, converted))
    return found or [(n_calls - 1, 0, 0)]


def convert_tool(b: Builder, sizes: dict[str, float]) -> tuple[str, tuple[str, str, str], tuple]:
    """(tool, its parameters, the path to the amount in its result)."""
    value, here, there = b.pick(
        (("value", "from_unit", "to_unit"), ("amount", "source", "target"), ("value", "unit", "new_unit"))
    )
    here, there = b.spell(here), b.spell(there)
    b.lines.append(f"UNITS = {sizes!r}")
    body = [
        f"for named in ({here}, {there}):",
        "    if named not in UNITS:",
        '        raise ValueError(f"unknown unit {named!r}; known: " + ", ".join(UNITS))',
        b.pick((f"base = {value} * UNITS[{here}]", f"base = {value} / (1 / UNITS[{here}])")),
    ]
    returned, path = b.shape("amount" if value == "value" else "result", f"round(base / UNITS[{there}], 2)")
    enum = tuple(sizes) if b.rng.random() < 0.4 else ()
    name = b.spell(*b.pick(("convert", "convert_unit", "change_unit")).split("_"))
    b.tool(
        name,
        "Converts an amount to another unit.",
        [Param(value, "number"), Param(here, enum=enum), Param(there, enum=enum)],
        [*body, *returned],
    )
    return name, (value, here, there), path


def ask_measure(
    b: Builder, noun: str, items: list[str], tail: list[str], converted: int, targets: list[str], unit: str
) -> str:
    listed = f"the {items[0]}"
    if len(items) > 1:
        listed = "the " + ", the ".join(items[:-1]) + f" and the {items[-1]}"
    what = f"{'total ' if len(items) > 1 else ''}{noun} of {listed}"
    then = ", then ".join(tail)
    if not tail:
        return b.pick(
            (
                f"What is the {what} in {unit}?",
                f"Find the {what}.",
                f"How much is the {noun} of {listed} together?",
                f"I want the {what}.",
                f"Add up the {noun} of {listed}.",
                f"{listed} lie side by side: what is their {noun} in total?",
            )
        )
    end = targets[converted - 1] if converted else unit
    return b.pick(
        (
            f"Take the {what}, {then}. What do you get?",
            f"Start from the {what}, then {then}. What is the result?",
            f"What do you get when you take the {what} and {then}?",
            f"Find the {what}; {then}. How many {end} is that?",
            f"How many {end} come out if you take the {what}, {then}?",
            f"For {listed}: find the {'total ' if len(items) > 1 else ''}{noun}, {then}. Report the number.",
        )
    )
