"""The same attacks where nothing, or not the part in question, holds them: there they must work, or that the jail stops
them says nothing. Where each of them is shown to work is in table.py."""

import contextlib
import functools
import os
import platform
import re

import outer
import pytest
import weakened
from scene import LIMITS, SOURCES
from table import ATTACKS, FRAMES, NOT_EVERYWHERE, X86_ONLY, Attack

from recall_env.sandbox import JailPool, Limits, UnsafePool
from recall_env.tool_call import ToolResult

GENEROUS = Limits(call_timeout_s=10, memory_bytes=2 << 30, open_files=1024, file_bytes=1 << 28)
LACKING = re.compile(r"ENOSYS|Function not implemented|not supported")


def shown(where: str) -> list:
    chosen = [attack for attack in ATTACKS.values() if attack.shown.split(":")[0] == where]
    return [pytest.param(attack, id=f"{attack.kind}-{attack.name}") for attack in chosen]


PATIENCE_S = 20.0  # for a server that is to answer or to die, on a machine that is busy


def calls(attack: Attack) -> list[str]:
    return [f"leave_{attack.name}", f"find_{attack.name}"] if attack.kind == "episodes" else [attack.name]


@pytest.fixture(autouse=True)
def here(request):
    """Skips what cannot be shown on this machine."""
    attack = getattr(request.node, "callspec", None) and request.node.callspec.params.get("attack")
    if attack and attack.name in X86_ONLY and platform.machine() != "x86_64":
        pytest.skip("an x86 attack")
    if attack and attack.shown == "unsafe:root" and os.geteuid() != 0:
        pytest.skip("root's own attack")


def must_have_worked(result: ToolResult) -> None:
    if result.status == "tool_error" and LACKING.search(result.error_message or ""):
        pytest.skip(f"this kernel has no such thing: {result.error_message}")
    assert result.status in ("ok", "output_truncated") and result.value, result


@pytest.mark.parametrize("attack", shown("unsafe"))
def test_without_a_jail_an_attack_works(host, attack):
    pool, hint, sessions = UnsafePool(GENEROUS), None, []
    try:
        for name in calls(attack):
            sessions.append(pool.open(SOURCES[attack.kind]))
            result = sessions[-1].call(name, {"target": host.target | {"hint": hint}})
            hint = result.value
        error, why = NOT_EVERYWHERE.get(attack.name, (None, None))
        if error is not None and result.error_type == error:
            pytest.skip(why)
        must_have_worked(result)
    finally:
        pool.close()
        host.restore()


NOTHING = {"source": "def nothing(target): return None", "calls": [["nothing", {}]]}


@pytest.mark.parametrize("host_kind", ["unsafe", "naive"])
def test_the_outer_jail_gives_no_signs_of_its_own(host_kind):
    assert [outcome.signs for outcome in outer.attempt(host_kind, NOTHING)] == [[]]


@pytest.mark.parametrize("attack", shown("outer"))
def test_in_an_outer_jail_with_nothing_inside_an_attack_works(attack):
    [outcome] = outer.attempt("unsafe", in_order(attack))
    assert attack.shown.split(":")[1] in outcome.signs, outcome


@pytest.mark.parametrize("attack", shown("naive"))
def test_on_a_server_that_runs_text_an_attack_works(attack):
    outcome = naive(attack.kind)[attack.name]
    assert attack.shown.split(":")[1] in outcome.signs, outcome


@functools.cache
def naive(kind: str) -> dict[str, outer.Outcome]:
    """What came of all the attacks of a class, by name: one outer jail for all, and a new server for each."""
    chosen = [attack for attack in ATTACKS.values() if attack.kind == kind and attack.shown.startswith("naive")]
    found = outer.attempt("naive", *map(in_order, chosen))
    return {attack.name: outcome for attack, outcome in zip(chosen, found, strict=True)}


def in_order(attack: Attack) -> dict:
    played = {"source": SOURCES[attack.kind], "calls": [[name, {}] for name in calls(attack)]}
    hangs = attack.shown in ("naive:hang", "naive:broken")
    return played if hangs else played | {"patience_s": PATIENCE_S}


@pytest.fixture(scope="module")
def weak():
    with contextlib.ExitStack() as stack:
        yield {kind: stack.enter_context(weakened.jail(kind, LIMITS)) for kind in weakened.JAILS}


@pytest.mark.parametrize("attack", shown("weak"))
def test_in_a_jail_without_the_part_that_stops_it_an_attack_works(host, weak, attack):
    kind = attack.shown.split(":")[1]
    bystander = weak[kind].open("def f(): return 1")
    result = weak[kind].open(SOURCES[attack.kind]).call(attack.name, {"target": host.target})
    if kind == "group":
        assert not lives(bystander), result
    else:
        must_have_worked(result)


def lives(session) -> bool:
    try:
        return session.call("f", {}).value == 1
    except Exception:
        return False


@pytest.fixture(scope="module")
def pool():
    made = JailPool(1, LIMITS)
    made.open("def f(): return 1").close()
    yield made
    made.close()


def believed(host, pool, kinds: str, name: str, **more) -> bool:
    """Whether a host without these checks takes a forged frame for an answer, or runs what is in it."""
    session = pool.open(SOURCES["wire"])
    target = host.target | more
    try:
        with weakened.host(kinds):
            result = session.call(name, {"target": target})
            if kinds == "later":
                result = session.call(name, {"target": target})
    except TypeError:  # what came of the frame is no frame, but come of it something may have
        result = None
    finally:
        session.close()
        marked = host.mark.exists()
        host.restore()
    return marked or (result is not None and bool(result.value))


@pytest.mark.parametrize("attack", shown("host"))
def test_a_host_without_the_check_takes_a_forged_answer(host, pool, attack):
    assert believed(host, pool, attack.shown.split(":")[1], attack.name)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_host_without_the_check_takes_a_forged_frame(host, pool, frame):
    assert believed(host, pool, FRAMES[frame], "send", frame=frame)
