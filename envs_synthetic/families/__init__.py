"""The families of synthetic worlds, by name. A family is a function (Builder, n_calls) -> Draft.

HELD_OUT families never give a training task: they measure whether reading schemas and chaining calls transfers.
"""

from collections.abc import Callable

from envs_synthetic.draft import Builder, Draft
from envs_synthetic.families import (
    bookings_inventory,
    date_unit,
    flaky_api,
    graph_walk,
    lookup_chain,
    permissioned_workflow,
    table_join,
    text_search,
)

__all__ = ["FAMILIES", "HELD_OUT"]

# By name: (builder, calls of the gold solution) -> draft. The draft may take fewer calls; generate then drafts again.
FAMILIES: dict[str, Callable[[Builder, int], Draft]] = {
    "bookings_inventory": bookings_inventory.make,
    "date_unit": date_unit.make,
    "flaky_api": flaky_api.make,
    "graph_walk": graph_walk.make,
    "lookup_chain": lookup_chain.make,
    "permissioned_workflow": permissioned_workflow.make,
    "table_join": table_join.make,
    "text_search": text_search.make,
}
HELD_OUT = ("table_join", "graph_walk")  # never in a training split
