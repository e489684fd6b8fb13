"""graph_walk: a network of places; edges are followed by label, to the nearest, up a tree, or summed along a route.

Held out: no training task is of this family.
"""

from itertools import pairwise

from envs_synthetic.draft import Builder, Draft, Param, Path, Ref
from envs_synthetic.layouts import Row

FAMILY = "graph_walk"

LABELS = ("red", "blue", "green", "white", "black", "amber")
NETWORKS = (("station", "line", "city"), ("stop", "route", "city"), ("port", "ferry", "city"), ("room", "door", "word"),
            ("node", "link", "word"), ("camp", "trail", "word"))  # fmt: skip
SIGNS = ("sign", "platform", "keeper code", "plaque", "serial")


def make(b: Builder, n_calls: int) -> Draft:
    return b.pick((labelled, nearest, tree, route))(b, n_calls)


def nodes(b: Builder, kind: str, count: int) -> list[str]:
    return [name.title() for name in b.words.several(kind, count)]


def sign_reader(b: Builder, node: str, names: list[str]) -> tuple[str, str, str, Path]:
    """Adds a tool that reads what stands at a node: (noun, tool, its parameter, path)."""
    noun = b.pick(SIGNS)
    rows = [{"name": name, "sign": b.words.code()} for name in names]
    param = b.pick((node, "name", "place"))
    tool, where = b.reader(b.table("signs", "name", rows), noun, "sign", node, param)
    return noun, tool, b.spell(param), where


# -- labelled: follow the red line, then the blue one


def labelled(b: Builder, n_calls: int) -> Draft:
    node, edge, kind = b.pick(NETWORKS)
    signed = b.rng.random() < 0.5
    steps = n_calls - signed
    names = nodes(b, kind, max(steps + 1, b.rng.randint(6, 9)))
    labels = b.rng.sample(LABELS, b.rng.randint(2, 3))
    taken = [b.pick(labels) for _ in range(steps)]
    ends = {(names[at], label): names[at + 1] for at, label in enumerate(taken)}
    rows: list[Row] = []
    for name in names:
        for label in labels:
            to = ends.get((name, label)) or b.pick([n for n in names if n != name])
            rows.append({"edge": f"{name}|{label}", "to": to})
    table = b.table(f"{edge}s", "edge", rows)
    start, by = b.pick((node, "place", "name", "start")), b.pick((edge, "color", "label"))
    returned, where = b.shape(b.pick(("next", node, "to")), table.get("row", "to"), (start, start))
    body = [
        f'key = f"{{{start}}}|{{{by}}}"',
        *table.find("key", "row", f'f"no {{{by}}} {edge} at {{{start}!r}}"'),
        *returned,
    ]
    follow = b.doer(b.pick(("follow", "take", "walk")), edge)
    b.tool(follow, f"{node.title()} reached by a {edge} of a color.", [Param(start), Param(by)], body)
    here: str | Ref = names[0]
    for label in taken:
        here = Ref(b.call(follow, {start: here, by: label}), where)
    told = ", then ".join(f"the {label} {edge}" for label in taken)
    wanted = f"Which {node} do you reach?"
    if signed or b.rng.random() < 0.3:
        noun, tool, param, path = sign_reader(b, node, names)
        if signed:
            here = Ref(b.call(tool, {param: here}), path)
            wanted = f"What is the {noun} there?"
    question = b.pick(
        (
            f"From {names[0]}, take {told}. {wanted}",
            f"Start at {names[0]} and follow {told}. {wanted}",
            f"You are at {names[0]}. Take {told}. {wanted}",
            f"{wanted.removesuffix('?')} if you leave {names[0]} by {told}?",
            f"Go from {names[0]} along {told}. {wanted}",
            f"A walk begins in {names[0]} and uses {told}. {wanted}",
        )
    )
    return b.done(FAMILY, question, here)


# -- nearest: always on to the nearest (or farthest) neighbor


def nearest(b: Builder, n_calls: int) -> Draft:
    node, edge, kind = b.pick(NETWORKS)
    signed = b.rng.random() < 0.6
    steps = n_calls - signed
    names = nodes(b, kind, max(steps + 2, b.rng.randint(6, 9)))
    most = b.pick(("nearest", "farthest"))
    rows = []
    for at, name in enumerate(names):
        on = names[at + 1] if at < steps else b.pick([n for n in names if n != name])
        far = b.words.number(310, 390)
        rows.append({"edge": b.words.code("B1074"), "a": name, "b": on, "far": far})
        for other in b.rng.sample([n for n in names if n not in (name, on)], 2):
            longer = b.words.number(401, 899) if most == "nearest" else b.words.number(101, 299)
            rows.append({"edge": b.words.code("B1074"), "a": name, "b": other, "far": longer})
    table = b.table(f"{edge}s", "edge", rows)
    start = b.pick((node, "place", "start", "name"))
    choose = "min" if most == "nearest" else "max"
    body = [
        f"out = [r for r in {table.each()} if {table.get('r', 'a')} == {start}]",
        "if not out:",
        f"    raise KeyError({b.missing(node, start)})",
        f"best = {choose}(out, key=lambda r: {table.get('r', 'far')})",
    ]
    returned, where = b.shape(node, table.get("best", "b"), (start, start))
    name = b.getter(most, node)
    b.tool(name, f"The {most} neighbor of a {node}.", [Param(start)], [*body, *returned])
    here: str | Ref = names[0]
    for _ in range(steps):
        here = Ref(b.call(name, {start: here}), where)
    wanted = f"Which {node} is that?"
    if signed:
        noun, tool, param, path = sign_reader(b, node, names)
        here = Ref(b.call(tool, {param: here}), path)
        wanted = f"What is the {noun} there?"
    count = {1: "once", 2: "twice"}.get(steps, f"{steps} times")
    nested = f"the {most} {node} of " * steps + names[0] if steps < 4 else f"{names[0]}, {count} removed"
    question = b.pick(
        (
            f"From {names[0]}, go to the {most} {node} {count}. {wanted}",
            f"Start at {names[0]} and move {count} to the {most} neighbor. {wanted}",
            f"You are at {names[0]}. Always go on to the {most} {node}, {count}. {wanted}",
            f"Hop to the {most} {node} {count}, starting in {names[0]}. {wanted}",
            f"Take {nested if steps < 4 else f'the {most} neighbor {count}, from {names[0]}'}. {wanted}",
            f"Somebody leaves {names[0]} and walks to the {most} {node} {count}. {wanted}",
        )
    )
    return b.done(FAMILY, question, here)


