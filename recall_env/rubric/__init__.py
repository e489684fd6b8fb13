"""Rubrics: rewards as trees of named, weighted parts of a finished episode."""

from recall_env.rubric.episode import Episode, Judged, PlayedTurn, Score, Termination, Verdict
from recall_env.rubric.judge import LLMJudge
from recall_env.rubric.parts import (
    F1,
    Budget,
    Exact,
    Format,
    Numeric,
    Progress,
    ReCallReward,
    SetMatch,
    StateEquals,
    ToolUsed,
    ValidCalls,
)
from recall_env.rubric.rubric import RUBRICS, Rubric, load_rubric
from recall_env.rubric.tree import PARTS, Gate, Part, Weighted, part

__all__ = [
    "F1",
    "PARTS",
    "RUBRICS",
    "Budget",
    "Episode",
    "Exact",
    "Format",
    "Gate",
    "Judged",
    "LLMJudge",
    "Numeric",
    "Part",
    "PlayedTurn",
    "Progress",
    "ReCallReward",
    "Rubric",
    "Score",
    "SetMatch",
    "StateEquals",
    "Termination",
    "ToolUsed",
    "ValidCalls",
    "Verdict",
    "Weighted",
    "load_rubric",
    "part",
]
