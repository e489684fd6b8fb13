"""generate: a task from a seed. The same seed gives the same bytes on any machine and under any PYTHONHASHSEED.

A family drafts a world and a plan; the plan is played, so the arguments and the truth come out of the tools; a draft
that breaks one of the rules below, or of verify's that need no jail, is thrown away and the next attempt is drafted.
"""

import random
from typing import Any

from envs_synthetic.draft import MAX_TOOLS, Builder, Draft
from envs_synthetic.families import FAMILIES, HELD_OUT
from envs_synthetic.lexicon import NoWordLeft, Words
from envs_synthetic.play import Trusted, resolve
from envs_synthetic.verify import soundness
from recall_env.check.gold_calls import PlanError, leaves
from recall_env.errors import RecallError
from recall_env.nearest import did_you_mean
from recall_env.task import Solution, Task

__all__ = ["N_CALLS", "TRAIN_FAMILIES", "generate", "play_out"]

N_CALLS = {2: 30, 3: 30, 4: 18, 5: 10, 6: 5, 7: 4, 8: 3}  # calls of the gold solution -> share in percent
TRAIN_FAMILIES = tuple(sorted(set(FAMILIES) - set(HELD_OUT)))  # those that a training task may be of
LICENSE = "Apache-2.0"
ATTEMPTS = 200

MAX_QUESTION_WORDS = 55
MAX_DESCRIPTION_WORDS = 9


def generate(
    seed: int,
    *,
    family: str | None = None,
    n_calls: tuple[int, int] = (2, 8),
    held_out: bool = False,
    pool: Any = None,
) -> Task:
    """One task of `family` (None: one of the training families) whose solution takes n_calls (low, high) calls.

    held_out: draw word combinations that no training task holds, for test splits (see lexicon.py).
    pool: where the task proves itself (None: in this process); the task is the same in the jail, only surer.
    Raises RecallError for an unknown family or a range outside 2..8.
    """
    if family is not None and family not in FAMILIES:
        raise RecallError(f"no family {family!r}{did_you_mean(family, FAMILIES)}; one of: {', '.join(FAMILIES)}")
    low, high = n_calls
    if not 2 <= low <= high <= 8:
        raise RecallError(f"n_calls {low}..{high}: expected a range inside 2..8")
    split = "held-out" if held_out else "train"
    for attempt in range(ATTEMPTS):
        rng = random.Random(f"syntool/{split}/{family}/{low}-{high}/{seed}/{attempt}")
        chosen = family or rng.choice(TRAIN_FAMILIES)
        wanted = rng.choices(range(low, high + 1), [N_CALLS[n] for n in range(low, high + 1)])[0]
        try:
            task = play_out(FAMILIES[chosen](Builder(rng, Words(rng, held_out)), wanted), seed, split)
        except (PlanError, NoWordLeft):
            continue
        if task.n_calls == wanted and not soundness(task, pool or Trusted()):
            return task
    raise RecallError(f"family {family!r}, seed {seed}: no sound task in {ATTEMPTS} attempts")


def play_out(draft: Draft, seed: int, split: str) -> Task:
    """The Task of a draft: its plan played in this process. Raises PlanError for a draft to be thrown away."""
    if len(draft.tools) > MAX_TOOLS or len(draft.question.split()) > MAX_QUESTION_WORDS:
        raise PlanError("too many tools, or too long a question")
    if any(len(tool.description.split()) > MAX_DESCRIPTION_WORDS for tool in draft.tools):
        raise PlanError("too long a description")
    calls, truth = resolve(draft, Trusted())
    numbers = [text for call in calls for text in leaves(call.arguments, keys=False)]
    if guessable(truth) or any(awkward(text) for text in [truth, *numbers]):
        raise PlanError("a number that is hard to copy or easy to guess")
    extra: dict[str, Any] = {"solution": {"answer_at": list(draft.answer.path)}}
    if draft.answer.pattern is not None:
        extra["solution"]["answer_match"] = draft.answer.pattern
    if any(step.fails for step in draft.steps):
        extra["calls"] = [{"fails": True} if step.fails else {} for step in draft.steps]
    return Task(
        id=f"{draft.family}-{len(calls)}-{'' if split == 'train' else 'h'}{seed}",
        question=draft.question,
        source=draft.source,
        schemas=tuple(draft.schemas),
        ground_truth=(truth,),
        truth_is_text=True,
        solution=Solution(tuple(calls), truth),
        state=draft.state,
        family=draft.family,
        difficulty=len(calls),
        n_calls=len(calls),
        license=LICENSE,
        extra=extra,
    )


def awkward(text: str) -> bool:
    """Whole floats (12.0) and numbers of more than five digits are needlessly hard to copy."""
    whole, _, rest = text.partition(".")
    return whole.isdecimal() and (len(whole) > 5 or rest in ("0", "00"))


def guessable(truth: str) -> bool:
    whole = truth.partition(".")[0]
    return whole.lstrip("-").isdecimal() and int(whole) < 20
