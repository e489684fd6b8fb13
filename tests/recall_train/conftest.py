"""A tokenizer, a task and a scripted engine for tests of everything between text and the learner."""

import json

import pytest

from recall_env.env import SynToolEnv
from recall_env.task import Task
from recall_train.tiny.tokenizer import build_tokenizer, save_tokenizer
from recall_train.tokens import ChatTokens

SOURCE = '''
PRICES = {"lamp": 12, "desk": 80}
count = 0


def get_price(item: str) -> dict:
    """Price of one item."""
    global count
    count += 1
    return {"price": PRICES[item], "calls": count}
'''


@pytest.fixture(scope="session")
def price_task() -> Task:
    parameters = {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]}
    function = {"name": "get_price", "description": "Price of one item.", "parameters": parameters}
    calls = [{"name": "get_price", "arguments": {"item": "lamp"}}]
    return Task.from_row(
        {
            "question": "What does the lamp cost?",
            "reward_model": {"style": "rule", "ground_truth": "12"},
            "extra_info": {
                "id": "price",
                "env": SOURCE,
                "func_schemas": json.dumps([{"type": "function", "function": function}]),
                "solution": {"calls": calls, "answer": "12"},
            },
        }
    )


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = ["What does the lamp cost?", "get_price item price lamp desk system user assistant tool"] * 20
    save_tokenizer(build_tokenizer(texts, vocab_size=420), folder)
    return folder


@pytest.fixture(scope="session")
def tokens(tokenizer_folder) -> ChatTokens:
    return ChatTokens(tokenizer_folder)


@pytest.fixture
def make_env():
    return lambda: SynToolEnv(max_turns=4)
