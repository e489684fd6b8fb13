"""Plays the attacks as a plain user, whose episodes have one user id: `plain_user.py WAY CLASS...` prints what worked.

WAY: `namespaces`, or `landlock` for a machine on which there are none.

Started as root it becomes one first: user 1000 of a user namespace that has no other.
"""

import os
import sys
from pathlib import Path

UID = 1000


def become_plain() -> None:
    (ready, is_ready), (mapped, is_mapped) = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        os.read(ready, 1)
        Path(f"/proc/{child}/setgroups").write_text("deny")
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{child}/{name}").write_text(f"{UID} 0 1")
        os.write(is_mapped, b"x")
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os.unshare(os.CLONE_NEWUSER)
    os.write(is_ready, b"x")
    os.read(mapped, 1)
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)


def main() -> None:
    if os.geteuid() == 0:
        become_plain()
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
    import tempfile

    from scene import Host, Scene
    from table import ATTACKS

    from recall_env.sandbox.jail import LADDER

    namespaces, kinds = sys.argv[1] == "namespaces", sys.argv[2:]
    [rung] = [rung for rung in LADDER if not rung.root and rung.namespaces == namespaces]
    expected = NOT_BOUNDED if namespaces else NOT_BOUNDED | SEEN_WITHOUT_NAMESPACES
    with tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder))
        scene = Scene(host, rung)
        for attack in ATTACKS.values():
            if attack.kind not in kinds or attack.name in expected:
                continue
            names = [f"leave_{attack.name}", f"find_{attack.name}"] if attack.kind == "episodes" else [attack.name]
            results = [scene.play(name, attack.kind) for name in names]
            worked = results[-1].status in ("ok", "output_truncated") and results[-1].value
            if attack.outcome in ("refused", "violation") and worked:
                print(attack.name, "worked:", results[-1])
            scene.check()
        scene.pool.close()
        host.close()
    print("played")


# The kernel counts threads, and what is queued or in flight, per user: not per episode where they share one.
NOT_BOUNDED = {"start_many_threads", "start_many_threads_by_number"}
# What Landlock does not hide: names and numbers, and no more.
SEEN_WITHOUT_NAMESPACES = {
    "learn_the_hosts_name", "learn_the_hosts_session", "learn_the_hosts_process_from_the_wire", "see_the_parent",
}  # fmt: skip

if __name__ == "__main__":
    main()
