"""A tool source that tries side doors: rarely used parts of the kernel that isolation by namespaces alone leaves open.

See files.py for what a function gets and returns. The `ask_for_...` functions are about privileges that even root in a
user namespace lacks: they return the kernel's answer, because being asked at all is more than the kernel should be.
"""

import ctypes
import errno
import mmap
import os
import platform
import socket
import struct

libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"


def call(x86, arm, *arguments):
    result = libc.syscall(x86 if X86 else arm, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def answer(x86, arm, *arguments):
    """What the kernel answers, as the name of an error; nothing where it is the filter that does."""
    result = libc.syscall(x86 if X86 else arm, *arguments)
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def room(text=b"", size=256):
    return ctypes.create_string_buffer(text + bytes(size))


def family(number):
    """Open a socket of a family; a kernel that has not got it says so, after having looked for a module."""
    result = libc.syscall(41 if X86 else 198, number, socket.SOCK_STREAM, 0)
    code = ctypes.get_errno()
    if result >= 0:
        os.close(result)
    return result >= 0 or code in (errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EPROTONOSUPPORT)


def talk_to_the_hypervisor(target):
    return family(socket.AF_VSOCK)


def use_the_kernels_ciphers(target):
    return family(38)  # AF_ALG


def load_the_module_of_a_rare_network(target):
    return family(30)  # AF_TIPC


def load_the_module_of_bluetooth(target):
    return family(31)


def open_a_socket_for_raw_frames(target):
    return call(41, 198, 44, socket.SOCK_RAW, 0)  # AF_XDP


def load_a_module_through_a_pair(target):
    """socketpair goes the same way as socket, and is needed for pairs of AF_UNIX."""
    result = libc.syscall(53 if X86 else 199, 30, socket.SOCK_STREAM, 0, room(size=8))
    return result >= 0 or ctypes.get_errno() == errno.EAFNOSUPPORT


def make_a_pair_of_another_family(target):
    libc.syscall(53 if X86 else 199, socket.AF_INET, socket.SOCK_STREAM, 0, room(size=8))
    return ctypes.get_errno() == errno.EOPNOTSUPP


def set_up_an_io_uring(target):
    return call(425, 425, 4, room())


def enter_an_io_uring(target):
    return answer(426, 426, 0, 0, 0, 0, None, 0)


def register_with_an_io_uring(target):
    return answer(427, 427, 0, 0, None, 0)


def draw_on_the_machines_count_of_requests(target):
    """io_setup: one process can take fs.aio-max-nr for the whole machine."""
    context = ctypes.c_ulong()
    call(206, 0, 1, ctypes.byref(context))
    return call(207, 1, context) == 0


def store_a_key_in_the_kernel(target):
    return call(248, 217, b"user", b"recall-attack", b"x", 1, -2)


def search_the_kernels_keyrings(target):
    return call(250, 219, 0, -3, 1)


def ask_for_a_key(target):
    return answer(249, 218, b"user", b"recall-attack-none", None, -2)


def keep_memory_in_a_memfd(target):
    return os.memfd_create("hidden")


def keep_memory_from_the_kernel(target):
    return call(447, 447, 0)  # memfd_secret


def handle_ones_own_page_faults(target):
    return call(323, 282, 1)  # userfaultfd, UFFD_USER_MODE_ONLY


def load_a_bpf_map(target):
    return call(321, 280, 0, room(struct.pack("IIIII", 2, 4, 4, 1, 0)), 72)


def count_what_the_processor_does(target):
    return call(298, 241, room(struct.pack("II", 1, 128)), 0, -1, -1, 0)  # perf_event_open


def put_oneself_under_landlock(target):
    return call(444, 444, None, 0, 1)


def share_memory_by_key(target):
    identity = libc.shmget(0x5EC2E7, 4096, 0o1666)
    if identity >= 0:
        libc.shmctl(identity, 0, None)
    return identity >= 0


def share_a_semaphore_by_key(target):
    identity = libc.semget(0x5EC2E7, 1, 0o1666)
    if identity >= 0:
        libc.semctl(identity, 0, 0)
    return identity >= 0


def share_a_queue_by_key(target):
    identity = libc.msgget(0x5EC2E7, 0o1666)
    if identity >= 0:
        libc.msgctl(identity, 0, None)
    return identity >= 0


def share_a_posix_queue(target):
    fd = call(240, 180, b"recall-attack", os.O_CREAT | os.O_RDWR, 0o600, None)
    call(241, 181, b"recall-attack")
    return fd


def share_posix_memory(target):
    """In /dev/shm, as multiprocessing does."""
    import _posixshmem

    _posixshmem.shm_open("/recall-attack", os.O_CREAT | os.O_RDWR, mode=0o600)
    _posixshmem.shm_unlink("/recall-attack")
    return True


def change_ones_personality(target):
    return libc.personality(0x0040000) >= 0  # no random addresses from here on


def bind_memory_to_a_node(target):
    memory = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return call(237, 235, ctypes.c_void_p(address), 4096, 0, None, 0, 0) == 0


def move_ones_pages(target):
    return call(256, 238, 0, 8, room(b"\1"), room(b"\1")) >= 0 or "moved"


def set_the_home_of_memory(target):
    return call(450, 450, 0, 0, 0, 0) == 0


def write_a_local_descriptor_table(target):
    return call(154, -1, 0, room(), 16) >= 0 or "read"


def ask_for_the_ports_of_the_machine(target):
    return answer(172, -1, 3)


def ask_for_another_kernel(target):
    return answer(246, 104, 0, 0, None, 0)


def ask_for_another_kernel_from_a_file(target):
    return answer(320, 294, -1, -1, 0, None, 0)


def ask_for_a_module(target):
    return answer(175, 105, None, 0, b"")


def ask_for_a_module_from_a_file(target):
    return answer(313, 273, -1, b"", 0)


def ask_to_drop_a_module(target):
    return answer(176, 106, b"recall_no_such_module", 0)


def ask_for_swap(target):
    return answer(167, 224, b"/nowhere", 0)


def ask_for_less_swap(target):
    return answer(168, 225, b"/nowhere")


def ask_for_accounts_of_all_processes(target):
    return answer(163, 89, b"/nowhere")


def ask_for_quotas(target):
    return answer(179, 60, 0x800001 << 8, b"/nowhere", 0, None)


def ask_for_a_restart(target):
    return answer(169, 142, 0, 0, 0, None)  # with a wrong magic number, even for root


def ask_for_the_clock(target):
    return answer(227, 112, 99, None) == "EINVAL"  # a clock that nobody has


def ask_for_the_day(target):
    """Both arguments absent: nothing is set, and root is told that all went well."""
    result = libc.syscall(164 if X86 else 170, None, None)
    return "done" if result == 0 else None


def read_the_discipline_of_the_clock(target):
    return call(159, 171, room()) >= 0 or "read"


def read_the_discipline_of_another_clock(target):
    return call(305, 266, 0, room()) >= 0 or "read"


def read_the_kernels_log(target):
    return libc.klogctl(10, None, 0) >= 0


def rename_the_machine(target):
    return libc.sethostname(b"attacked", 8) == 0


def rename_the_domain(target):
    return libc.setdomainname(b"attacked", 8) == 0


def call_through_the_x32_gate(target):
    libc.syscall(0x40000000 | 39)
    return "answered"


def run_machine_code(code):
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    return ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()


def call_through_the_32_bit_gate(target):
    return run_machine_code(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3") > 0  # mov eax, getpid; int 0x80; ret


def fork_through_machine_code(target):
    """mov eax, fork; syscall; ret: no C library in between that could be asked to refuse."""
    pid = run_machine_code(b"\x48\xc7\xc0\x39\x00\x00\x00\x0f\x05\xc3")
    if pid == 0:
        os._exit(0)
    return pid > 0 and os.waitpid(pid, 0)[0] == pid
