"""SkyRL-gym's side: a BaseTextEnv with a ToolGroup, as the environments it ships are made (skyrl_gym/envs/search).

Two ways: `env.step` after `env.step`, and as its own trainer steps: an asyncio task for each episode, and `env.step`
in an executor of 32 threads (SkyRLGymGenerator, environment.skyrl_gym.max_env_workers). An episode has a copy of the
tools of its own, for what they keep is to end with it, and each data point brings its own; one copy for all beside it.
Run as a script.
"""

import asyncio
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import skyrl_gym
from peer import Job, Play, answer, expect
from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput
from skyrl_gym.tools.core import ToolGroup, tool

CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
WORKERS = 32  # SkyRL's default


class Orders(ToolGroup):
    def __init__(self, function: Any) -> None:
        self.function = function
        super().__init__(name="Orders")

    @tool
    def order_total(self, order_id: str, currency: str = "EUR") -> dict[str, Any]:
        return self.function(order_id, currency)


class OrdersEnv(BaseTextEnv):
    def __init__(self, env_config: Any = None, extras: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.max_turns = extras["max_turns"]
        self.init_tool_groups([Orders(extras["function"])])
        self.chat_history: list[dict[str, str]] = []

    def step(self, action: str) -> BaseTextEnvStepOutput:
        self.turns += 1
        self.chat_history.append({"role": "assistant", "content": action})
        found = CALL.search(action)
        if found is None or self.turns >= self.max_turns:
            return BaseTextEnvStepOutput(observations=[], reward=0.0, done=True, metadata={})
        try:
            call = json.loads(found[1])
            name, arguments = call["name"], call["arguments"]
            group = self.tool_to_toolgroup[name]
            said = json.dumps(self._execute_tool(group, name, list(arguments.values())))
        except Exception as error:
            group, name, arguments, said = None, None, None, str(error)
        message = {"role": "user", "content": f"<tool_response>\n{said}\n</tool_response>"}
        self.chat_history.append(message)
        metadata = {"tool_group": group, "tool_name": name, "tool_input": arguments}
        return BaseTextEnvStepOutput(observations=[message], reward=0.0, done=False, metadata=metadata)


def loops(job: Job) -> dict[str, Play]:
    skyrl_gym.register("orders", entry_point=OrdersEnv)
    executor, shared = ThreadPoolExecutor(WORKERS), job.function()

    def begin(live: int, turns: int, function: Any = None) -> list[BaseTextEnv]:
        tools = [{"function": function or job.function(), "max_turns": turns + 2} for _ in range(live)]
        envs = [skyrl_gym.make("orders", env_config=None, extras=extras) for extras in tools]
        for env in envs:
            env.init([{"role": "user", "content": job.question}])
            expect(env.step(job.text)["observations"][0]["content"], job)
        return envs

    def direct(live: int, turns: int) -> float:
        envs = begin(live, turns)
        start = time.perf_counter()
        for _ in range(turns):
            for env in envs:
                expect(env.step(job.text)["observations"][0]["content"], job)
        return time.perf_counter() - start

    async def episode(env: BaseTextEnv, turns: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(turns):
            done = await loop.run_in_executor(executor, env.step, job.text)
            expect(done["observations"][0]["content"], job)

    async def together(live: int, turns: int, function: Any = None) -> float:
        envs = begin(live, turns, function)
        start = time.perf_counter()
        await asyncio.gather(*(episode(env, turns) for env in envs))
        return time.perf_counter() - start

    return {
        "direct": direct,
        "trainer": lambda live, turns: asyncio.run(together(live, turns)),
        "trainer, shared": lambda live, turns: asyncio.run(together(live, turns, shared)),
    }


if __name__ == "__main__":
    answer(loops)
