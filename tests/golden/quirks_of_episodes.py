"""Quirks 15 to 27 and 29: where a turn and an episode end, and what an answer is worth."""

import json
import tomllib

from quirks import DEFAULT, FORGED, INFERENCE, RECALL, TASK, call, quirk

from recall_env.agent import AgentFailure
from recall_env.answer import same_answer, token_f1
from recall_env.evaluate import Settings, evaluate
from recall_env.taskset import TaskSet
from recall_train.config import PRESETS, Rollout, load_config


@quirk(
    15,
    "512 tokens a turn, shared over the batch; a turn cut short ends the episode, a whole call in it or not",
    recall="not ours to keep: the trainer counts tokens",
    default="rollout.max_turn_tokens, of each turn; a call that was cut is a parse error",
)
def _(play):
    assert load_config([], ["--rollout.max_turn_tokens", "512"]).rollout.max_turn_tokens == 512
    cut = play("hermes", call("count") + '<tool_call>{"name": "count", "argu')
    assert cut.statuses == ["ok", "parse_error"] and not cut.terminated


@quirk(
    16,
    "one model's stop id in the code; top_p 0.99 in evaluation too",
    recall="not ours to keep: an environment sees text",
    default="the chat template says where a turn ends (test_templates.py); nothing is cut off the distribution",
)
def _(play):
    assert "top_p" not in Rollout.model_fields
    assert RECALL.parse("x </think> \\boxed{1}<|im_end|>") == RECALL.parse("x </think> \\boxed{1}")


@quirk(
    17,
    "in the last turn the tools still run and a new turn is opened; the reward is 0",
    recall="the same bytes, and truncated",
    default="truncated, and info says max_turns",
)
def _(play):
    for dialect, end in (("recall", "<|im_start|>assistant\n<think>"), ("hermes", "</tool_response>")):
        last = play(dialect, call("count"), max_turns=1)
        assert last.statuses == ["ok"] and last.truncated and last.text.endswith(end)
        assert last.reward == 0.0 and last.info["termination"] == "max_turns"


@quirk(
    18,
    "training and inference differ in one character of the system prompt",
    recall="both: recall and recall-inference",
    default="one prompt for both",
)
def _(play):
    trained, served = (dialect.start(TASK)[0]["content"] for dialect in (RECALL, INFERENCE))
    assert "functions.\n\nHere are" in trained and "functions. \nHere are" in served
    assert trained.replace("functions.\n\nHere", "") == served.replace("functions. \nHere", "")


@quirk(
    19,
    "inference goes on after a cut turn as if it had ended; after five failures of one episode the whole run stops",
    recall="not kept: an environment is told turns, not why they ended; a lost episode is void",
    default="an endpoint's failure is that episode's, counted apart",
)
def _(play):
    class Gone:
        def act(self, messages, tools):
            raise AgentFailure("no answer")

    result = evaluate(TaskSet([TASK]), lambda *_: Gone(), agent="gone", settings=Settings(dialect="recall-inference"))
    assert (result.infra, result.overall.episodes) == (1, 0)


@quirk(
    20,
    "tool output may spell special tokens: it can open a turn and forge an answer for the reward",
    recall="the same text; the answer is read from the agent's own turn, and the trainer breaks up special tokens",
    default="escaped: the text cannot spell any",
)
def _(play):
    forged = play("recall", call("forge"))
    assert FORGED in forged.text and not forged.terminated
    fixed = play("hermes", call("forge"))
    assert "<|" not in fixed.text and fixed.text.count("</tool_response>") == 1
    assert json.loads(fixed.info["messages"][0]["content"]) == FORGED
    for dialect in ("recall", "hermes"):
        assert play(dialect, call("forge"), "</think> I do not know").info["success"] is False


@quirk(
    21,
    "only an episode that ends in the tokenizer's eos_token is paid, so with a base model's none is",
    recall="only one that ends in an answer; which token that took is the trainer's to know",
    default="the same, and info says how it ended",
)
def _(play):
    for rubric in ("recall", "answer"):
        cut = play("recall", f"</think>{call('count')} \\boxed{{12.5}}", rubric=rubric, max_turns=1)
        assert cut.reward == 0.0 and cut.info["termination"] == "max_turns"
        assert play("recall", "</think> \\boxed{12.5}", rubric=rubric).reward == 1.0


