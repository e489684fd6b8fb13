"""flaky_api: look-ups that answer 'temporarily unavailable, retry' a set number of times, then work."""

from envs_synthetic.draft import Builder, Draft, Param, Ref, sentence

# a chain of (what it leads to, kind of value) from a starting thing
DOMAINS = {
    "weather": (("city", "city"), ("station", "code"), ("sensor", "code"), ("reading", "number")),
    "parcels": (("parcel", "code"), ("truck", "code"), ("driver", "person"), ("phone", "number")),
    "accounts": (("client", "person"), ("account", "code"), ("bank branch", "city"), ("balance", "number")),
    "servers": (("service", "word"), ("host", "code"), ("rack", "code"), ("port", "number")),
    "trains": (("train", "code"), ("conductor", "person"), ("radio", "code"), ("channel", "number")),
    "clinic": (("patient", "person"), ("chart", "code"), ("doctor", "person"), ("pager", "number")),
    "shop": (("item", "item"), ("stock code", "code"), ("warehouse", "city"), ("units", "number")),
}
START = {"city": "{0}", "person": "{0}", "code": "{1} {0}", "word": "{1} {0}", "item": "the {0}"}
TEXTS = (
    "temporarily unavailable, retry",
    "service temporarily unavailable, please retry",
    "temporarily unavailable, try again",
    "busy: temporarily unavailable, retry the call",
)
ERRORS = ("RuntimeError", "ConnectionError", "TimeoutError")


def make(b: Builder, n_calls: int) -> Draft:
    domain = b.pick(sorted(DOMAINS))
    chain = DOMAINS[domain]
    summed = n_calls >= 4 and b.rng.random() < 0.3
    first = b.rng.randrange(len(chain) - 1)
    last = len(chain) - 1 if summed else b.rng.randint(first + 1, len(chain) - 1)
    starts = 2 if summed else 1
    hops = last - first
    while hops * starts + starts - 1 > n_calls - 1 or hops > 3:
        first, hops = first + 1, hops - 1
    failing = n_calls - hops * starts - (starts - 1)
    while failing > 3 * hops:
        if first == 0:
            return make(b, n_calls)
        first, hops, failing = first - 1, hops + 1, failing - starts
    links = chain[first : last + 1]

    paths = [[value(b, kind) for _, kind in links] for _ in range(starts)]
    fails = spread(b, failing, hops)
    flaky = mechanism(b)
    readers = []
    for at in range(hops):
        rows = link_rows(b, links[at], links[at + 1], [(p[at], p[at + 1]) for p in paths])
        of, noun = links[at][0], links[at + 1][0]
        table = b.table(f"{noun}s".replace(" ", "_"), "key", rows)
        param = b.pick((of, of, "key", "name"))
        tool, where = b.reader(table, noun, "value", of, param)
        if fails[at]:
            b.tools[-1] = flaky(b, b.tools[-1], fails[at])
        readers.append((tool, b.spell(param), where))

    ends: list[Ref] = []
    left = list(fails)
    for path in paths:
        given: str | int | Ref = path[0]
        for at, (tool, param, where) in enumerate(readers):
            while left[at]:
                b.call(tool, {param: given}, fails=True)
                left[at] -= 1
            given = Ref(b.call(tool, {param: given}), where)
        ends.append(given)
    answer = ends[0]
    if summed:
        returned, where = b.shape("total", "sum(values)")
        total = b.tool(b.spell("total", "of"), "Adds up numbers.", [Param("values", "numbers")], returned)
        answer = Ref(b.call(total, {"values": ends}), where)
    if b.rng.random() < 0.4:
        distractor(b, links, paths)
    names = [START[links[0][1]].format(path[0], links[0][0]) for path in paths]
    return b.done("flaky_api", ask(b, names, [noun for noun, _ in links[1:]]), answer)


def value(b: Builder, kind: str) -> str | int:
    if kind == "code":
        return b.words.code()
    return b.words.number() if kind == "number" else b.words.draw(kind)


def spread(b: Builder, failing: int, tools: int) -> list[int]:
    fails = [0] * tools
    while failing:
        at = b.rng.randrange(tools)
        if fails[at] < 3:
            fails[at] += 1
            failing -= 1
    return fails


