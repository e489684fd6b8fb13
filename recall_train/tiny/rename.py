"""The same task in other words: every content word replaced, alike in question, schemas, source, state and solution.

A model that has only seen `find_supplier` learns to write it, not to copy it from the schema in its prompt. With the
words exchanged nothing but copying works, so what it learns holds for tools it never saw. Domain randomisation
(arXiv:1703.06907), on words. A renaming that breaks the source is found by playing the gold solution, not here.
"""

import builtins
import json
import keyword
import random
import re

from recall_env.task import Row, Task

PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
ATTRIBUTE = re.compile(r"\.\s*([A-Za-z_]+)|\bimport ([A-Za-z_, ]+)|\bfrom ([A-Za-z_.]+)")
SCHEMA_WORDS = """type function name description parameters properties required string integer number array items
object enum boolean default null true false calls arguments answer fails setup state match error value values data
rows""".split()
STOP_WORDS = """the and for from with what which who whose when then than that this into once one two all its his her
are was has have does did you your please tell give report need find get look start take both each every over after
before until through until not only also""".split()
FIXED = {piece.lower() for word in (*keyword.kwlist, *dir(builtins)) for piece in PIECE.findall(word)}
FIXED |= {*SCHEMA_WORDS, *STOP_WORDS}
ONSETS, VOWELS, CODAS = (
    "b c d f g h j k l m n p r s t v w z br cl dr fl gr pl st tr".split(),
    "aeiou",
    ["", "", *"lmnrst"],
)


def renamed(task: Task, rng: random.Random, words: list[str]) -> Task:
    """The task with a random share of its content words exchanged: for made-up words, or for some of `words`."""
    row = task.to_row()
    mapping = _mapping(task, rng, words)

    def exchange(text: str) -> str:
        return PIECE.sub(lambda found: _in_case(found[0], mapping), text)

    info = dict(row["extra_info"])
    for key in ("env", "func_schemas", "solution", "state"):
        if isinstance(info.get(key), str):
            info[key] = exchange(info[key])
    truth = row["reward_model"]["ground_truth"]
    truth = exchange(truth) if isinstance(truth, str) else [exchange(text) for text in truth]
    changed: Row = {**row, "question": exchange(row["question"]), "extra_info": info}
    return Task.from_row({**changed, "reward_model": {**row["reward_model"], "ground_truth": truth}}, task.id)


def content_words(task: Task) -> set[str]:
    """The words of a task that may be exchanged, in lower case."""
    attributes = {piece for groups in ATTRIBUTE.findall(task.source) for piece in PIECE.findall(" ".join(groups))}
    fixed = FIXED | {piece.lower() for piece in attributes}
    text = " ".join([task.question, json.dumps(task.schemas), *task.ground_truth])
    return {word for piece in PIECE.findall(text) if len(word := piece.lower()) > 2 and word not in fixed}


def _mapping(task: Task, rng: random.Random, words: list[str]) -> dict[str, str]:
    share = rng.uniform(0.3, 1.0)
    present = {piece.lower() for piece in PIECE.findall(task.source + task.question + json.dumps(task.schemas))}
    mapping: dict[str, str] = {}
    for word in sorted(content_words(task)):
        if rng.random() > share:
            continue
        singular = mapping.get(word[:-1]) if word.endswith("s") else None
        while True:
            new = f"{singular}s" if singular else (rng.choice(words) if rng.random() < 0.6 else made_up(rng))
            if singular or new not in present | FIXED:
                break
        present.add(new)
        mapping[word] = new
    return mapping


def made_up(rng: random.Random) -> str:
    """A pronounceable word of one to three syllables."""
    parts = (rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.choice((1, 2, 2, 3))))
    return "".join(parts)


def _in_case(piece: str, mapping: dict[str, str]) -> str:
    new = mapping.get(piece.lower())
    if new is None:
        return piece
    if piece.isupper() and len(piece) > 1:
        return new.upper()
    return new.capitalize() if piece[0].isupper() else new
