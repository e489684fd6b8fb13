"""Rubric: a tree of named, weighted parts, and the reward it makes of a finished episode. The table of those by name.

It runs on the host; the jail sees none of it.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from recall_env.errors import RecallError
from recall_env.nearest import did_you_mean, listed
from recall_env.rubric import tree
from recall_env.rubric.episode import Episode, Score, Verdict
from recall_env.rubric.parts import F1, Exact, Format, Progress, ReCallReward, StateEquals, ValidCalls
from recall_env.rubric.tree import Node, Share, Tree


@dataclass(frozen=True)
class Rubric:
    """Name -> (weight, part); the reward is the weighted sum. An episode is a success when the part `answer` is 1."""

    parts: Mapping[str, Share]
    recalled: Mapping[str, Verdict] | None = field(default=None, compare=False)

    def __init__(self, parts: Mapping[str, tuple[float, Node]], recalled: Mapping[str, Verdict] | None = None):
        """recalled: verdicts for its judges, which then ask nobody. Raises RecallError for what is no rubric."""
        shares = tree.checked(parts)
        if "answer" not in shares:
            raise RecallError(
                "a rubric needs a part named 'answer', for an episode is a success when that is 1; "
                "with the weight 0 it is not paid for: 'answer': (0, Exact())"
            )
        object.__setattr__(self, "parts", MappingProxyType(shares))
        object.__setattr__(self, "recalled", recalled)

    def __hash__(self) -> int:
        return hash(tuple(self.parts.items()))

    def __reduce__(self):
        return Rubric, (dict(self.parts), self.recalled)

    @property
    def names(self) -> list[str]:
        """The path of every part: the keys of Score.values, whatever the episode."""
        return [path for path, _ in tree.walk(self.parts)]

    @property
    def weights(self) -> dict[str, float]:
        """By path, of the parts that have one."""
        return tree.weights(self.parts)

    @property
    def state_functions(self) -> list[str]:
        """Functions of the tool source whose values after the last turn it needs."""
        return sorted({node.function for _, node in tree.walk(self.parts) if isinstance(node, StateEquals)})

    @property
    def instant(self) -> bool:
        """Whether it scores in a moment, whatever the episode: no judge is asked, and no part is anybody's own."""
        leaves = (node for _, node in tree.walk(self.parts) if not isinstance(node, tree.Weighted | tree.Gate))
        return all(type(leaf).__module__ == Exact.__module__ for leaf in leaves)

    @property
    def full_marks(self) -> float:
        """The reward where each of its parts is 1."""
        return tree.full_marks(self.parts)

    def score(self, episode: Episode) -> Score:
        """Raises EnvError, with the part's path, when one raises or returns what it may not; JudgeFailure when a
        judge does not answer."""
        if self.recalled is not None:
            episode = replace(episode, verdicts=self.recalled, offline=True)
        values, verdicts = dict.fromkeys(self.names, 0.0), {}
        return Score(tree.total(self.parts, episode, values, verdicts), values, verdicts)

    def recalling(self, verdicts: Mapping[str, Verdict]) -> "Rubric":
        """The same rubric, whose judges answer from these verdicts and ask nobody."""
        return Rubric(self.parts, verdicts)

    def to_dict(self) -> Tree:
        """As JSON: name -> {"weight", "part", and the part's settings}."""
        return tree.to_dict(self.parts)

    @staticmethod
    def from_dict(parts: Tree) -> "Rubric":
        """What to_dict wrote. Raises RecallError, also for a part that this process does not know."""
        return Rubric(tree.from_dict(parts))


_RECORDED = {
    "f1": (0.0, F1()),
    "format": (0.0, Format("recall")),
    "progress": (0.0, Progress()),
    "valid_calls": (0.0, ValidCalls()),
}
# By name, for `rubric=` and `--rubric`: what each pays for. All record the parts of the others too.
RUBRICS: dict[str, Rubric] = {
    "answer": Rubric({"answer": (1.0, Exact()), **_RECORDED}),
    "progress": Rubric(
        {
            "answer": (0.6, Exact()),
            "progress": (0.4, Progress()),
            "f1": (0.0, F1()),
            "format": (0.0, Format("recall")),
            "valid_calls": (0.0, ValidCalls()),
        }
    ),
    "recall": Rubric({"recall": (1.0, ReCallReward()), "answer": (0.0, Exact()), **_RECORDED}),
}

_READERS = {".json": json.loads, ".toml": tomllib.loads}


def load_rubric(name: str) -> Rubric:
    """The rubric of that name, or one written in a .json or .toml file. Raises RecallError with the nearest name."""
    if name in RUBRICS:
        return RUBRICS[name]
    path = Path(name)
    if path.suffix not in _READERS:
        hint = did_you_mean(name, RUBRICS) or "."
        raise RecallError(f"no rubric {name!r}{hint} There are: {listed(RUBRICS)}, or a .json or .toml file")
    try:
        fields = _READERS[path.suffix](path.read_text())
    except (OSError, ValueError, RecursionError) as e:
        raise RecallError(f"rubric {name}: cannot be read ({e})") from e
    try:
        return Rubric.from_dict(fields)
    except RecallError as e:
        raise RecallError(f"{path.name}: {e}") from e
