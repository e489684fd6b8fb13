"""permissioned_workflow: nothing opens before one has logged in, holds the right pass, or has the approvals.

Stateful: a tool that is called too early raises PermissionError.
"""

from envs_synthetic.draft import Builder, Draft, Param, Ref, a

FAMILY = "permissioned_workflow"


def make(b: Builder, n_calls: int) -> Draft:
    shapes = [approvals] if n_calls > 5 else [passes, passes, approvals]
    if n_calls >= 3:
        shapes.append(cart)
    return b.pick(shapes)(b, n_calls)


# -- passes: each call hands out the ticket that the next one asks for

# what a ticket is called, the verb that gets it
LADDERS = (
    (("token", "login"), ("pass", "request"), ("key", "collect"), ("seal", "break"), ("code", "read")),
    (("session", "open"), ("permit", "apply"), ("stamp", "validate"), ("slip", "print"), ("secret", "reveal")),
    (("ticket", "sign_in"), ("grant", "claim"), ("lease", "activate"), ("handle", "unlock"), ("record", "view")),
)
ABOUT = {
    "login": "Logs a user in; returns a {0}.", "open": "Opens a session for a user.",
    "sign_in": "Signs a user in; returns a {0}.",
}  # fmt: skip


def passes(b: Builder, n_calls: int) -> Draft:
    ladder = b.pick(LADDERS)
    rungs = [ladder[0], *sorted(b.rng.sample(ladder[1:4], n_calls - 2), key=ladder.index), ladder[4]]
    users = b.words.several("person", b.rng.randint(3, 5))
    pins = [b.words.number(1001, 9899) for _ in users]
    secret = rungs[-1][0]
    table = b.table("users", "name", [{"name": u, "pin": p} for u, p in zip(users, pins, strict=True)])
    things = b.words.several("item", b.rng.randint(3, 5))
    vault = b.table(
        "vault",
        "name",
        [{"name": t, "kept": b.words.code() if b.rng.random() < 0.5 else f"{b.words.code()}"} for t in things],
    )
    b.lines += ["ISSUED = {}", "", "", "def issue(kind, owner):"]
    salt = b.rng.randint(11, 89)
    b.lines += [
        f"    number = (len(ISSUED) * 37 + sum(ord(c) for c in kind + owner) * {salt}) % 900 + 100",
        '    ticket = f"{kind[0]}{number}"',
        "    ISSUED[ticket] = (kind, owner)",
        "    return ticket",
        "",
        "",
        "def owner_of(kind, ticket):",
        "    if ISSUED.get(ticket, (None,))[0] != kind:",
        '        raise PermissionError(f"{ticket!r} is not a valid {kind}")',
        "    return ISSUED[ticket][1]",
    ]
    user_param, pin_param = b.pick((("user", "pin"), ("name", "pin"), ("user", "code"), ("who", "pin")))
    item_param = b.pick(("item", "box", "thing"))
    user, pin, item = users[0], pins[0], things[0]

    ticket_noun, verb = rungs[0]
    returned, where = b.shape(ticket_noun, f'issue("{ticket_noun}", {user_param})')
    name = b.doer(verb, "session" if verb == "open" else "user")
    body = [
        *table.find(user_param, "row", b.missing("user", user_param)),
        f"if {table.get('row', 'pin')} != {pin_param}:",
        f'    raise PermissionError("wrong {pin_param}")',
        *returned,
    ]
    b.tool(name, ABOUT[verb].format(ticket_noun), [Param(user_param), Param(pin_param, "integer")], body)
    ticket = Ref(b.call(name, {user_param: user, pin_param: pin}), where)
    for noun, verb in rungs[1:-1]:
        returned, where = b.shape(noun, f'issue("{noun}", owner_of("{ticket_noun}", {ticket_noun}_id))')
        name = b.doer(verb, noun)
        b.tool(name, f"{verb.title()} a {noun}; needs a {ticket_noun}.", [Param(f"{ticket_noun}_id")], returned)
        ticket = Ref(b.call(name, {f"{ticket_noun}_id": ticket}), where)
        ticket_noun = noun
    noun, verb = rungs[-1]
    returned, where = b.shape(noun, vault.get("row", "kept"), (item_param, item_param))
    body = [
        f'owner_of("{ticket_noun}", {ticket_noun}_id)',
        *vault.find(item_param, "row", b.missing("item", item_param)),
        *returned,
    ]
    name = b.doer(verb, noun)
    b.tool(
        name,
        f"{verb.title()} the {noun} of an item; needs a {ticket_noun}.",
        [Param(f"{ticket_noun}_id"), Param(item_param)],
        body,
    )
    answer = Ref(b.call(name, {f"{ticket_noun}_id": ticket, item_param: item}), where)
    if b.rng.random() < 0.4 and len(b.tools) < 5:
        returned, _ = b.shape("users", "len(list(" + table.each() + "))")
        b.tool(b.spell("count", "users"), "How many users exist.", [], returned)
    needs = " and a ".join(n for n, _ in rungs[1:-1])
    hint = f" You need a {needs} first." if needs and b.rng.random() < 0.6 else ""
    question = b.pick(
        (
            f"{user}, pin {pin}, wants the {secret} of the {item}.{hint} What is it?",
            f"Log in as {user} with pin {pin} and get the {secret} of the {item}.{hint}",
            f"What is the {secret} of the {item}? The user is {user}, the pin {pin}.{hint}",
            f"I am {user} (pin {pin}). Which {secret} belongs to the {item}?{hint}",
            f"Using {pin} as the pin of {user}, report the {secret} kept for the {item}.{hint}",
            f"Find the {secret} of the {item} for user {user}, whose pin is {pin}.{hint}",
        )
    )
    return b.done(FAMILY, question, answer)


