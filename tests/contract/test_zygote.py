"""The process that forks episodes: what it prepares for them, and what it says when it cannot."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from recall_env.errors import SandboxFailure, SandboxUnavailable
from recall_env.sandbox import JailPool, nsjail_config
from recall_env.sandbox.jail import probe

SANDBOX = Path(nsjail_config.__file__).parent
SOURCE = "def one(): return 1"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_one_without_room_for_a_descriptor_refuses_an_episode_and_goes_on():
    pool = JailPool(1)
    try:
        pool.open(SOURCE).close()
        (zygote,) = children(pool._shards[0].jail.process.pid)
        used = {int(link.name) for link in Path(f"/proc/{zygote}/fd").iterdir()}
        first_free = next(number for number in range(1 << 16) if number not in used)
        before = resource.prlimit(zygote, resource.RLIMIT_NOFILE)
        resource.prlimit(zygote, resource.RLIMIT_NOFILE, (first_free, before[1]))
        with pytest.raises(SandboxFailure, match="no room for another file descriptor"):
            pool.open(SOURCE)
        resource.prlimit(zygote, resource.RLIMIT_NOFILE, before)
        session = pool.open(SOURCE)
        assert session.call("one", {}).value == 1
        session.close()
        assert children(pool._shards[0].jail.process.pid) == [zygote]
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("step", "broken", "words"),
    [
        ("(os.chdir, (SCRATCH,))", '(os.chdir, ("/nowhere",))', "No such file or directory: '/nowhere'"),
        ("(os.setsid, ())", "(os.setsid, (1,))", "takes no arguments"),  # once it has but its socket left
        ("(_libc.capset, (", "(_libc.capset, (None, ", "OSError: .* capset: "),
    ],
)
def test_one_whose_episodes_cannot_be_isolated_says_why_and_never_serves(tmp_path, monkeypatch, step, broken, words):
    rung = probe().rung
    for name in nsjail_config.GUEST_FILES:
        text = (SANDBOX / name).read_text()
        (tmp_path / name).write_text(text.replace(step, broken) if name == "isolation.py" else text)
    assert step in (SANDBOX / "isolation.py").read_text()
    monkeypatch.setattr(nsjail_config, "__file__", str(tmp_path / "nsjail_config.py"))
    pool = JailPool(1, rung=rung)
    try:
        with pytest.raises(SandboxUnavailable, match=words):
            pool.open(SOURCE)
    finally:
        pool.close()


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
