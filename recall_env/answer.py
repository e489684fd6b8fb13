r"""Answers: taking one out of the final text, and deciding whether two are the same.

`same_answer` is strict and numeric-aware. `token_f1` is the measure of the original ReCall, quirks included (its
normalisation drops punctuation, so 3.14 and 314 are one token): it exists for comparison, not as a judge.
"""

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable
from decimal import Decimal

__all__ = ["EXTRACTORS", "boxed", "same_answer", "token_f1", "whole_text"]

_BOX = "\\boxed{"
# An escaped brace opens and closes nothing; of two backslashes before "boxed{" the second is the box's.
_BRACES = re.compile(r"\\boxed\{|\\(?!\\boxed\{).|[{}]", re.DOTALL)
_THINK, _END_THINK = "<think>", "</think>"
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|operatorname|mbox)\s*\{([^{}]*)\}")
_NESTED_TEXT = 4  # levels of \text{\textbf{...}} that are taken off
_LATEX_SPACE = re.compile(r"\\[,;:! ]|\\quad|\\qquad|~")
_LATEX_ESCAPED = re.compile(r"\\([%$&_#{}])")
_LEADING_ARTICLE = re.compile(r"^(?:a|an|the)\s+(?=\S)")
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:e[+-]?\d{1,6})?")
_YES_NO = ("yes", "no", "noanswer")


def without_thinking(text: str) -> str:
    """The text outside <think> blocks. A block that was opened in the prompt, or never closed, counts as one."""
    start, close = text.find(_THINK), text.find(_END_THINK)
    if close >= 0 and (start < 0 or close < start):
        text = text[close + len(_END_THINK) :]
        start = text.find(_THINK)
    outside, end = [], 0
    while start >= 0:
        outside.append(text[end:start])
        close = text.find(_END_THINK, start)
        end = close + len(_END_THINK) if close >= 0 else len(text)
        start = text.find(_THINK, end)
    return "".join([*outside, text[end:]])


def boxed(text: str) -> str | None:
    r"""What the last \boxed{...} with balanced braces holds, stripped; None when there is none."""
    last, opened = None, []  # opened: for each brace not yet closed, where a box's content begins, or None
    for found in _BRACES.finditer(text):
        if found[0] == "}":
            start = opened.pop() if opened else None
            if start is not None and (last is None or start > last[0]):
                last = start, found.start()
        elif found[0] == "{":
            opened.append(None)
        elif found[0] == _BOX:
            opened.append(found.end())
    return text[slice(*last)].strip() if last else None


def whole_text(text: str) -> str | None:
    """The whole text outside of <think>, stripped; None when nothing is left."""
    return without_thinking(text).strip() or None


# What a task may name as `extractor`: the final text -> the answer, or None. Without one, the dialect finds it.
EXTRACTORS: dict[str, Callable[[str], str | None]] = {"boxed": boxed, "text": whole_text}


def same_answer(answer: str, truth: str) -> bool:
    r"""Whether an answer is the accepted one.

    Ignored: letter case, runs of white space, a leading article, one final full stop, \text{} and its kin, $ around
    the whole, Unicode compatibility forms. Numbers are compared as numbers: 1,234 = 1234 and 5.0 = 5; whole numbers
    exactly, others to a relative 1e-9. Not ignored: units, signs and symbols (5 kg, $5 and 5% are not 5), and all
    other punctuation.
    """
    answer, truth = normalised(answer), normalised(truth)
    if answer == truth:
        return True
    left, right = as_number(answer), as_number(truth)
    if left is None or right is None:
        return False
    if left == left.to_integral_value() and right == right.to_integral_value():
        return left == right
    return math.isclose(float(left), float(right), rel_tol=1e-9, abs_tol=1e-12)


def normalised(text: str) -> str:
    """The form `same_answer` compares texts in."""
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").strip()
    if len(text) > 2 and text.startswith("$") and text.endswith("$"):
        text = text[1:-1]
    for _ in range(_NESTED_TEXT):
        text = _LATEX_TEXT.sub(r"\1", text)
    text = _LATEX_ESCAPED.sub(r"\1", _LATEX_SPACE.sub(" ", text))
    text = " ".join(text.casefold().split())
    return _LEADING_ARTICLE.sub("", text.removesuffix(".").strip() or text)


def as_number(text: str) -> Decimal | None:
    """The number that a `normalised` text is, and nothing else; None when it is none."""
    if not _NUMBER.fullmatch(text) or not any(letter.isdigit() for letter in text.split("e")[0]):
        return None
    return Decimal(text.replace(",", ""))


def token_f1(answer: str, truths: tuple[str, ...]) -> float:
    """ReCall's token F1 of an answer, 0 to 1, the best over the accepted ones; 0 when none is accepted.

    Source: github.com/Agent-RL/ReCall, reward_score/re_call.py; the measure is SQuAD's (arXiv:1606.05250 §6).
    """
    return max((_f1(_recall_tokens(answer), _recall_tokens(truth)) for truth in truths), default=0.0)


def _f1(answer: list[str], truth: list[str]) -> float:
    for one, other in ((answer, truth), (truth, answer)):
        if " ".join(one) in _YES_NO and one != other:
            return 0.0
    shared = sum((Counter(answer) & Counter(truth)).values())
    if shared == 0:
        return 0.0
    # Written with precision and recall, as ReCall does: 2 * shared / (a + b) rounds differently in the last bit.
    precision, recall = shared / len(answer), shared / len(truth)
    return (2 * precision * recall) / (precision + recall)


def _recall_tokens(text: str) -> list[str]:
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()
