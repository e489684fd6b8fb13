"""Dialects: assistant text <-> calls and answer. The table of all of them."""

from recall_env.dialect.base import Dialect, Message, Turn
from recall_env.dialect.hermes import Hermes
from recall_env.dialect.openai import OpenAI
from recall_env.dialect.recall import Recall
from recall_env.dialect.recall_inference import RecallInference
from recall_env.dialect.submit import Submit

__all__ = ["DIALECTS", "Dialect", "Message", "Turn"]

# By name: hermes (the default), openai, submit, recall, recall-inference. What each writes: docs/evaluate.md.
DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (Hermes(), OpenAI(), Submit(), Recall(), RecallInference())
}
