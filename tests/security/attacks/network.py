"""A tool source that attacks the network. See files.py for what a function gets and returns."""

import array
import http.client
import os
import socket
import stat
import struct
import urllib.request


def connect_to_the_host(target):
    with socket.create_connection(("127.0.0.1", target["port"]), 1) as connection:
        return connection.recv(100).decode()


def connect_to_the_host_over_ipv6(target):
    with socket.create_connection(("::ffff:127.0.0.1", target["port"]), 1) as connection:
        return connection.recv(100).decode()


def fetch_a_page(target):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{target['port']}/", timeout=1).read()
    except (ConnectionResetError, http.client.HTTPException) as error:  # the greeting is no HTTP, and came all the same
        return repr(error)


def look_up_a_name(target):
    return socket.getaddrinfo("localhost", 80)


def connect_to_an_abstract_socket(target):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + target["abstract"])
        return connection.recv(100).decode()


def connect_to_a_socket_in_a_folder(target):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(target["socket"])
        return connection.recv(100).decode()


def send_a_datagram_to_the_host(target):
    ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return ours.sendto(b"attack", "\0" + target["datagrams"])


def make_a_datagram_socket(target):
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).fileno()


def make_an_ipv6_socket(target):
    return socket.socket(socket.AF_INET6).fileno()


def make_a_raw_socket(target):
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).fileno()


def make_a_netlink_socket(target):
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).fileno()


def make_a_packet_socket(target):
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).fileno()


def listen_on_a_port(target):
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def list_the_interfaces(target):
    return socket.if_nameindex()


def listen_for_other_episodes(target):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0recall-attack")
        server.listen()
    return True


def listen_in_the_scratch_folder(target):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("listener")
    return True


def bind_one_end_of_a_pair(target):
    ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.bind("\0recall-attack-2")
    return True


def let_the_kernel_name_a_socket(target):
    """A pair's end that wants credentials is bound by its first send, without bind()."""
    ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    ours.send(b"x")
    return ours.getsockname().decode()


def connect_one_end_of_a_pair_elsewhere(target):
    ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.connect("\0" + target["datagrams"])
    return True


def connect_the_wire_elsewhere(target):
    """AF_UNSPEC dissolves a connection of datagrams; a stream's end takes it as an error."""
    ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    import ctypes

    return ctypes.CDLL(None).connect(ours.fileno(), struct.pack("H14x", 0), 16) == 0


def put_a_program_on_a_socket(target):
    """A classic BPF filter, which the kernel compiles to machine code."""
    import ctypes

    ours, _theirs = socket.socketpair()
    program = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0xFFFFFFFF), 8)
    ours.setsockopt(socket.SOL_SOCKET, 26, struct.pack("@HP", 1, ctypes.addressof(program)))
    return True


def enlarge_a_socket_beyond_its_bounds(target):
    ours, _theirs = socket.socketpair()
    before = ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    ours.setsockopt(socket.SOL_SOCKET, 32, 1 << 24)  # SO_SNDBUFFORCE
    return ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) > before


def _wire():
    for fd in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                return socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
    raise LookupError("no socket")


def learn_the_hosts_process_from_the_wire(target):
    pid, _, _ = struct.unpack("iII", _wire().getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid == target["pid"]


def get_a_handle_on_the_host_from_the_wire(target):
    return _wire().getsockopt(socket.SOL_SOCKET, 77)  # SO_PEERPIDFD


def find_a_descriptor_smuggled_by_the_host(target):
    """Asks the wire for whatever the host may attach to its messages; none is waiting, so none may come."""
    connection, room = _wire(), array.array("i", [0] * 8)
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    try:
        return connection.recvmsg(100, socket.CMSG_SPACE(len(room) * 4))[1]
    except BlockingIOError:
        return "it may be asked"
