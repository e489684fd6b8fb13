"""recall-env eval: the success of an agent, with its interval."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from recall_env.commands.choices import agent_of, check_folder, rubric_name, tasks_named
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
from recall_env.episode_file import LinesFile
from recall_env.errors import RecallError
from recall_env.evaluate import Evaluation, Played, Settings, evaluate
from recall_env.sandbox.broker import read_addresses
from recall_env.taskset import TaskSet
from recall_env.terminal import counted, inert, say


def evaluate_agent(
    target: Target,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="model (with --base-url), gold or random")] = "model",
    base_url: BaseUrl = None,
    model: Model = None,
    n: Annotated[int, typer.Option("-n", help="tasks, evenly spaced over the split", min=1)] = 100,
    k: Annotated[int, typer.Option("-k", help="episodes of each task", min=1)] = 1,
    dataset: Dataset = "syntool",
    split: Split = "test",
    dialect: Dialect = "hermes",
    rubric: RubricName = None,
    max_turns: MaxTurns = 10,
    time_budget_s: TimeBudget = None,
    text_budget: TextBudget = None,
    sandbox: Sandbox = "nsjail",
    service: Services = None,
    seed: Seed = 0,
    concurrency: Annotated[int, typer.Option(help="episodes at a time", min=1)] = 8,
    api_key: ApiKey = None,
    temperature: Temperature = 0.7,
    max_tokens: MaxTokens = 1024,
    output: Annotated[
        Path | None, typer.Option(help="write the result to this .json, and every episode to a .jsonl beside it")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Success of an agent over n tasks, k episodes each, with its 95% interval.

    Example: recall-env eval ReCall/SynTool-v0 --base-url http://localhost:8000/v1 --model my-agent -n 200 -k 4
    """
    tasks, chosen = tasks_named(target, dataset, split)
    tasks = TaskSet([tasks.by_id(chosen)], tasks.name) if chosen is not None else tasks.spread(n)
    if not len(tasks):
        raise RecallError(f"{target} holds no task")
    chosen_agent = agent_of(agent, (base_url, model, api_key, temperature, max_tokens), dialect)
    check_folder(output)
    if output is not None and output.suffix == ".jsonl":
        raise RecallError("--output: give the result a name that ends in .json; the .jsonl beside it has the episodes")
    name = model if agent == "model" else agent
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
    episodes = output.with_suffix(".jsonl") if output is not None else None
    with progress(len(tasks) * k) as on_episode, LinesFile(episodes) if episodes else nullcontext() as file:
        result = evaluate(
            tasks,
            chosen_agent,
            agent=name,
            k=k,
            seed=seed,
            concurrency=concurrency,
            settings=settings,
            on_episode=on_episode,
            on_record=(lambda played: file.write(played.to_json())) if file else None,
        )
    print(result.to_json() if as_json else inert(table(result)))
    if output is not None:
        output.write_text(result.to_json() + "\n")
        say(f"wrote {output}, and the episodes to {episodes}; next: recall-env replay {episodes}")
    if result.overall.episodes == 0:
        raise RecallError(f"no episode counted; the first fault: {result.episodes[0].fault_text}")


@contextmanager
def progress(total: int) -> Iterator[Callable[[Played], None]]:
    """Yields what to call after each episode: `counted`, with the success so far."""
    episodes = successes = 0
    with counted("episodes", total) as advance:

        def tell(played: Played) -> None:
            nonlocal episodes, successes
            episodes, successes = episodes + (played.fault is None), successes + played.success
            advance(f", success {successes / max(1, episodes):.3f}")

        yield tell


def table(result: Evaluation) -> str:
    rows = [("", "episodes", "success", "95% interval")]
    for name, tally in [*result.families.items(), ("all", result.overall)]:
        rows.append((name, str(tally.episodes), f"{tally.success:.3f}", f"[{tally.low:.3f}, {tally.high:.3f}]"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    refused = [one.fault_text for one in result.episodes if one.termination == "refused"]
    if refused:
        lines.append(f"{len(refused)} episodes ended because the endpoint refused a turn, the first: {refused[0]}")
    void = f"void: {result.infra} infra, {result.env_errors} environment errors"
    return "\n".join([*lines, f"mean reward {result.mean_reward:.3f}; {void}; sandbox {result.settings.sandbox}"])
