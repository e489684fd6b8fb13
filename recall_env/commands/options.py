"""Options and arguments that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

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
TimeBudget = Annotated[
    float | None, typer.Option("--time-budget", metavar="SECONDS", help="of all calls of an episode together")
]
TextBudget = Annotated[
    int | None, typer.Option("--text-budget", metavar="CHARS", help="of all turns and replies of an episode together")
]
Seed = Annotated[int, typer.Option(help="of worlds and agents")]
BaseUrl = Annotated[str | None, typer.Option(help="an OpenAI-compatible endpoint, with its /v1")]
Model = Annotated[str | None, typer.Option(help="the model's name at that endpoint")]
ApiKey = Annotated[str | None, typer.Option(help="sent as a bearer token")]
Temperature = Annotated[float, typer.Option(help="of the endpoint's sampling", min=0.0)]
MaxTokens = Annotated[int, typer.Option(help="per turn, of the endpoint's sampling", min=1)]
