"""The one task of the steps: the tool source of benchmarks/sandbox, and the turn in which a model calls it."""

import json

from benchmarks.envs.peers.peer import Job
from benchmarks.sandbox import tools
from recall_env.task import Task

QUESTION = "What does order A-1003 come to, in dollars? Give the number alone."
THOUGHT = "The total of an order is what order_total gives, and the currency is one of its arguments."
CALL = json.dumps({"name": tools.NAME, "arguments": tools.ARGUMENTS})
TURN = f"<think>\n{THOUGHT}\n</think>\n<tool_call>\n{CALL}\n</tool_call>"
OBSERVATION = f"<tool_response>\n{json.dumps(tools.VALUE, separators=(',', ':'))}\n</tool_response>"
SCHEMA = {
    "type": "function",
    "function": {
        "name": tools.NAME,
        "description": "The sum of an order's lines in a currency.",
        "parameters": {
            "type": "object",
            "properties": {
                "order_id": {"type": "string", "description": "Such as A-1001."},
                "currency": {"type": "string", "enum": ["EUR", "USD", "GBP", "JPY"]},
            },
            "required": ["order_id"],
        },
    },
}
JOB = Job(tools.SOURCE, tools.NAME, tools.ARGUMENTS, tools.VALUE, QUESTION, THOUGHT, TURN)


def task(id: str = "orders-0", source: str = tools.SOURCE, **extra: object) -> Task:
    row = {
        "question": QUESTION,
        "reward_model": {"style": "rule", "ground_truth": str(tools.VALUE["total"])},
        "extra_info": {"id": id, "env": source, "func_schemas": json.dumps([SCHEMA]), **extra},
    }
    return Task.from_row(row, id)
