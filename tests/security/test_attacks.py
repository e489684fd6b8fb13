"""Attacks on the jail, each followed by the same questions: does a sibling opened before still answer from its own
state, is the host's file unchanged, is no process of ours left, are no descriptors left?

The same attacks are played without a jail where this machine survives that, and must work there: a test that passes
because the attack is broken is worth nothing.
"""

import gc
import os
import platform
import socket
import threading
import time
from pathlib import Path

import attacks
import attacks_from_inside
import pytest

from recall_env.sandbox import JailPool, Limits, UnsafePool

SOURCE = Path(attacks.__file__).read_text() + Path(attacks_from_inside.__file__).read_text()
LIMITS = Limits(call_timeout_s=0.8, memory_bytes=192 << 20)
GREETING = b"hello from the host"

# Stopped with an exception in the tool, or with a false answer. The second word: must it work without a jail?
REFUSED = {
    "read_a_host_file": "works unjailed",
    "overwrite_a_host_file": "works unjailed",
    "read_the_password_file": "works unjailed",
    "write_into_the_standard_library": "works unjailed as root",
    "write_into_the_guest": "",
    "list_proc": "works unjailed",
    "list_sys": "works unjailed",
    "go_through_a_symlink_to_the_root": "works unjailed",
    "make_a_disk_device": "works unjailed as root",
    "change_the_root": "works unjailed as root",
    "mount_something": "",
    "unmount_the_scratch_folder": "",
    "remount_the_libraries_writable": "",
    "use_an_inherited_descriptor": "",
    "fork": "works unjailed",
    "clone_by_number": "works unjailed",
    "run_a_program": "works unjailed",
    "become_another_program": "",
    "signal_the_host": "works unjailed",
    "signal_whoever_is_there": "works unjailed as root",
    "kill_everyone": "",
    "make_a_user_namespace": "works unjailed",
    "become_root": "works unjailed as root",
    "outlive_the_parent": "works unjailed",
    "take_off_the_limits": "",
    "connect_to_the_host": "works unjailed",
    "connect_to_an_abstract_socket": "works unjailed",
    "make_a_datagram_socket": "works unjailed",
    "make_a_netlink_socket": "works unjailed",
    "make_a_packet_socket": "works unjailed as root",
    "list_the_interfaces": "works unjailed",
    "listen_for_other_episodes": "works unjailed",
    "bind_one_end_of_a_pair": "works unjailed",
    "map_more_memory_than_allowed": "",
    "fill_the_disk": "works unjailed",
    "write_one_huge_file": "",
    "make_many_files": "works unjailed",
    "open_many_descriptors": "",
    "start_many_threads": "",
    "keep_memory_in_a_memfd": "works unjailed",
    "share_memory_by_key": "works unjailed",
    "read_the_hosts_environment": "works unjailed",
    "find_a_host_path_in_memory": "works unjailed",
    "learn_the_hosts_name": "works unjailed",
    "see_the_parent": "works unjailed",
    "be_root_outside": "works unjailed as root",
    "set_the_clock": "",
    "rename_the_machine": "",
}
KILLED = {  # stopped with the episode, with this status
    "open_by_handle": "violation",
    "trace_a_process": "violation",
    "read_another_process": "violation",
    "call_through_the_x32_gate": "violation",
    "call_through_the_32_bit_gate": "violation",
    "store_a_key_in_the_kernel": "violation",
    "read_the_kernels_log": "violation",
    "load_a_bpf_program": "violation",
    "fill_the_memory": "out_of_memory",
    "spin": "timeout",
    "spin_in_c": "timeout",
    "spin_deaf_to_signals": "timeout",
    "print_for_ever": "timeout",
    "pass_descriptors_to_the_host": "violation",
    "send_more_than_a_frame": "violation",
    "close_the_wire": "violation",
    "leave_without_a_word": "violation",
    "leave_with_nsjails_code_for_a_time_limit": "violation",
}
X86_ONLY = {"call_through_the_x32_gate", "call_through_the_32_bit_gate"}


class Host:
    """What an attacker knows of this machine, and what must stay as it is."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.canary, self.prey = folder / "canary", folder / "prey"
        self.canary.write_text("secret")
        self.prey.write_text("untouched")
        self.prey.chmod(0o666)
        name = f"recall-host-{os.getpid()}"
        self.servers = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
        self.servers[1].bind("\0" + name)
        self.servers[1].listen()
        for server in self.servers:
            threading.Thread(target=greet, args=(server,), daemon=True).start()
        self.target = {
            "canary": str(self.canary),
            "prey": str(self.prey),
            "port": self.servers[0].getsockname()[1],
            "abstract": name,
            "pid": os.getpid(),
            "repository": str(Path(__file__).parents[2]),
            "nodename": os.uname().nodename,
        }


def greet(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(GREETING)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    os.environ["RECALL_CANARY"] = "secret of the host"
    tmp_path_factory.getbasetemp().chmod(0o755)
    made = Host(tmp_path_factory.mktemp("host"))
    yield made
    del os.environ["RECALL_CANARY"]
    for server in made.servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


class Scene:
    """One jail with a bystander in it; `attack` runs an attacker beside the bystander and asks the questions."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.pool = JailPool(1, LIMITS)
        self.bystander = self.pool.open(SOURCE)
        self.visits = 0
        self.attack("visit")  # so that what stays open for good is counted in
        gc.collect()
        self.descriptors = len(os.listdir("/proc/self/fd"))
        self.processes = descendants()

    def attack(self, name: str, **more: object):
        session = self.pool.open(SOURCE)
        try:
            return session.call(name, {"target": self.host.target | more})
        finally:
            session.close()

    def check(self) -> None:
        self.visits += 1
        assert self.bystander.call("visit", {"target": {}}).value == self.visits
        assert self.host.canary.read_text() == "secret" and self.host.prey.read_text() == "untouched"
        assert not Path("/tmp/recall-attack-pickle").exists()
        deadline = time.monotonic() + 2
        while descendants() != self.processes and time.monotonic() < deadline:
            time.sleep(0.005)
        assert descendants() == self.processes
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == self.descriptors