# -- tree: up to the parent, some steps, then a property or a sibling by label

TREES = (
    ("folder", "parent", "word"),
    ("team", "parent", "word"),
    ("branch", "parent", "word"),
    ("clerk", "chief", "person"),
)


def tree(b: Builder, n_calls: int) -> Draft:
    node, parent, kind = b.pick(TREES)
    steps = n_calls - 1
    names = nodes(b, kind, max(steps + 2, b.rng.randint(6, 9)))
    rows = []
    for at, name in enumerate(names):
        above = names[at + 1] if at < steps else b.pick([names[-1], *names[: max(1, steps)]])
        rows.append({"name": name, "above": above if above != name else names[0]})
    table = b.table(f"{node}s" if node != "branch" else "branches", "name", rows)
    param = b.pick((node, "name"))
    up, where = b.reader(table, parent, "above", node, param)
    param = b.spell(param)
    noun, tool, sign_param, path = sign_reader(b, node, names)
    here: str | Ref = names[0]
    for _ in range(steps):
        here = Ref(b.call(up, {param: here}), where)
    here = Ref(b.call(tool, {sign_param: here}), path)
    count = {1: "one step", 2: "two steps", 3: "three steps"}.get(steps, f"{steps} steps")
    nested = f"the {parent} of " * steps + f"{node} {names[0]}"
    options = [
        f"Go up {count} from {node} {names[0]}, {parent} by {parent}. What is the {noun} there?",
        f"Start at {node} {names[0]} and climb {count} to its {parent}. What {noun} is there?",
        f"What {noun} do you find {count} above {node} {names[0]}, always taking the {parent}?",
        f"Above {node} {names[0]} is its {parent}, and so on. Report the {noun} {count} up.",
        f"Follow the {parent} link {count} from {node} {names[0]} and give the {noun}.",
        f"I need the {noun} {count} up the tree from {node} {names[0]}, each step to the {parent}.",
    ]
    if steps < 5:
        options += [f"What is the {noun} of {nested}?", f"Tell me the {noun} of {nested}."]
    return b.done(FAMILY, b.pick(options), here)


# -- route: the length of each leg, added up


def route(b: Builder, n_calls: int) -> Draft:
    if n_calls < 3:
        return labelled(b, n_calls)
    node, edge, kind = b.pick(NETWORKS)
    legs = n_calls - 1
    names = nodes(b, kind, max(legs + 1, b.rng.randint(5, 8)))
    noun = b.pick(("distance", "fare", "toll", "minutes"))
    rows = [{"edge": f"{a}|{z}", "cost": b.words.number(101, 980)} for a, z in pairwise(names)]
    for _ in range(3):
        a, z = b.rng.sample(names, 2)
        if all(row["edge"] != f"{a}|{z}" for row in rows):
            rows.append({"edge": f"{a}|{z}", "cost": b.words.number(101, 980)})
    table = b.table(f"{edge}s", "edge", rows)
    a, z = b.pick((("start", "end"), ("here", "there"), ("source", "target"), ("first", "second")))
    returned, where = b.shape(noun, table.get("row", "cost"))
    body = [
        f'key = f"{{{a}}}|{{{z}}}"',
        *table.find("key", "row", f'f"no {edge} from {{{a}!r}} to {{{z}!r}}"'),
        *returned,
    ]
    leg = b.getter(noun, edge)
    b.tool(leg, f"{noun.title()} from one {node} to the next.", [Param(a), Param(z)], body)
    costs = [Ref(b.call(leg, {a: here, z: there}), where) for here, there in pairwise(names[: legs + 1])]
    returned, path = b.shape("total", "sum(values)")
    add = b.spell(*b.pick(("total_of", "add_up", "sum_of")).split("_"))
    b.tool(add, "Adds up numbers.", [Param("values", "numbers")], returned)
    if b.rng.random() < 0.4:
        sign_reader(b, node, names)
    way = ", ".join(names[:legs]) + f" and {names[legs]}"
    question = b.pick(
        (
            f"What is the total {noun} of the way through {way}, in this order?",
            f"Go from {names[0]} to {', then '.join(names[1 : legs + 1])}. What is the total {noun}?",
            f"A trip visits {way}. Add up the {noun} of every leg.",
            f"I travel {way} in turn. What does the {noun} come to in total?",
            f"Sum the {noun} over each step of this way: {', '.join(names[: legs + 1])}.",
            f"How large is the {noun} in total when you pass {way} one after the other?",
        )
    )
    return b.done(FAMILY, question, Ref(b.call(add, {"values": costs}), path))
