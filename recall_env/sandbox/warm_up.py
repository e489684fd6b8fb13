"""Inside the jail: what the zygote does once so that no episode has to. Standard library only.

CPython rewrites code for the types it meets, and does so in memory that every episode would otherwise have to copy for
itself.
"""

import json
import linecache
import socket
import sys
from typing import Any

import guest

PLAYED = 3  # times each episode, and in it each call: CPython rewrites what it has met a few times

SOURCE = '''
import dataclasses, datetime, enum, json, math, random, re
from collections import Counter, defaultdict, namedtuple
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Union

class Colour(enum.Enum):
    RED = "red"

Pair = namedtuple("Pair", "left right")

@dataclass
class Item:
    name: str
    price: float = 0.0
    tags: List[str] = field(default_factory=list)

@dataclass(frozen=True, order=True)
class Key:
    number: int

ITEMS = {name: Item(name, 1.5 * number, [name]) for number, name in enumerate(("a", "b", "c"))}
WORD = re.compile(r"^[a-z]+$")

class Store:
    def __init__(self, state: Optional[Dict[str, Any]] = None):
        self.rows = [{"id": number, "name": f"row {number}"} for number in range(5)]
        self.seen = defaultdict(list)

    def find(self, text: str) -> Union[dict, None]:
        return next((row for row in sorted(self.rows, key=lambda row: row["id"]) if text in row["name"]), None)

STORE = Store()

def setup(state):
    STORE.seen["state"].append(state)

def look_up(item: str, count: int = 1) -> dict:
    """A row."""
    if not WORD.match(item):
        raise ValueError(f"bad name {item!r}")
    total = round(sum(each.price for each in ITEMS.values()) * count, 2)
    print("looked up", item)
    return {"item": dataclasses.asdict(ITEMS[item]), "total": total, "row": STORE.find("2"),
            "when": str(datetime.date(2024, 1, 2)), "words": Counter("a b".split()), "text": json.dumps([1, None])}
'''


def play(limits: dict[str, Any]) -> None:
    """Play a small episode of each kind in this process, a few times, and forget it."""
    sources = dict(linecache.cache)
    for mode in ("stateful", "fresh") * PLAYED:
        document = {
            "source": SOURCE, "code": None, "send_code": True, "state": {"a": 1}, "mode": mode, "services": [],
        }  # fmt: skip
        requests = [{"op": "load", "text": json.dumps(document), "more": False}]
        for arguments in ({"item": "a"}, {"item": "b", "count": 2}, {"item": "?"}, {"wrong": 1}) * PLAYED:
            requests.append({"op": "call", "name": "look_up", "arguments": arguments})
        host, sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with host, sock:
            for request in requests:
                host.send(json.dumps({"nonce": "0", **request}).encode())
            host.shutdown(socket.SHUT_WR)
            guest.serve(sock, 0, limits)
    linecache.cache.clear()
    linecache.cache.update(sources)
    del sys.modules[guest.MODULE]
