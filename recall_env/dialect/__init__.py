"""Dialects: assistant text <-> calls and answer. The table of all of them."""

from recall_env.dialect.base import Dialect, Turn
from recall_env.dialect.hermes import Hermes
from recall_env.dialect.recall import Recall
from recall_env.dialect.submit import Submit

__all__ = ["DIALECTS", "Dialect", "Turn"]

DIALECTS: dict[str, Dialect] = {"hermes": Hermes(), "recall": Recall(), "submit": Submit()}
