"""recall-env: list, show, play, eval, replay, rescore, doctor, check, serve, new.

Data on stdout, words on stderr; exit 0 good, 1 failed, 2 usage.
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import typer

from recall_env.agent import AGENTS, ChatAgent
from recall_env.check.command import check_command
from recall_env.dialect import DIALECTS
from recall_env.dialect.base import readable
from recall_env.env import SynToolEnv
from recall_env.episode_file import LinesFile, Transcript, origin_of, record
from recall_env.errors import RecallError
from recall_env.evaluate import Settings, evaluate
from recall_env.nearest import did_you_mean, listed
from recall_env.new import new_package
from recall_env.packages import installed, loaded, one_of, rubric_of
from recall_env.play import play
from recall_env.registry import SYNTOOL_ID, point_id, resolve
from recall_env.sandbox.broker import read_addresses
from recall_env.serve_command import serve
from recall_env.taskset import TaskSet, built_in_names
from recall_env.terminal import Hand, progress, say, signature, table, task_line

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

Target = Annotated[
    str, typer.Argument(metavar="ID", help="an environment's id, its package or folder, or its .py file")
]
Dataset = Annotated[str, typer.Option(help="built-in name, .parquet or .jsonl file, or a folder of them")]
Split = Annotated[str | None, typer.Option(help="split of the dataset; default: all of it")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text")]
Dialect = Annotated[str, typer.Option(help="hermes, openai, submit, recall or recall-inference")]
RubricName = Annotated[
    str | None,
    typer.Option("--rubric", help="answer, progress, recall, or a .toml or .json file; default: its own"),
]
EpisodeFile = Annotated[Path, typer.Argument(metavar="FILE", help="of eval or play --output, or of a training run")]
Elsewhere = Annotated[str | None, typer.Option("--dataset", help="instead of the dataset that the file names")]
Sandbox = Annotated[str, typer.Option(help="nsjail, or unsafe: no jail at all")]
Services = Annotated[
    list[str] | None, typer.Option("--service", metavar="NAME=URL", help="where a service is that tasks name; repeat")
]
MaxTurns = Annotated[int, typer.Option(help="turns an episode may take", min=1)]
Seed = Annotated[int, typer.Option(help="of worlds and agents")]
BaseUrl = Annotated[str | None, typer.Option(help="an OpenAI-compatible endpoint, with its /v1")]
Model = Annotated[str | None, typer.Option(help="the model's name at that endpoint")]
ApiKey = Annotated[str | None, typer.Option(help="sent as a bearer token")]
Temperature = Annotated[float, typer.Option(help="of the endpoint's sampling", min=0.0)]
MaxTokens = Annotated[int, typer.Option(help="per turn, of the endpoint's sampling", min=1)]


@app.command("list")
def list_tasks(
    dataset: Annotated[str | None, typer.Argument(help="dataset to list the tasks of; default: the datasets")] = None,
    split: Split = None,
    family: Annotated[list[str] | None, typer.Option(help="only tasks of this family; may be repeated")] = None,
    as_json: AsJson = False,
) -> None:
    """The built-in datasets, or the tasks of one. Example: recall-env list syntool --split test --json"""
    if dataset is None:
        rows = [{"id": SYNTOOL_ID, "dataset": name, "tasks": len(TaskSet.load(name))} for name in built_in_names()]
        rows += _contributed()
    else:
        tasks = TaskSet.load(dataset, split).select(families=family)
        rows = [task_line(task) for task in tasks]
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    for row in rows:
        print("\t".join("-" if value is None else " ".join(str(value).split()) for value in row.values()))


@app.command()
def show(
    target: Target,
    dataset: Dataset = "syntool",
    split: Split = None,
    source: Annotated[bool, typer.Option("--source", help="also the Python of the tools")] = False,
    truth: Annotated[bool, typer.Option("--truth", help="also the accepted answers and the gold solution")] = False,
    as_json: AsJson = False,
) -> None:
    """One data point: its question and tools. Example: recall-env show ReCall/SynTool.TASK-v0 --source --truth"""
    tasks, chosen = _named(target, dataset, split)
    task = tasks.by_id(chosen) if chosen is not None else tasks[0]
    fields: dict[str, Any] = {**task_line(task), "tools": list(task.schemas)}
    if source:
        fields["source"] = task.source
    if truth:
        fields["ground_truth"] = list(task.ground_truth)
        calls = task.solution.calls if task.solution is not None else ()
        fields["solution"] = [{"name": call.name, "arguments": call.arguments} for call in calls]
    if as_json:
        print(json.dumps(fields, indent=1, ensure_ascii=False))
        return
    for key, value in fields.items():
        if key == "tools":
            value = "".join(f"\n  {signature(schema)}" for schema in value)
        elif key == "source":
            value = "\n" + value
        print(f"{key}: {value}")


@app.command("play")
def play_one(
    target: Target = SYNTOOL_ID,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="gold, random, hand, or model (with --base-url)")] = "",
    dataset: Dataset = "syntool",
    split: Split = None,
    index: Annotated[int | None, typer.Option(help="position of the task in the set; default: drawn")] = None,
    dialect: Dialect = "hermes",
    rubric: RubricName = None,
    max_turns: MaxTurns = 10,
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
    """Play one episode and print it; exit 1 if gold is not rewarded. Example: recall-env play ReCall/SynTool-v0 gold"""
    tasks, chosen = _named(target, dataset, split)
    kind = agent or ("model" if base_url else "hand")
    endpoint = (base_url, model, api_key, temperature, max_tokens)
    agent_of = (
        (lambda task, seed, dialect: Hand(dialect.prefill))
        if kind == "hand"
        else _agent_of(kind, endpoint, dialect, "hand")
    )
    services = read_addresses(service or [])
    settings = Settings(
        dialect=dialect, rubric=rubric or _rubric(target), max_turns=max_turns, sandbox=sandbox, services=services
    )
    _check_folder(output)
    env, transcript = SynToolEnv(tasks=tasks, index=index, task_id=chosen, **vars(settings)), Transcript()
    try:
        env.reset(seed=seed)  # chooses the task
        messages, infos, reward = play(env, agent_of(env.task, seed, env.dialect), env.task, seed, transcript)
    finally:
        env.close()
    if output is not None:
        with LinesFile(output) as file:
            file.write(record(env.task, seed, origin_of(env, tasks), transcript).to_json())
    last = infos[-1]
    if as_json:
        print(json.dumps({"messages": messages, "info": last, "reward": reward}, indent=1, ensure_ascii=False))
    elif kind != "hand":  # who played by hand has read it
        for message in messages:
            print(f"[{message['role']}]\n{readable(message)}\n")
    say(f"{last['termination']}: reward {reward:g}, answer {last['answer']!r}, {last['turn']} turns")
    if not last["valid"] or (kind == "gold" and not last["success"]):
        raise typer.Exit(1)


@app.command("eval")
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
    tasks, chosen = _named(target, dataset, split)
    tasks = TaskSet([tasks.by_id(chosen)], tasks.name) if chosen is not None else tasks.spread(n)
    agent_of = _agent_of(agent, (base_url, model, api_key, temperature, max_tokens), dialect)
    _check_folder(output)
    if output is not None and output.suffix == ".jsonl":
        raise RecallError("--output: give the result a name that ends in .json; the .jsonl beside it has the episodes")
    name = model if agent == "model" else agent
    services = read_addresses(service or [])
    settings = Settings(
        dialect=dialect, rubric=rubric or _rubric(target), max_turns=max_turns, sandbox=sandbox, services=services
    )
    episodes = output.with_suffix(".jsonl") if output is not None else None
    with progress(len(tasks) * k) as on_episode, LinesFile(episodes) if episodes else nullcontext() as file:
        result = evaluate(
            tasks,
            agent_of,
            agent=name,
            k=k,
            seed=seed,
            concurrency=concurrency,
            settings=settings,
            on_episode=on_episode,
            on_record=(lambda played: file.write(played.to_json())) if file else None,
        )
    print(result.to_json() if as_json else table(result))
    if output is not None:
        output.write_text(result.to_json() + "\n")
        say(f"wrote {output}, and the episodes to {episodes}; next: recall-env replay {episodes}")
    if result.overall.episodes == 0:
        raise RecallError(f"no episode counted; the first fault: {result.episodes[0].fault_text}")


@app.command("replay")
def replay_episodes(
    file: EpisodeFile,
    index: Annotated[int | None, typer.Option(help="only this episode, from 0; default: all", min=0)] = None,
    dataset: Elsewhere = None,
    split: Split = None,
    sandbox: Sandbox = "nsjail",
    service: Services = None,
    as_json: AsJson = False,
) -> None:
    """Play stored episodes again; show the first byte that differs, exit 1. Example: recall-env replay result.jsonl"""
    from recall_env import replay

    where = {"index": index, "dataset": _set_of(dataset), "split": split, "sandbox": sandbox}
    if not replay.run(file, **where, services=read_addresses(service or []), as_json=as_json):
        raise typer.Exit(1)


@app.command("rescore")
def rescore_episodes(
    file: EpisodeFile,
    rubric: Annotated[str | None, typer.Option(help="as in eval; default: the one it was played under")] = None,
    dataset: Elsewhere = None,
    split: Split = None,
    ask: Annotated[str, typer.Option(help="judges for verdicts: never, missing (not in the file) or anew")] = "never",
    as_json: AsJson = False,
) -> None:
    """Old and new reward of stored episodes. Example: recall-env rescore result.jsonl --rubric progress"""
    from recall_env import rescore

    where = {"dataset": _set_of(dataset), "split": split}  # first: it may bring the parts of a rubric
    chosen = None if rubric is None else rubric_of(rubric)
    if not rescore.run(file, chosen, **where, ask=ask, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What this machine can jail, and how to fix what it cannot. Example: recall-env doctor"""
    from recall_env.sandbox import diagnose

    checks = diagnose()
    if as_json:
        print(json.dumps([check._asdict() for check in checks], indent=1))
    else:
        for check in checks:
            print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.text}")
            if check.fix:
                print(f"      fix: {check.fix}")
    if not checks[-1].ok:  # the last one starts a jail; the others say why it may not
        raise typer.Exit(1)


