"""A tool source that attacks: files, processes, the network. With attacks_from_inside.py it is sent whole into an
episode; test_attacks.py calls its functions there.

Each function gets `target`, facts about the host that an attacker might know, and returns something true when the
attack has worked. Raising, returning nothing, or dying means that it was stopped.
"""

import ctypes
import mmap
import os
import platform
import resource
import signal
import socket
import stat
import subprocess

libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"


# -- files ------------------------------------------------------------------------------------------------------------


def read_a_host_file(target):
    return open(target["canary"]).read()


def overwrite_a_host_file(target):
    with open(target["prey"], "w") as file:
        file.write("overwritten")
    return True


def read_the_password_file(target):
    return open("/etc/passwd").read()


def write_into_the_standard_library(target):
    open(os.__file__, "a").close()
    return True


def write_into_the_guest(target):
    open("/guest/guest.py", "a").close()
    return True


def list_proc(target):
    return os.listdir("/proc")


def list_sys(target):
    return os.listdir("/sys")


def go_through_a_symlink_to_the_root(target):
    os.symlink("/", "root")
    return open("root/etc/passwd").read()


def make_a_disk_device(target):
    os.mknod("disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0))
    return True


def change_the_root(target):
    os.chroot("/")
    return True


def mount_something(target):
    return libc.mount(b"x", b"/tmp", b"tmpfs", 0, None) == 0


def unmount_the_scratch_folder(target):
    return libc.umount2(b"/tmp", 2) == 0


def remount_the_libraries_writable(target):
    return libc.mount(None, b"/usr/lib", None, 32 | 4096, None) == 0


def open_by_handle(target):
    return libc.syscall(304 if X86 else 265, -100, ctypes.create_string_buffer(64), 0) >= 0


def use_an_inherited_descriptor(target):
    kinds = {}
    for fd in range(4, 256):
        try:
            kinds[fd] = os.fstat(fd).st_mode
        except OSError:
            continue
    return kinds


# -- processes --------------------------------------------------------------------------------------------------------


def fork(target):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


def clone_by_number(target):
    pid = libc.syscall(56 if X86 else 220, signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid > 0


def run_a_program(target):
    return subprocess.run(["/bin/echo", "hello"], capture_output=True, check=True).stdout.decode()


def become_another_program(target):
    os.execv("/python/bin/python3", ["python3", "-c", "pass"])


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


def kill_everyone(target):
    os.kill(-1, signal.SIGKILL)


def trace_a_process(target):
    return libc.ptrace(16, 1, 0, 0) == 0


def read_another_process(target):
    return libc.process_vm_readv(1, None, 0, None, 0, 0) >= 0


def make_a_user_namespace(target):
    os.unshare(os.CLONE_NEWUSER)
    return True


def become_root(target):
    os.setresuid(0, 0, 0)
    return os.getuid() == 0


def outlive_the_parent(target):
    return libc.prctl(1, 0, 0, 0, 0) == 0


def take_off_the_limits(target):
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return True


def call_through_the_x32_gate(target):
    return libc.syscall(0x40000000 | 39) > 0


def call_through_the_32_bit_gate(target):
    if not X86:
        return None
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, getpid; int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)() > 0


# -- network ----------------------------------------------------------------------------------------------------------


def connect_to_the_host(target):
    with socket.create_connection(("127.0.0.1", target["port"]), 1) as connection:
        return connection.recv(100).decode()


def connect_to_an_abstract_socket(target):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + target["abstract"])
        return connection.recv(100).decode()


def make_a_datagram_socket(target):
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).fileno()


def make_a_netlink_socket(target):
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).fileno()


def make_a_packet_socket(target):
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).fileno()


def list_the_interfaces(target):
    return socket.if_nameindex()


def listen_for_other_episodes(target):
    server = socket.socket(socket.AF_UNIX)
    server.bind("\0recall-attack")
    server.listen()
    return True


def bind_one_end_of_a_pair(target):
    ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.bind("\0recall-attack-2")
    return True