@pytest.fixture(scope="module")
def scene(host):
    made = Scene(host)
    yield made
    made.pool.close()


@pytest.fixture
def jail(scene):
    yield scene
    scene.check()


def descendants() -> set[int]:
    """The processes below this one."""
    found, level = set(), {os.getpid()}
    while level:
        below = set()
        for pid in level:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    below |= {int(child) for child in task.read_text().split()}
                except (FileNotFoundError, ProcessLookupError):
                    continue  # ended while we looked
        level = below
        found |= level
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_attack_fails_and_the_jail_goes_on(jail, name):
    result = jail.attack(name)
    assert not (result.status in ("ok", "output_truncated") and result.value), f"{name} worked: {result}"
    assert result.status in ("ok", "tool_error", "out_of_memory"), result


@pytest.mark.parametrize("name", KILLED)
def test_an_attack_that_cannot_be_refused_is_ended_with_its_episode(jail, name):
    if name in X86_ONLY and platform.machine() != "x86_64":
        pytest.skip("an x86 attack")
    result = jail.attack(name)
    assert result.status == KILLED[name], result


@pytest.mark.parametrize("name", [name for name, word in REFUSED.items() if word.startswith("works")])
def test_without_a_jail_the_same_attack_works(host, name):
    if REFUSED[name].endswith("root") and os.geteuid() != 0:
        pytest.skip("root's own attack")
    pool = UnsafePool(LIMITS)
    try:
        result = pool.open(SOURCE).call(name, {"target": host.target})
        assert result.status in ("ok", "output_truncated") and result.value, result
    finally:
        pool.close()
        host.prey.write_text("untouched")


@pytest.mark.parametrize("frame", attacks_from_inside.FRAMES)
def test_a_forged_frame_ends_the_episode(jail, frame):
    assert jail.attack("send_a_forged_frame", frame=frame).status == "violation"


def test_a_frame_sent_ahead_never_answers_a_later_call(jail):
    session = jail.pool.open(SOURCE)
    first = session.call("answer_the_next_call_now", {"target": {}})
    time.sleep(0.05)
    later = [session.call("visit", {"target": {}}) for _ in range(3)]
    session.close()
    assert all(result.value != "forged" for result in [first, *later])
    assert [result.status for result in later] == ["violation"] * 3


def test_a_tool_that_answers_for_itself_still_answers_once_only(jail):
    session = jail.pool.open(SOURCE)
    first, second = (session.call(name, {"target": {}}) for name in ("answer_twice", "visit"))
    session.close()
    assert (first.status, first.value) in (("ok", "forged"), ("violation", None))  # its own answer, to its own call
    assert (second.status, second.value) == ("violation", None)


def test_endless_recursion_ends_no_more_than_its_own_episode(jail):
    assert jail.attack("recurse_for_ever").status in ("tool_error", "violation", "out_of_memory", "timeout")


def test_files_of_one_episode_are_not_seen_by_another(jail):
    first, second = jail.pool.open(SOURCE), jail.pool.open(SOURCE)
    assert first.call("leave_a_file_for_the_next_episode", {"target": {}}).value is True
    assert first.call("find_the_file_of_an_earlier_episode", {"target": {}}).value is True
    assert second.call("find_the_file_of_an_earlier_episode", {"target": {}}).value is False
    first.close()
    second.close()
    third = jail.pool.open(SOURCE)
    assert third.call("find_the_file_of_an_earlier_episode", {"target": {}}).value is False
    third.close()


def test_a_poisoned_interpreter_is_poisoned_for_itself_only(jail):
    first = jail.pool.open(SOURCE)
    assert first.call("poison_the_interpreter", {"target": {}}).status in ("ok", "violation")
    second = jail.pool.open(SOURCE)
    assert second.call("is_the_interpreter_sound", {"target": {}}).value is True
    first.close()
    second.close()


def test_twenty_spinning_episodes_do_not_keep_a_neighbour_from_answering(jail):
    spinners = [jail.pool.open(SOURCE) for _ in range(20)]
    threads = [threading.Thread(target=each.call, args=("spin", {"target": {}})) for each in spinners]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    jail.visits += 1
    assert jail.bystander.call("visit", {"target": {}}).value == jail.visits
    for thread in threads:
        thread.join(10)
    for each in spinners:
        assert each.call("visit", {"target": {}}).status == "timeout"
        each.close()
