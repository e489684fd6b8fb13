"""Between the pool and nsjail: dies with its parent, joins the jail's cgroups, stages mount sources, becomes nsjail.

`launch.py PLAN_JSON`, PLAN being {"parent": pid, "cpu": number or null, "nice": number, "cgroups": [folder, ...],
"stage": {name: source, ...}, "argv": [...]}. Staging is for a Python that lives under a 0700 home: nsjail
resolves mount sources as the jail's outside user, who may not go there. As root we therefore open the sources, hide
/run under a tmpfs in a mount namespace of our own, and bind them there, where anyone may go; the host's mounts stay as
they were, and nsjail's own folders, which it makes in /run/user, disappear with the namespace. Without namespaces
`argv` is the zygote itself. Standard library only, run as a script by the host's interpreter.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys

HIDDEN = "/run"  # nothing that an interpreter or nsjail needs lies there
STAGE = "/run/stage"
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1


def stage(sources: dict[str, str], libc: ctypes.CDLL) -> None:
    def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
        packed = [None if text is None else text.encode() for text in (source, target, kind)]
        if libc.mount(*packed, flags, None if options is None else options.encode()) != 0:
            raise OSError(ctypes.get_errno(), f"mount {source} on {target}")

    os.unshare(os.CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    # Opened before /run is hidden, in case a source lies in it, and after unshare: only own mounts can be bound.
    opened = {name: os.open(source, os.O_PATH) for name, source in sources.items()}
    mount("recall", HIDDEN, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0755")
    for folder, mode in ((STAGE, 0o755), (f"{HIDDEN}/user", 0o777)):  # nsjail writes to the second as the jail's user
        os.mkdir(folder)
        os.chmod(folder, mode)
    for name, fd in opened.items():
        target = f"{STAGE}/{name}"
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
        mount(f"/proc/self/fd/{fd}", target, None, MS_BIND)
        os.close(fd)


def main() -> None:
    plan = json.loads(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != plan["parent"]:
        return  # it died before the line above
    if plan["cpu"] is not None:
        with contextlib.suppress(OSError):  # only for speed; the processor may be another's by now
            os.sched_setaffinity(0, {plan["cpu"]})
    with contextlib.suppress(OSError):  # root may; the zygote then goes before the episodes, which go back to 0
        os.setpriority(os.PRIO_PROCESS, 0, plan["nice"])
    for folder in plan["cgroups"]:
        with open(f"{folder}/cgroup.procs", "w") as procs:
            procs.write(str(os.getpid()))
    program = os.open(plan["argv"][0], os.O_RDONLY)  # this too, if it lies in /run
    if plan["stage"]:
        stage(plan["stage"], libc)
    os.execve(program, plan["argv"], os.environ)


if __name__ == "__main__":
    main()
