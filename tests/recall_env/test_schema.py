"""Arguments against JSON Schema, in words for a model."""

import pytest

from recall_env.errors import TaskError
from recall_env.schema import argument_error, check_parameters

PARAMETERS = {
    "type": "object",
    "properties": {
        "count": {"type": "integer", "minimum": 1},
        "unit": {"enum": ["kg", "lb"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"type": ["string", "null"]},
        "at": {"type": "object", "properties": {"day": {"type": "integer"}}, "required": ["day"]},
    },
    "required": ["count"],
}


@pytest.mark.parametrize(
    "arguments",
    [{"count": 3}, {"count": 3, "unit": "kg", "tags": ["a"], "note": None, "at": {"day": 1}}, {"count": 3.0}],
)
def test_arguments_that_fit_have_no_error(arguments):
    assert argument_error(PARAMETERS, arguments) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"count": "3"}, "count: expected integer, got string '3'"),
        ({"count": True}, "count: expected integer, got boolean true"),
        ({"count": None}, "count: expected integer, got null"),
        ({}, "count: required, but missing"),
        ({"count": 1, "at": {}}, "at.day: required, but missing"),
        ({"count": 1, "tags": ["a", 2]}, "tags.1: expected string, got integer 2"),
        ({"count": 1, "note": 2}, "note: expected string or null, got integer 2"),
        ({"count": 0}, "count: 0 is less than the minimum of 1"),
        ({"count": 1, "unit": "g"}, 'unit: "g" is not one of "kg" or "lb"'),
        ({"count": 1, "weight": "kg"}, "weight: no such argument; it takes count, unit, tags, note, at"),
        ({"count": 1, "nota": "x"}, "nota: no such argument; did you mean 'note'?"),
        ({"count": "x" * 500}, "count: expected integer, got string '" + "x" * 76 + "..."),
    ],
)
def test_an_error_names_the_argument_what_it_takes_and_what_it_got(arguments, words):
    assert argument_error(PARAMETERS, arguments) == words


def test_many_errors_are_cut_to_three():
    words = argument_error(PARAMETERS, {"count": "x", "unit": "g", "tags": 1, "note": 2, "at": 3})
    assert words.count(";") == 3 and words.endswith("; and 2 more")


def test_a_schema_that_allows_more_arguments_is_taken_at_its_word():
    assert argument_error({"type": "object", "properties": {}, "additionalProperties": True}, {"x": 1}) is None
    assert argument_error({"type": "object", "properties": {}}, {"x": 1}) == "x: no such argument; it takes none"


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "dict"},
        {"type": "object", "properties": {"x": {"$ref": "http://127.0.0.1:1/x"}}},
        {"type": "object", "properties": {"x": {"$ref": "file:///etc/hostname"}}},
        {"type": "object", "required": 3},
    ],
)
def test_what_is_no_schema_or_points_outside_is_the_authors_fault_and_fetches_nothing(parameters):
    with pytest.raises(TaskError, match="schema of tool 'f': parameters is not a JSON Schema") as caught:
        check_parameters("f", parameters)
    assert "\n" not in str(caught.value)