# -- approvals: a paper is signed by people in order, then filed

PAPERS = ("report", "invoice", "contract", "budget", "claim")


def approvals(b: Builder, n_calls: int) -> Draft:
    paper = b.pick(PAPERS)
    asked_who = n_calls >= 3 and n_calls % 2 == 1 and b.rng.random() < 0.6  # find who is next before every signature
    signers_needed = (n_calls - 1) // 2 if asked_who else n_calls - 1
    papers = [b.words.code() for _ in range(b.rng.randint(3, 4))]
    filed = b.pick(("file", "publish", "submit", "release"))
    receipt = b.pick(("receipt", "case number", "stamp"))
    rows = []
    for at, code in enumerate(papers):
        signers = b.words.several("person", signers_needed if at == 0 else min(2, signers_needed))
        rows.append({"id": code, "signers": "/".join(signers), "filed": b.words.number(1001, 9899)})
    chosen, order = papers[0], rows[0]["signers"].split("/")
    table = b.table(f"{paper}s", "id", rows)
    b.lines += ["SIGNED = {}"]
    param = b.spell(b.pick((paper, f"{paper}_id", "id")))
    person = b.pick(("person", "name", "signer"))
    load = [
        *table.find(param, "row", b.missing(paper, param)),
        f"waiting = {table.get('row', 'signers')}.split('/')[len(SIGNED.get({param}, [])):]",
    ]
    verb = b.pick(("approve", "sign", "endorse"))
    signer = b.doer(verb, paper)
    body = [
        *load,
        "if not waiting:",
        '    raise PermissionError("nobody is left to sign")',
        f"if waiting[0] != {person}:",
        f'    raise PermissionError(f"it is not the turn of {{{person}}}")',
        f"SIGNED.setdefault({param}, []).append({person})",
        b.pick(('return "ok"', 'return {"signed": len(SIGNED[' + param + "])}", 'return {"ok": True}')),
    ]
    b.tool(signer, f"{verb.title()} {a(paper)} in a person's name.", [Param(param), Param(person)], body)
    finder, finder_path = "", ()
    if asked_who or b.rng.random() < 0.3:
        returned, finder_path = b.shape(b.pick(("next", "signer", "approver")), "waiting[0] if waiting else None")
        finder = b.getter(b.pick(("next signer", "next approver", "signer")), paper)
        b.tool(finder, f"Who must {verb} {a(paper)} next.", [Param(param)], [*load, *returned])
    returned, where = b.shape(receipt, table.get("row", "filed"))
    filer = b.doer(filed, paper)
    body = [*load, "if waiting:", f'    raise PermissionError(f"{{len(waiting)}} must {verb} it first")', *returned]
    b.tool(filer, f"{filed.title()} a signed {paper}; returns its {receipt}.", [Param(param)], body)

    for name in order:
        who: str | Ref = name
        if asked_who:
            who = Ref(b.call(finder, {param: chosen}), finder_path)
        b.call(signer, {param: chosen, person: who})
    answer = Ref(b.call(filer, {param: chosen}), where)
    people = " then ".join(order)
    it = f"{paper} {chosen}"
    if asked_who:
        times = {1: "once", 2: "twice"}.get(signers_needed, f"{signers_needed} times")
        options = (
            f"Have {it} {past(verb)} {times}, each time by whoever is next, then {filed} it. What is the {receipt}?",
            f"{filed} {it}; it must be {past(verb)} {times} first, by whoever is next. Report the {receipt}.",
            f"What is the {receipt} of {it} once everybody due has {past(verb)} it ({times})?",
            f"I need the {receipt} of {it}. It still has to be {past(verb)} {times}; find out by whom.",
            f"Which {receipt} does {it} get? Find who must {verb} it, {times}, and then {filed} it.",
            f"{it} has to be {past(verb)} {times}. See who is next, {verb}, {filed} it and give the {receipt}.",
        )
    else:
        options = (
            f"Let {people} {verb} {it}, then {filed} it. What is the {receipt}?",
            f"What is the {receipt} when {it} is {past(verb)} by {people} and you {filed} it?",
            f"{verb} {it} for {people}, in this order, and {filed} it. Report the {receipt}.",
            f"I need to {filed} {it}. {people} must {verb} it first. Which {receipt} comes back?",
            f"{filed} {it} after it was {past(verb)} by {people}, and tell me the {receipt}.",
            f"Which {receipt} does {it} get once {people} {verb} it and you {filed} it?",
        )
    return b.done(FAMILY, b.pick(options), answer)


