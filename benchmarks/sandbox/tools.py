"""The tool source that every party runs, of the kind a language model writes, and the one call made of it."""

SOURCE = '''
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

RATES = {"EUR": 1.0, "USD": 1.09, "GBP": 0.85, "JPY": 163.2}

PRODUCTS = {
    "LAMP-01": {"name": "Desk lamp", "price": 24.5, "stock": 14, "tags": ["light", "office"]},
    "CHAIR-07": {"name": "Office chair", "price": 149.0, "stock": 3, "tags": ["seat", "office"]},
    "DESK-02": {"name": "Standing desk", "price": 389.0, "stock": 5, "tags": ["table", "office"]},
    "CABLE-11": {"name": "USB cable", "price": 6.9, "stock": 120, "tags": ["cable"]},
}

ORDERS = {
    "A-1001": {"customer": "Ines", "placed": "2025-02-03", "lines": [["LAMP-01", 2], ["CABLE-11", 4]]},
    "A-1002": {"customer": "Omar", "placed": "2025-02-11", "lines": [["DESK-02", 1]]},
    "A-1003": {"customer": "Yuki", "placed": "2025-03-01", "lines": [["CHAIR-07", 2], ["LAMP-01", 1], ["CABLE-11", 3]]},
}


@dataclass
class Line:
    sku: str
    count: int
    price: float

    def total(self) -> float:
        return self.count * self.price


def _lines(order_id: str) -> list[Line]:
    if not re.fullmatch(r"[A-Z]-\\d{4}", order_id):
        raise ValueError(f"not an order id: {order_id!r}")
    if order_id not in ORDERS:
        raise KeyError(f"no order {order_id}")
    return [Line(sku, count, PRODUCTS[sku]["price"]) for sku, count in ORDERS[order_id]["lines"]]


def order_total(order_id: str, currency: str = "EUR") -> dict:
    """The sum of an order's lines in a currency."""
    total = sum(line.total() for line in _lines(order_id)) * RATES[currency]
    return {"order_id": order_id, "total": round(total, 2), "currency": currency}


def delivery_date(order_id: str, days: int = 5) -> str:
    """When an order placed on its date arrives."""
    placed = datetime.strptime(ORDERS[order_id]["placed"], "%Y-%m-%d")
    return (placed + timedelta(days=days)).strftime("%Y-%m-%d")


def find_products(tag: str) -> str:
    """Products with a tag, as JSON text."""
    found = {sku: product["name"] for sku, product in PRODUCTS.items() if tag in product["tags"]}
    return json.dumps(found, sort_keys=True)
'''.lstrip()

NAME = "order_total"
ARGUMENTS = {"order_id": "A-1003", "currency": "USD"}
CALL_TEXT = "order_total(order_id='A-1003', currency='USD')"  # the same call as Python text, as ReCall sends it
VALUE = {"order_id": "A-1003", "total": 374.09, "currency": "USD"}

# The least that is a tool: what an episode costs when its source costs nothing.
SMALL = "def add(a, b):\n    return a + b\n"
SMALL_NAME, SMALL_ARGUMENTS = "add", {"a": 1, "b": 2}

# What an episode calls to hang, in the two ways a tool can. It waits first, until all others have been called too.
HANGING = (
    SOURCE
    + """

import time


def spin(after_s: float = 0.0):
    time.sleep(after_s)
    while True:
        pass


def doze(after_s: float = 0.0):
    time.sleep(3600)
"""
)
