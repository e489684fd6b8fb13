"""Every attack of table.py on the jail, each followed by the same questions (scene.py): does a benign call work, has a
sibling opened before still its memory and its files, are the host's files unchanged, is no process of ours left, are
descriptors and memory where they were?

test_attacks_work.py shows that the same attacks work where nothing holds them.
"""

import platform
import threading
import time

import pytest
from scene import Scene
from table import ATTACKS, FRAMES, X86_ONLY, Attack

PLAIN = (type(None), bool, int, float, str, list, dict)


@pytest.fixture(scope="module")
def scene(host):
    made = Scene(host)
    yield made
    made.pool.close()


@pytest.fixture
def jail(scene):
    yield scene
    scene.check()


def attacks(*kinds: str, without: tuple[str, ...] = ()) -> list:
    chosen = [
        attack for attack in ATTACKS.values() if (not kinds or attack.kind in kinds) and attack.kind not in without
    ]
    return [pytest.param(attack, id=f"{attack.kind}-{attack.name}") for attack in chosen]


def worked(result) -> bool:
    return result.status in ("ok", "output_truncated") and bool(result.value)


@pytest.mark.parametrize("attack", attacks(without=("episodes",)))
def test_an_attack_is_stopped_and_the_jail_goes_on(jail, attack: Attack):
    if attack.name in X86_ONLY and platform.machine() != "x86_64":
        pytest.skip("an x86 attack")
    result = jail.play(attack.name, attack.kind)
    if attack.outcome == "refused":
        assert not worked(result), f"{attack.name} worked: {result}"
        assert result.status in ("ok", "tool_error", "out_of_memory"), result
    elif attack.outcome == "contained":
        assert result.status in ("ok", "tool_error", "violation", "timeout", "out_of_memory"), result
        assert type(result.value) in PLAIN
    else:
        assert result.status in attack.outcome.split("|"), result


@pytest.mark.parametrize("attack", attacks("episodes"))
def test_what_one_episode_leaves_no_other_finds(jail, attack: Attack):
    sibling, first = jail.open("episodes"), jail.open("episodes")
    hint = first.call(f"leave_{attack.name}", {"target": jail.host.target}).value
    target = jail.host.target | {"hint": hint or "\0none"}
    later = jail.open("episodes")
    found = [session.call(f"find_{attack.name}", {"target": target}) for session in (sibling, later)]
    first.close()
    after = jail.open("episodes")
    found.append(after.call(f"find_{attack.name}", {"target": target}))
    for session in (sibling, later, after):
        session.close()
    assert not any(map(worked, found)), found
    assert {result.status for result in found} <= {"ok", "tool_error", "violation"}, found


@pytest.mark.parametrize("frame", FRAMES)
def test_a_forged_frame_ends_the_episode(jail, frame):
    assert jail.play("send", "wire", frame=frame).status == "violation"


def test_a_frame_sent_ahead_never_answers_a_later_call(jail):
    session = jail.open("wire")
    calls = [session.call("answer_all_calls_from_now_on", {"target": {}})]
    time.sleep(0.05)
    calls += [session.call("answer_all_calls_from_now_on", {"target": {}}) for _ in range(3)]
    session.close()
    assert all(result.value != "forged" for result in calls)
    assert [result.status for result in calls[1:]] == ["violation"] * 3


@pytest.mark.parametrize("name", [attack.name for attack in ATTACKS.values() if attack.shown == "host:later"])
def test_a_tool_that_answers_for_itself_answers_its_own_call_at_most(jail, name):
    session = jail.open("wire")
    first, second = (session.call(name, {"target": {}}) for _ in range(2))
    session.close()
    assert (first.status, first.value) in (("ok", "forged"), ("ok", "forged again"), ("violation", None))
    assert (second.status, second.value) == ("violation", None)


def test_twenty_spinning_episodes_do_not_keep_a_neighbour_from_answering(jail):
    spinners = [jail.open("hangs") for _ in range(20)]
    threads = [threading.Thread(target=each.call, args=("spin", {"target": {}})) for each in spinners]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    jail.work()
    for thread in threads:
        thread.join(10)
    for each in spinners:
        assert each.call("spin", {"target": {}}).status == "timeout"
        each.close()
