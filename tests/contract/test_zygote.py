"""The process that forks episodes: what it prepares for them, and what it says when it cannot."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from backends import LANDLOCK

from benchmarks.sandbox.process_tree import children
from recall_env.errors import SandboxFailure, SandboxUnavailable
from recall_env.sandbox import JailPool, Limits, jail, nsjail_config
from recall_env.sandbox.jail import probe

SANDBOX = Path(nsjail_config.__file__).parent
SOURCE = "def one(): return 1"


def zygote_of(pool: JailPool) -> int:
    (zygote,) = children(pool._shards[0].jail.process.pid)
    return zygote


def descriptors(pid: int) -> set[int]:
    """Once they stay the same: a zygote closes what it was given after it has told of the episode."""
    seen, now = None, {int(link.name) for link in Path(f"/proc/{pid}/fd").iterdir()}
    while now != seen:
        time.sleep(0.1)
        seen, now = now, {int(link.name) for link in Path(f"/proc/{pid}/fd").iterdir()}
    return now


@pytest.fixture(scope="module")
def best():
    found = probe().rung
    if not found.namespaces:
        pytest.skip("there are no namespaces here")
    return found


@pytest.fixture
def pool(best):
    made = JailPool(1, rung=best)
    yield made
    made.close()


@pytest.fixture(params=["namespaces", "landlock"])
def broken(request, tmp_path, monkeypatch):
    """A pool whose jails isolate in another way, on each kind of rung."""

    def make(text: str, replacement: str) -> JailPool:
        assert text in (SANDBOX / "isolation.py").read_text()
        for source in SANDBOX.glob("*.py"):
            changed = (
                source.read_text().replace(text, replacement) if source.stem == "isolation" else source.read_text()
            )
            (tmp_path / source.name).write_text(changed)
        monkeypatch.setattr(nsjail_config, "__file__", str(tmp_path / "nsjail_config.py"))
        monkeypatch.setattr(jail, "__file__", str(tmp_path / "jail.py"))
        made.append(JailPool(1, rung=rung))
        return made[-1]

    rung = LANDLOCK if request.param == "landlock" else request.getfixturevalue("best")
    made: list[JailPool] = []
    yield make
    for pool in made:
        pool.close()


@pytest.mark.parametrize("room", [0, 1])  # for the socket it is given, and for its handle of the process
def test_one_without_room_for_descriptors_refuses_an_episode_and_goes_on(pool, room):
    first = pool.open(SOURCE)
    zygote = zygote_of(pool)
    used = descriptors(zygote)
    free = [number for number in range(1 << 10) if number not in used][room]
    before = resource.prlimit(zygote, resource.RLIMIT_NOFILE)
    resource.prlimit(zygote, resource.RLIMIT_NOFILE, (free, before[1]))
    with pytest.raises(SandboxFailure, match=r"no room for another file descriptor|Too many open files"):
        pool.open(SOURCE)
    resource.prlimit(zygote, resource.RLIMIT_NOFILE, before)
    second = pool.open(SOURCE)
    assert [session.call("one", {}).value for session in (first, second)] == [1, 1]
    assert len(children(zygote)) == 2 and descriptors(zygote) == used


def test_one_that_somebody_made_nicer_goes_on(pool):
    pool.open(SOURCE).close()
    os.setpriority(os.PRIO_PROCESS, zygote_of(pool), 5)
    assert pool.open(SOURCE).call("one", {}).value == 1


def test_one_whose_bounds_were_lowered_loses_an_episode_which_is_our_failure_and_goes_on(pool):
    pool.open(SOURCE).close()
    resource.prlimit(zygote_of(pool), resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    with pytest.raises(SandboxFailure, match=r"could not be isolated: ValueError"):
        pool.open(SOURCE)
    assert pool.open(SOURCE).call("one", {}).value == 1


def test_an_episode_that_cannot_be_isolated_is_our_failure_and_others_go_on(broken):
    """The step that fails is one of the last: it is another user by then, and has but its own two descriptors."""
    pool = broken("(os.setsid, ())", '(os.chdir, ("/nowhere" if limits["tmpfs_inodes"] == 99 else "/",))')
    first = pool.open(SOURCE)
    few = descriptors(os.getpid())
    for _ in range(3):
        with pytest.raises(SandboxFailure, match=r"could not be isolated: FileNotFoundError: .*'/nowhere'"):
            pool.open(SOURCE, limits=Limits(tmpfs_inodes=99))
    assert descriptors(os.getpid()) == few and pool._loads == [1]
    second = pool.open(SOURCE)
    assert [session.call("one", {}).value for session in (first, second)] == [1, 1]


@pytest.mark.parametrize(
    ("step", "replacement", "words"),
    [
        (
            "            *prepared.first,\n",
            '            (os.chdir, ("/nowhere",)),\n',
            "No such file or directory: '/nowhere'",
        ),
        ("(os.setsid, ())", "(os.setsid, (1,))", "takes no arguments"),
        ("(_libc.capset, (", "(_libc.capset, (None, ", "OSError: .* capset"),
    ],
)
def test_one_whose_trial_cannot_be_isolated_says_why_and_never_serves(broken, step, replacement, words):
    with pytest.raises(SandboxUnavailable, match=words):
        broken(step, replacement).open(SOURCE)


def test_the_next_object_of_nearly_each_size_is_in_the_page_of_its_pools_header():
    program = f"""
import sys
sys.path.insert(0, {str(SANDBOX)!r})
import zygote, sharing
zygote.prepare(landlock_only=False)
sharing.prepare()
for size in sharing.SIZES:
    print(id(sharing._filler(size, 0)) % sharing.POOL_BYTES)
"""
    run = subprocess.run([sys.executable, "-s", "-S", "-B", "-c", program], capture_output=True, text=True, timeout=60)
    places = list(map(int, run.stdout.split()))
    assert len(places) == 32, run.stderr
    assert sum(place < 4096 for place in places) > 24  # some are taken by what goes on in between