def link_rows(b: Builder, source: tuple[str, str], target: tuple[str, str], pairs: list[tuple]) -> list[dict]:
    pairs = pairs + [(value(b, source[1]), value(b, target[1])) for _ in range(b.rng.randint(2, 4))]
    return [{"key": key, "value": found} for key, found in pairs]


def distractor(b: Builder, links: tuple, paths: list[list]) -> None:
    of, kind = links[0]
    noun = b.pick(("status", "region", "operator", "serial"))
    rows = [{"key": path[0], "value": b.words.code()} for path in paths]
    rows += [{"key": value(b, kind), "value": b.words.code()} for _ in range(2)]
    b.reader(b.table(f"{noun}_list", "key", rows), noun, "value", of, "key")


def mechanism(b: Builder):
    """How this task's tools count their failures."""
    error, text = b.pick(ERRORS), b.pick(TEXTS)
    raising = f'raise {error}("{text}")'

    def counter(b, tool, times):
        if "ATTEMPTS = {}" not in b.lines:
            b.lines.append("ATTEMPTS = {}")
        gate = [
            f'ATTEMPTS["{tool.name}"] = ATTEMPTS.get("{tool.name}", 0) + 1',
            f'if ATTEMPTS["{tool.name}"] <= {times}:',
            f"    {raising}",
        ]
        return with_body(tool, gate)

    def outcomes(b, tool, times):
        var = f"_{tool.name}_downtime"
        b.lines.append(f"{var} = {list(range(times, 0, -1))!r}")
        return with_body(tool, [f"if {var}:", f"    {var}.pop()", f"    {raising}"])

    def decorated(b, tool, times):
        if "import functools" not in b.imports:
            b.imports.add("import functools")
            b.lines += [
                "def flaky(times):",
                "    def wrap(tool):",
                "        left = [times]",
                "",
                "        @functools.wraps(tool)",
                "        def inner(*args, **kwargs):",
                "            if left[0] > 0:",
                "                left[0] -= 1",
                f"                {raising}",
                "            return tool(*args, **kwargs)",
                "",
                "        return inner",
                "",
                "    return wrap",
            ]
        return with_body(tool, [], f"@flaky({times})")

    def gate_class(b, tool, times):
        if not any(line.startswith("class Gate") for line in b.lines):
            b.lines += [
                "class Gate:",
                "    def __init__(self, closed_for):",
                "        self.closed_for = closed_for",
                "",
                "    def enter(self):",
                "        self.closed_for -= 1",
                "        if self.closed_for >= 0:",
                f"            {raising}",
                "",
                "",
            ]
        b.lines.append(f"{tool.name}_gate = Gate({times})")
        return with_body(tool, [f"{tool.name}_gate.enter()"])

    return b.pick((counter, outcomes, decorated, gate_class))


def with_body(tool, lines: list[str], *decorators: str):
    return type(tool)(tool.name, tool.description, tool.params, (*lines, *tool.body), (*tool.decorators, *decorators))


def ask(b: Builder, starts: list[str], nouns: list[str]) -> str:
    last = nouns[-1]
    inner = "".join(f"the {noun} of " for noun in reversed(nouns))
    if len(starts) == 2:
        both = " and ".join(starts)
        each = f"{inner}{starts[0]} and {inner}{starts[1]}"
        return b.pick(
            (
                f"Add {each}. What is the total?",
                f"What do {each} come to in total?",
                f"I want the total of {each}.",
                f"Total up {each}.",
                f"For {both}, find the {', then the '.join(nouns)} of each. What is the total of the two?",
                f"What is the total of {each}? The service may be busy at first.",
            )
        )
    start = starts[0]
    return b.pick(
        (
            f"What is {inner}{start}?",
            f"Find {inner}{start}. Retry when a service is unavailable.",
            f"The service is shaky today. Still, I need {inner}{start}.",
            f"Get me {inner}{start}, even if it takes some retries.",
            f"Starting from {start}, find the {', then the '.join(nouns)}. Report the {last}.",
            f"From {start}, look up the {', then the '.join(nouns)}. What is that {last}?",
            sentence(f"please give {inner}{start}"),
        )
    )