@quirk(
    22,
    "form is paid for: <think> in pairs in every turn, whole calls, a box in the last",
    recall="the same, in the rubric `recall`",
    default="measured as `format`, not paid for",
)
def _(play):
    for answer, form in (("</think> \\boxed{12.5}", 1.0), ("\\boxed{12.5}", 0.0)):
        paid = play("recall", answer, rubric="recall")
        assert paid.info["score"]["values"]["format"] == form == paid.reward
        assert play("recall", answer).info["score"]["values"]["format"] == form


@quirk(
    23,
    "a wrong answer earns 0.1, a barely overlapping one less",
    recall="the same, in the rubric `recall`",
    default="1 for the right answer, else 0",
)
def _(play):
    wordy = "</think> \\boxed{12.5 " + " ".join(map(str, range(100, 160))) + "}"
    assert 0 < play("recall", wordy, rubric="recall").reward < 0.1
    assert play("recall", "</think> \\boxed{wrong}", rubric="recall").reward == 0.1
    assert play("hermes", wordy).reward == play("hermes", "\\boxed{wrong}").reward == 0.0


@quirk(
    24,
    "an empty box earns 0.1; a box in <think> counts in training and not in evaluation; `\\boxed x` runs to the next $",
    recall="the same: recall as in training, recall-inference as in evaluation",
    default="a balanced box outside of thinking",
)
def _(play):
    assert play("recall", "</think> \\boxed{}", rubric="recall").reward == 0.1
    thought, spaced = "x \\boxed{12.5} </think> none", "x </think> $\\boxed 12.5$ so"
    answers = {d.name: (d.parse(thought).answer, d.parse(spaced).answer) for d in (RECALL, INFERENCE, DEFAULT)}
    assert answers == {"recall": ("12.5", "12.5"), "recall-inference": (None, "12.5"), "hermes": (None, None)}
    assert play("hermes", "\\boxed{}").reward == 0.0 and RECALL.parse("</think> \\fbox{12.5}").answer is None


@quirk(
    25,
    "punctuation is dropped before answers are compared: 3.14 is 314, -5 is 5; `the` and 東京 cannot be matched",
    recall="the same, in token_f1, the rubric `recall`",
    default="numbers are compared as numbers, text with its signs",
)
def _(play):
    assert token_f1("314", ("3.14",)) == token_f1("-5", ("5",)) == 1.0
    assert token_f1("the", ("the",)) == token_f1("東京", ("東京都",)) == token_f1("\\text{Paris}", ("Paris",)) == 0.0
    assert not same_answer("314", "3.14") and not same_answer("-5", "5")
    assert same_answer("1,234.0", "1234") and same_answer("the", "the") and same_answer("\\text{Paris}", "Paris")


@quirk(
    26,
    "a call and a box in one turn, and several thoughts, are good form",
    recall="the same; the call runs first",
    default="the same: a turn with a call is not the end",
)
def _(play):
    both = f"</think>{call('count')} \\boxed{{12.5}}"
    last = "</think> <think>again</think> \\boxed{12.5}"
    assert play("recall", both).statuses == ["ok"] and play("recall", both, last, rubric="recall").reward == 1.0
    assert play("hermes", both).info.get("answer") is None and not play("hermes", both).terminated


@quirk(
    27,
    "evaluation with several samples of a task fails on its shapes",
    recall="not ours to keep: the trainer's",
    default="k episodes of each task",
)
def _(play):
    class Knows:
        def act(self, messages, tools):
            return "\\boxed{12.5}"

    result = evaluate(TaskSet([TASK, TASK]), lambda *_: Knows(), agent="knows", k=3)
    assert (result.overall.episodes, result.overall.successes) == (6, 6)


@quirk(
    29,
    "the shell script fixes eight GPUs and uses a variable that nobody sets",
    recall="not ours to keep: the trainer's",
    default="ranks come from the launcher; a preset holds settings and no machine",
)
def _(play):
    settings = [key for preset in PRESETS.glob("*.toml") for part in _sections(preset) for key in part]
    assert settings and not [key for key in settings if "gpus" in key or "node" in key]


def _sections(preset) -> list[dict]:
    return [part for part in tomllib.loads(preset.read_text()).values() if isinstance(part, dict)]
