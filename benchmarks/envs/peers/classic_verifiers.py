"""verifiers' side: its ToolEnv, whose tools are Python functions of the same process.

The newest release that has one is 0.3 (as `verifiers.legacy`); from 0.4 on a tool is reached over MCP, in a server of
its own. A model's server has read the text and made tool calls of it before an environment sees them: that time is not
in here, in verifiers' favour.

Two loops: `env.env_response` alone (arguments from JSON, the call, the message), one episode after another, and what
MultiTurnEnv.rollout does for each turn but asking the model, an asyncio task for each episode. Run as a script.
"""

import asyncio
import json
import time
from typing import Any

import verifiers as vf
from datasets import Dataset
from openai import AsyncOpenAI
from peer import Job, Play, answer, expect
from verifiers.clients import OpenAIChatCompletionsClient
from verifiers.types import Response, ResponseMessage, ToolCall
from verifiers.utils.message_utils import maybe_normalize_messages


def loops(job: Job) -> dict[str, Play]:
    rows = [{"question": job.question, "answer": ""}]
    env = vf.ToolEnv(tools=[job.function()], max_turns=-1, dataset=Dataset.from_list(rows), rubric=vf.Rubric())
    client = OpenAIChatCompletionsClient(AsyncOpenAI(api_key="none", base_url="http://127.0.0.1:9"))  # never asked
    row = dict(env.get_dataset()[0])
    call = ToolCall(id="call_0", name=job.name, arguments=json.dumps(job.arguments))
    message = ResponseMessage(content=job.thought, tool_calls=[call], finish_reason="tool_calls", is_truncated=False)
    response = Response(id="0", created=0, model="none", message=message)

    async def begin() -> Any:
        """A rollout after its first tool call."""
        state = await env.init_state(row, client, "none", {})
        await env.setup_state(state)
        await turn(state)
        await turn(state)
        return state

    async def turn(state: Any) -> None:
        """The environment's answer to the turn before, and the next turn taken in."""
        if await env.is_completed(state):
            raise RuntimeError(f"the rollout has ended: {state['stop_condition']}")
        prompt = await env.get_prompt_messages(state)
        prompt = maybe_normalize_messages(prompt, field_name="prompt_messages")
        if state["trajectory"]:
            expect(prompt[-1].content, job)
        await env.add_model_response(state, prompt, response)

    async def direct(live: int, turns: int) -> float:
        states = [await begin() for _ in range(live)]
        asked = [[*state["trajectory"][-1]["prompt"], *state["trajectory"][-1]["completion"]] for state in states]
        start = time.perf_counter()
        for _ in range(turns):
            for messages, state in zip(asked, states, strict=True):
                expect((await env.env_response(messages, state))[-1].content, job)
        return time.perf_counter() - start

    async def episode(state: Any, turns: int) -> None:
        for _ in range(turns):
            await turn(state)

    async def together(live: int, turns: int) -> float:
        states = [await begin() for _ in range(live)]
        start = time.perf_counter()
        await asyncio.gather(*(episode(state, turns) for state in states))
        return time.perf_counter() - start

    return {
        "direct": lambda live, turns: asyncio.run(direct(live, turns)),
        "trainer": lambda live, turns: asyncio.run(together(live, turns)),
    }


if __name__ == "__main__":
    answer(loops)