def past(verb: str) -> str:
    return {"approve": "approved", "sign": "signed", "endorse": "endorsed"}[verb]


# -- cart: open, fill, pay


def cart(b: Builder, n_calls: int) -> Draft:
    noun = b.pick(("cart", "basket", "order", "bill"))
    a_noun = a(noun)
    items = b.words.several("item", max(5, n_calls))
    table = b.table("prices", "name", [{"name": i, "price": b.words.number(111, 990)} for i in items])
    people = b.words.several("person", 3)
    ids = [b.words.code() for _ in range(2)]
    b.lines += [f"FREE_IDS = {ids!r}", f"CUSTOMERS = {b.rng.sample(people, 3)!r}", "OPEN = {}"]
    who, ref, item = b.pick(("customer", "name", "client")), b.spell(noun, "id"), b.pick(("item", "product", "name"))
    if item == who:
        item = "item"
    guard = [f"if {ref} not in OPEN:", f'    raise PermissionError(f"{noun} {{{ref}!r}} is not open")']
    returned, id_path = b.shape(b.pick((noun, "id")), "made")
    opener = b.doer(b.pick(("open", "start", "create")), noun)
    body = [
        f"if {who} not in CUSTOMERS:",
        f"    raise PermissionError({b.missing('customer', who)})",
        "made = FREE_IDS.pop(0)",
        "OPEN[made] = []",
        *returned,
    ]
    b.tool(opener, f"Opens {a_noun} for a customer.", [Param(who)], body)
    adder = b.doer(b.pick(("add", "put")), "item")
    body = [
        *guard,
        *table.find(item, "row", b.missing("item", item)),
        f"OPEN[{ref}].append({table.get('row', 'price')})",
    ]
    body.append(b.pick(('return "added"', f"return len(OPEN[{ref}])", 'return {"ok": True}')))
    b.tool(adder, f"Adds an item to {a_noun}.", [Param(ref), Param(item)], body)
    pay = b.pick(("pay", "checkout", "close"))
    payer = b.doer(pay, noun)
    what = b.pick(("total", "amount", "sum"))
    returned, where = b.shape(what, f"sum(OPEN.pop({ref}))")
    b.tool(payer, f"Closes {a_noun}; returns the {what} to pay.", [Param(ref)], [*guard, *returned])
    if n_calls > 3 and b.rng.random() < 0.4:
        b.reader(table, "price", "price", "item", "item")

    bought = items[: n_calls - 2]
    ticket = Ref(b.call(opener, {who: people[0]}), id_path)
    for thing in bought:
        b.call(adder, {ref: ticket, item: thing})
    answer = Ref(b.call(payer, {ref: ticket}), where)
    things = listed(bought)
    question = b.pick(
        (
            f"{people[0]} buys {things}. Open {a_noun}, fill it and {pay}. What is the {what}?",
            f"Open {a_noun} for {people[0]}, add {things}, and {pay}. What is the {what}?",
            f"What {what} does {people[0]} pay for one {noun} with {things}?",
            f"With {a_noun} for {people[0]}: add {things}, then {pay}. Report the {what}.",
            f"I shop for {people[0]}: {things}. Use {a_noun} and {pay}. The {what}, please.",
            f"{pay} {a_noun} of {people[0]} that holds {things}. What {what} comes out?",
        )
    )
    return b.done(FAMILY, question, answer)


def listed(things: list[str]) -> str:
    if len(things) == 1:
        return f"the {things[0]}"
    return "the " + ", the ".join(things[:-1]) + f" and the {things[-1]}"
