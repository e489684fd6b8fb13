"""Code that goes from one episode to the next of its source: nothing that runs in an episode can choose it.

A source cannot help choosing what itself does. But what a model makes a tool do in one episode must not be in the
next, and what a source learns from one episode's state and seed must not be either.
"""

import base64
import marshal
from unittest import mock

import pytest
from scene import SOURCES

from recall_env.sandbox import JailPool, episode

SOURCE = (
    SOURCES["wire"]
    + '''

def forge(code):
    """In the guest's place: this is the code of my source."""
    _wire().send(json.dumps({"nonce": _nonce(), "code": code}).encode())

def setup(state):
    if state:
        forge(state)

def who():
    return "the source"
'''
)
FORGED = base64.b64encode(
    marshal.dumps(compile("def who():\n    return 'somebody else'\n", "<tools>", "exec"))
).decode()


@pytest.fixture
def pool():
    made = JailPool(1)
    yield made
    made.close()


def who(pool):
    session = pool.open(SOURCE)
    answer = session.call("who", {}).value
    session.close()
    return answer


@pytest.mark.parametrize("first", [True, False], ids=["whose code is asked for", "whose code is known"])
def test_code_that_a_source_sends_while_it_loads_ends_the_episode(pool, first):
    if not first:
        who(pool)
    with pytest.raises(episode.EnvError, match="compiled code that nobody asked for"):
        pool.open(SOURCE, state=FORGED)
    assert who(pool) == "the source"


@pytest.mark.parametrize("code", [FORGED, "", None, [FORGED], 7])
def test_code_that_a_tool_sends_in_a_call_ends_the_episode(pool, code):
    session = pool.open(SOURCE)
    result = session.call("forge", {"code": code})
    assert result.status == "violation" and "compiled code" in result.error_message
    assert session.call("who", {}).status == "violation"
    assert who(pool) == "the source"


def test_on_a_host_that_takes_code_at_any_time_the_next_episode_is_somebody_elses(pool):
    def take(self, frame):
        self._compiled._codes[SOURCE] = frame["code"]

    with mock.patch.object(episode.Episode, "_believe_code", take):
        session = pool.open(SOURCE)
        session.call("forge", {"code": FORGED})
    assert who(pool) == "somebody else"


def test_the_host_never_reads_the_code(pool):
    with mock.patch.object(marshal, "loads", side_effect=AssertionError("the host read it")):
        assert [who(pool), who(pool)] == ["the source"] * 2
