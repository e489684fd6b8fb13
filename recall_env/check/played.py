"""Checks that play: the source loads, gold is paid in full, what is no answer is not, nothing but the answer counts."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace

from recall_env.check.bench import Bench, Note, call_shown, doubt, fault, shown, shows, telling
from recall_env.check.gold_calls import PlanError, derive, expected_failures, heard, leaves
from recall_env.check.player import gold_turns
from recall_env.check.probes import first_calls
from recall_env.errors import EnvError, TaskError
from recall_env.rubric import Episode, PlayedTurn
from recall_env.sandbox.limits import Limits
from recall_env.schema import function_of

MOST_FOR_FORM = 0.1  # what a rubric may pay for an answer's form alone
MAX_PROBES = 24
NO_ANSWER = "qzxv none of these"  # what no task asks for
PROSE = "Let me look at this again: 17 lamps, or was it 18? Ωμέγα, 東京, \U0001f914. "
GUESSES = ("yes", "no", "true", "false", "none", "unknown", "0", "1", "2", "3", "10", "100")
ODD_ANSWERS = (
    "",
    " ",
    "nan",
    "-inf",
    "1e999999",
    "9" * 5000,
    "\x00",
    "\u202e{}\u0301",
    "{" * 500,
    "\\",
)


def loads(bench: Bench) -> Iterator[Note]:
    """The source loads in the jail, well within its limits, and its state reaches it."""
    task = bench.task
    try:
        bench.env.reset(seed=0, options={"index": 0})
    except TaskError as error:
        yield fault(str(error))
        return
    limits = Limits().overridden(task.limits)
    start = time.monotonic()
    try:
        with bench.session():
            pass
    except EnvError as error:
        yield fault(f"the source does not load: {error}")
        return
    taken_s = time.monotonic() - start
    if taken_s > limits.load_timeout_s / 2:
        yield doubt(f"the source took {taken_s:.1f} s to load; the limit is {limits.load_timeout_s:g} s")
    if task.state is not None and "def setup(" not in task.source:
        yield doubt("the row has a state, and the source no setup(state) that would take it")


def gold(bench: Bench) -> Iterator[Note]:
    """The gold solution's calls succeed, its answer comes out of them, and it is paid in full."""
    task = bench.task
    if task.solution is None:
        yield fault("there is no gold solution: nothing shows that the task can be solved")
        return
    for number, (result, fails) in enumerate(zip(bench.gold, expected_failures(task), strict=True)):
        if result.status != ("tool_error" if fails else "ok") and result.status != "output_truncated":
            reason = f": {result.error_type}: {result.error_message}" if result.error_type else ""
            called = call_shown(task.solution.calls[number])
            yield fault(f"gold call {number}, {called}, came back as {result.status}{reason}")
    if "answer_at" in task.extra.get("solution", {}) and bench.gold:
        try:
            if (derived := derive(task, bench.gold)) != task.solution.answer:
                yield fault(f"the calls lead to {derived!r}, the solution answers {task.solution.answer!r}")
        except PlanError as error:
            yield fault(f"the answer cannot be read where the solution says it is: {error}")
    elif bench.gold and not any(shows(result, truth) for result in bench.gold for truth in task.ground_truth):
        yield doubt(f"no gold result shows the answer {task.ground_truth[0]!r}: it has to be worked out")
    longest = replace(bench.settings, max_turns=max(bench.settings.max_turns, len(task.solution.calls) + 1))
    patient = Bench(task, bench.pool, longest)  # too few turns are `budget`'s to find
    try:
        reward, infos = patient.play(gold_turns(patient.env, task))
    finally:
        patient.close()
    best = bench.env.rubric.full_marks
    if reward < best - 1e-9 or not infos[-1].get("success"):
        low = {name: value for name, value in infos[-1]["score"]["values"].items() if value < 1}
        yield fault(f"the gold solution earns {reward:g} of {best:g}; below 1: {low}")
    for truth in task.ground_truth:
        if not bench.play([_closed(bench) + bench.env.dialect.write_answer(task, truth)])[1][-1]["success"]:
            yield fault(f"the accepted answer {truth!r} does not count as a success when it is given")


def floor(bench: Bench) -> Iterator[Note]:
    """Nothing, an empty answer, the question, the prompt, and all words at once earn no more than an answer's form."""
    task, dialect = bench.task, bench.env.dialect
    nonsense = bench.answer(NO_ANSWER)
    if nonsense > MOST_FOR_FORM + 1e-9:
        yield fault(f"an answer that means nothing earns {nonsense:g}; its form may earn {MOST_FOR_FORM:g}")
    prompt = "\n\n".join(message["content"] for message in dialect.start(task))
    words = list(dict.fromkeys(task.question.split()))
    enums = [text for tool in map(function_of, task.schemas) for text in leaves(tool.get("parameters") or {})]
    told = [text for result in bench.gold for text in heard(result)] if task.solution and task.solution.calls else []
    answers = {
        "an empty answer": "",
        "a blank answer": " ",
        "the question itself": task.question,
        "the prompt itself": prompt,
        "all words of the question": ", ".join(words),
        "all words of the question and the schemas": ", ".join([*words, *enums]),
        "everything the tools say": ", ".join([*told, NO_ANSWER]),
        "all common answers at once": ", ".join(GUESSES),
    }
    turns = {"nothing at all": "", "a turn without an answer": "I do not know.", "the prompt, copied": prompt}
    earned = {what: bench.say(text) for what, text in turns.items()}
    earned |= {what: bench.answer(text) for what, text in answers.items()}
    for what, reward in earned.items():
        if reward > min(max(nonsense, 0.0), MOST_FOR_FORM) + 1e-9:
            yield fault(f"{what} earns {reward:g}")
    for guess in (guess for guess in GUESSES if bench.answer(guess) > MOST_FOR_FORM):
        yield doubt(f"the guess {guess!r} is right: answers so common can be had without a tool")


