"""recall-env play: one episode, by hand, by the gold solution, at random, or by a served model."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from recall_env.commands.choices import agent_of, check_folder, rubric_name, tasks_named
from recall_env.commands.hand import hand_of
from recall_env.commands.options import (
    ApiKey,
    AsJson,
    BaseUrl,
    Dataset,
    Dialect,
    MaxTokens,
    MaxTurns,
    Model,
    RubricName,
    Sandbox,
    Seed,
    Services,
    Split,
    Target,
    Temperature,
    TextBudget,
    TimeBudget,
)
from recall_env.env import SynToolEnv
from recall_env.episode_file import LinesFile, Transcript, origin_of, record
from recall_env.evaluate import Settings
from recall_env.play import Watcher, play
from recall_env.registry import SYNTOOL_ID
from recall_env.sandbox.broker import read_addresses
from recall_env.terminal import say


def play_one(
    target: Target = SYNTOOL_ID,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="gold, random, hand, or model (with --base-url)")] = "",
    dataset: Dataset = "syntool",
    split: Split = None,
    index: Annotated[int | None, typer.Option(help="position of the task in the set; default: drawn")] = None,
    dialect: Dialect = "hermes",
    rubric: RubricName = None,
    max_turns: MaxTurns = 10,
    time_budget_s: TimeBudget = None,
    text_budget: TextBudget = None,
    sandbox: Sandbox = "nsjail",
    service: Services = None,
    seed: Seed = 0,
    base_url: BaseUrl = None,
    model: Model = None,
    api_key: ApiKey = None,
    temperature: Temperature = 0.7,
    max_tokens: MaxTokens = 1024,
    output: Annotated[Path | None, typer.Option(help="write the episode to this file, for replay and rescore")] = None,
    as_json: AsJson = False,
) -> None:
    """Play one episode, and show it; exit 1 if gold is not rewarded. Example: recall-env play ReCall/SynTool-v0 gold"""
    tasks, chosen = tasks_named(target, dataset, split)
    kind = agent or ("model" if base_url else "hand")
    endpoint = (base_url, model, api_key, temperature, max_tokens)
    agent_for = hand_of if kind == "hand" else agent_of(kind, endpoint, dialect, "hand")
    services = read_addresses(service or [])
    settings = Settings(
        dialect=dialect,
        rubric=rubric or rubric_name(target),
        max_turns=max_turns,
        time_budget_s=time_budget_s,
        text_budget=text_budget,
        sandbox=sandbox,
        services=services,
    )
    check_folder(output)
    env, transcript = SynToolEnv(tasks=tasks, index=index, task_id=chosen, **vars(settings)), Transcript()
    try:
        env.reset(seed=seed)  # chooses the task
        agent = agent_for(env.task, seed, env.dialect)
        messages, infos, reward = play(env, agent, env.task, seed, transcript, _watcher(env, seed, kind, as_json))
    finally:
        env.close()
    if output is not None:
        with LinesFile(output) as file:
            file.write(record(env.task, seed, origin_of(env, tasks), transcript).to_json())
    last = infos[-1]
    if as_json:
        print(json.dumps({"messages": messages, "info": last, "reward": reward}, indent=1, ensure_ascii=False))
    say(f"{last['termination']}: reward {reward:g}, answer {last['answer']!r}, {last['turn']} turns")
    if not last["valid"] or (kind == "gold" and not last["success"]):
        raise typer.Exit(1)


def _watcher(env: SynToolEnv, seed: int, kind: str, as_json: bool) -> Watcher | None:
    """Shows the episode, unless JSON is all that is wanted. Who plays by hand must see it in any case."""
    by_hand = kind == "hand"
    if as_json and not by_hand:
        return None
    from recall_env.commands.episode_screen import EpisodeScreen  # rich is heavy
    from recall_env.commands.screen import Screen

    return EpisodeScreen(Screen(sys.stderr if as_json else sys.stdout), env, env.task, seed, by_hand)