app.command("check")(check_command)
app.command()(serve)
app.command("new")(new_package)


def main() -> None:
    """Entry point: every fault a person can fix is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False, prog_name="recall-env")
    except RecallError as error:
        say(f"recall-env: {error}")
        code = 2
    except KeyboardInterrupt:
        say("recall-env: stopped")
        code = 130
    except BrokenPipeError:  # the reader of our output has gone
        code = 0
        sys.stdout = None
    except Exception as error:
        if not hasattr(error, "format_message"):  # a usage error; typer's classes moved between its versions
            raise
        say(f"recall-env: {error.format_message()} (try recall-env --help)")
        code = 2
    sys.exit(code or 0)


def _named(target: str, dataset: str, split: str | None) -> tuple[TaskSet, str | None]:
    """The tasks an id stands for, and the one task's id when it is a data point's."""
    if target == SYNTOOL_ID:
        return TaskSet.load(dataset, split), None
    if (contributed := one_of(target)) is not None:
        return TaskSet.load(contributed, split), None
    tasks = TaskSet.load(dataset, split)
    for task_id in tasks.ids:
        if point_id(task_id) == target:
            return tasks, task_id
    named = gym.spec(resolve(target)).kwargs
    if "task_id" not in named:
        raise RecallError(f"{target} is no environment of ReCall")
    return TaskSet.load(named["dataset"], named["split"]), named["task_id"]


def _contributed() -> list[dict[str, Any]]:
    """A line for each environment of an installed package; what is broken is said, and leaves the others alone."""
    rows = []
    for offer in installed():
        try:
            rows.append({"id": offer.id, "dataset": offer.package, "tasks": len(loaded(offer))})
        except RecallError as error:
            say(f"recall-env: {error}")
    return rows


def _rubric(target: str) -> str:
    """What an environment is scored by when nobody says otherwise."""
    return one_of(target) or "answer"


def _set_of(dataset: str | None) -> str | None:
    """A data set by its name or path; of a package's folder or a Python file, the one that is in it."""
    return dataset and (one_of(dataset) or dataset)


def _check_folder(output: Path | None) -> None:
    if output is not None and not output.parent.is_dir():
        raise RecallError(f"--output: there is no folder {output.parent}")


def _agent_of(kind: str, endpoint: tuple[str | None, str | None, str | None, float, int], dialect: str, *others: str):
    if kind in AGENTS:
        return AGENTS[kind]
    if kind != "model":
        kinds = [*AGENTS, *others, "model"]
        raise RecallError(f"no agent {kind!r}{did_you_mean(kind, kinds) or '.'} There are: {listed(kinds)}")
    base_url, model, api_key, temperature, max_tokens = endpoint
    if base_url is None or model is None:
        raise RecallError("a model is played with --base-url URL and --model NAME")
    native = dialect in DIALECTS and DIALECTS[dialect].takes_messages  # a name that is none is refused by the env
    sampling = {"temperature": temperature, "max_tokens": max_tokens}
    agent = ChatAgent(base_url, model, api_key=api_key, **sampling, native_calls=native)
    agent.check()
    return lambda task, seed, dialect: agent


if __name__ == "__main__":
    main()
