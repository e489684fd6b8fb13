"""Taking an answer out of a text, and deciding whether it is the accepted one."""

import pytest

from recall_env.answer import boxed, same_answer, token_f1, without_thinking


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("Paris", "paris"),
        (" the  Paris ", "Paris"),
        ("Paris.", "Paris"),
        (r"\text{Paris}", "Paris"),
        (r"\text{New \textbf{York}}", "New York"),
        ("$42$", "42"),
        ("1,234", "1234"),
        ("1,234,567.50", "1234567.5"),
        ("5.0", "5"),
        ("+5", "5"),
        ("−5", "-5"),
        ("1e3", "1000"),
        (".5", "0.5"),
        ("5.", "5"),
        ("0.30000000000000004", "0.3"),
        ("５", "5"),
        (r"50\%", "50%"),
        ("A", "a"),
        ("the", "The"),
        ("", ""),
    ],
)
def test_an_answer_is_the_same_when_only_its_form_differs(answer, truth):
    assert same_answer(answer, truth)


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("3.14", "314"),
        ("-5", "5"),
        ("5 kg", "5"),
        ("$5", "5"),
        ("5%", "5"),
        ("12,34", "1234"),
        ("1, 234", "1234"),
        ("Paris, France", "Paris"),
        ("Paris or London", "Paris"),
        ("vitamin a", "vitamin"),
        ("1234567890123456", "1234567890123457"),
        ("0.3001", "0.3"),
        ("", "0"),
        ("e5", "5"),
        ("東京", "東京都"),
        ("nan", "0"),
        ("1e999999", "1e999998"),
    ],
)
def test_an_answer_differs_when_its_meaning_does(answer, truth):
    assert not same_answer(answer, truth)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{12}", "12"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{ a } tail", "a"),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\boxed{\}}", r"\}"),
        (r"\boxed{}", ""),
        (r"\boxed 12", None),
        ("12", None),
    ],
)
def test_the_last_balanced_box_holds_the_answer(text, answer):
    assert boxed(text) == answer


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),
        ("<think>a", ""),
        ("a<think>b</think>c<think>d</think>e", "ace"),
        ("a", "a"),
        ("<think>x</think>a</think>b", "a</think>b"),
        ("a<think>b<think>c</think>d</think>e", "ad</think>e"),
        ("a</think>b<think>c", "b"),
        ("", ""),
    ],
)
def test_thinking_is_not_read_even_when_the_prompt_opened_it_or_nothing_closed_it(text, rest):
    assert without_thinking(text) == rest


def test_token_f1_takes_the_best_of_the_accepted_answers():
    assert token_f1("the lamp of Paris", ("London", "Paris")) == 0.5
    assert token_f1("x", ()) == 0.0


@pytest.mark.parametrize("text", ["\\boxed{" * 100_000, "\\boxed{" + "{" * 500_000, "\\boxed{" * 9 + "\\" * 500_000])
def test_a_long_text_of_open_boxes_holds_no_answer_and_takes_no_minute(text):
    assert boxed(text) is None