def outside_text(bench: Bench) -> Iterator[Note]:
    """The reward is that of the answer: prose around it changes nothing, and the truth in prose earns nothing."""
    task = bench.task
    truth = task.solution.answer if task.solution else task.ground_truth[0]
    plain = bench.answer(truth)
    thought = "<think>{} " + NO_ANSWER + "</think>"
    around = {"a thought before it": f"<think>{PROSE}</think>{{}}"}
    if task.extractor != "text":
        around |= {
            "prose before it": PROSE + "{}",
            "prose after it": "{} " + PROSE,
            "another answer before it": bench.env.dialect.write_answer(task, NO_ANSWER) + " No: {}",
        }
    if bench.env.dialect.name == "submit":  # there the answer is a call, and all calls of a turn are made
        around.pop("another answer before it", None)
    for what, form in around.items():
        if abs((reward := bench.answer(truth, form)) - plain) > 1e-9:
            yield fault(f"with {what}, the right answer earns {reward:g} and not {plain:g}")
    wrong = bench.answer(NO_ANSWER)
    without = {"the truth in a thought, no answer": f"<think>{truth}</think>"}
    if task.extractor != "text":
        answered = bench.env.dialect.write_answer(task, NO_ANSWER)
        without |= {
            "the truth in prose, no answer": f"It is {truth}.",
            "the truth in prose, a wrong answer": f"It is {truth}. {answered}",
            "the truth in a thought, a wrong answer": thought.replace("{}", truth) + answered,
        }
    for what, text in without.items():
        if (reward := bench.say(text)) > max(wrong, 0.0) + 1e-9:
            yield fault(f"{what}: earns {reward:g}")


def rubric(bench: Bench) -> Iterator[Note]:
    """The rubric gives the same finite number each time, for odd answers too, and never more than for gold."""
    task, made, best = bench.task, (), bench.env.rubric.full_marks
    if task.solution and task.solution.calls:
        made = (PlayedTurn("calls", tuple(zip(task.solution.calls, bench.gold, strict=True))),)
    right = task.ground_truth[0]
    for answer in (right, NO_ANSWER, None, right.upper(), f"{right} {right}", *ODD_ANSWERS):
        text = bench.env.dialect.prefill + ("" if answer is None else bench.env.dialect.write_answer(task, answer))
        episode = Episode(task, (*made, PlayedTurn(text)), answer, "answer", bench.final_state)
        try:
            totals = [bench.env.rubric.score(episode).total for _ in range(8)]
        except Exception as error:
            yield fault(f"the answer {shown(answer, 40)}: the rubric raises {type(error).__name__}: {error}")
            continue
        if not all(map(math.isfinite, totals)):
            yield fault(f"the answer {shown(answer, 40)}: the reward is {totals[0]!r}, not a finite number")
        elif len(set(totals)) > 1:
            yield fault(f"the answer {shown(answer, 40)}: the reward is {totals[0]!r}, then {max(totals)!r}")
        elif totals[0] > best + 1e-9:
            yield fault(f"the answer {shown(answer, 40)} earns {totals[0]:g}; parts of at most 1 make {best:g}")


def single_call(bench: Bench) -> Iterator[Note]:
    """No one call made from the question gives the answer, unless the task says that one call is all it takes."""
    task = bench.task
    if not task.solution or not task.solution.calls:
        return
    showing = [n for n, result in enumerate(bench.gold, 1) if any(shows(result, t) for t in task.ground_truth)]
    bench.figures["answer_after"] = showing[0] if showing else None
    bench.figures["one_call"] = False
    for probe in first_calls(task, MAX_PROBES):
        (result,) = bench.replay([probe], timeout_s=2.0)
        for truth in (truth for truth in task.ground_truth if shows(result, truth)):
            bench.figures["one_call"] = True
            if (task.calls_needed or 0) > 1:
                note = fault if telling(truth) else doubt
                yield note(f"{call_shown(probe)} alone gives {truth!r}; the task counts {task.calls_needed} calls")
                return


def budget(bench: Bench) -> Iterator[Note]:
    """The gold solution and its answer fit into the turns of an episode, and the row's count of calls is its own."""
    task, most = bench.task, bench.settings.max_turns
    made = len(task.solution.calls) if task.solution else None
    needed = max(made or 0, task.n_calls or 0) + 1
    if needed > most:
        yield fault(f"the solution takes {needed} turns, an episode has {most}")
    if made is not None and task.n_calls is not None and task.n_calls != made:
        yield doubt(f"n_calls says {task.n_calls}, the solution makes {made} calls")


def _closed(bench: Bench) -> str:
    return "</think>" if bench.env.dialect.prefill else ""
