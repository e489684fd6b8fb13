"""Whatever bytes arrive, a frame is either exactly what was meant or a WireError; never another exception."""

import json
import math
import select
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recall_env.sandbox import wire

LIMIT = 1 << 16
KEYS = frozenset({"nonce", "value"})

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@given(plain)
def test_what_is_encoded_is_decoded_to_the_same(value):
    payload = wire.encode({"nonce": "n", "value": value}, LIMIT)
    assert wire.decode(payload, (KEYS,), LIMIT) == {"nonce": "n", "value": value}


@given(st.text(), st.dictionaries(st.text(), plain, max_size=4))
def test_a_call_is_written_as_any_frame_is(name, arguments):
    frame = {"nonce": "n", "op": "call", "name": name, "arguments": arguments}
    assert wire.encode_call("n", name, arguments, LIMIT) == wire.encode(frame, LIMIT)


@given(plain)
def test_a_writer_writes_what_the_library_writes(value):
    for ascii_only in (True, False):
        written = wire.writer(ensure_ascii=ascii_only)(value)
        assert written == json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))


@pytest.mark.parametrize("value", [math.nan, [-math.inf], {1j: 1}, object(), (circle := []).append(circle) or circle])
def test_a_writer_refuses_what_is_no_json(value):
    for ascii_only in (True, False):
        with pytest.raises((TypeError, ValueError, RecursionError)):
            wire.writer(ensure_ascii=ascii_only)(value)
    with pytest.raises(wire.WireError, match="not plain JSON data"):
        wire.encode_call("n", "f", {"x": value}, LIMIT)


def test_nothing_may_follow_a_frame():
    payload = wire.encode({"nonce": "n", "value": 1}, LIMIT)
    for more in (b"{}", b"x", b"\n"):
        with pytest.raises(wire.WireError, match="there is more after it"):
            wire.decode(payload + more, (KEYS,), LIMIT)


@given(st.binary(max_size=300))
def test_random_bytes_are_a_frame_or_a_wire_error(payload):
    try:
        frame = wire.decode(payload, (KEYS,), LIMIT)
    except wire.WireError:
        return
    assert frame.keys() == KEYS


@settings(max_examples=200)
@given(plain, st.data())
def test_a_damaged_frame_is_a_frame_or_a_wire_error(value, data):
    payload = bytearray(wire.encode({"nonce": "n", "value": value}, LIMIT))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        frame = wire.decode(bytes(payload), (KEYS,), LIMIT)
    except wire.WireError:
        return
    assert frame.keys() == KEYS
    json.dumps(frame, allow_nan=False).encode("utf-8")


@given(st.text(st.characters(categories=["Cs", "Lu"]), min_size=1))
def test_decoded_text_can_always_be_written_as_utf_8(text):
    frame = wire.decode(wire.encode({"nonce": text, "value": {text: [text]}}, LIMIT), (KEYS,), LIMIT)
    json.dumps(frame, ensure_ascii=False).encode("utf-8")


@given(st.sets(st.sampled_from(["nonce", "value", "status", "", "Nonce"])))
def test_a_frame_with_other_keys_is_refused(keys):
    payload = json.dumps(dict.fromkeys(keys)).encode()
    if keys == KEYS:
        assert wire.decode(payload, (KEYS,), LIMIT) == dict.fromkeys(KEYS)
    else:
        with pytest.raises(wire.WireError, match="keys"):
            wire.decode(payload, (KEYS,), LIMIT)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e400"])
def test_numbers_that_are_not_finite_are_refused(number):
    with pytest.raises(wire.WireError, match="not JSON"):
        wire.decode(b'{"nonce":"n","value":' + number.encode() + b"}", (KEYS,), LIMIT)


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1, 2}, b"x", {(1, 2): 3}])
def test_what_is_not_json_is_not_encoded(value):
    with pytest.raises(wire.WireError, match="plain JSON"):
        wire.encode({"value": value}, LIMIT)


@pytest.mark.parametrize("depth", [wire.MAX_DEPTH, 1_000, 30_000])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_beyond_the_limit_is_refused_whatever_its_depth(depth, brackets):
    opened, closed = brackets
    payload = b'{"nonce":"n","value":' + opened * depth + b"1" + closed * depth + b"}"
    with pytest.raises(wire.WireError):
        wire.decode(payload, (KEYS,), 1 << 20)


def test_nesting_within_the_limit_passes_also_when_there_are_many_brackets():
    value = [[[]] for _ in range(500)]
    assert wire.decode(wire.encode({"nonce": "n", "value": value}, LIMIT), (KEYS,), LIMIT)["value"] == value


def test_a_number_of_ten_thousand_digits_is_refused():
    with pytest.raises(wire.WireError, match="not JSON"):
        wire.decode(b'{"nonce":"n","value":' + b"9" * 10_000 + b"}", (KEYS,), LIMIT)


def test_length_is_checked_before_anything_is_read():
    with pytest.raises(wire.WireError, match="limit is 10"):
        wire.decode(b" " * 11, (KEYS,), 10)
    with pytest.raises(wire.WireError, match="limit is 10"):
        wire.encode({"value": "x" * 20}, 10)


def test_a_datagram_longer_than_the_limit_is_refused_not_cut(pair):
    ours, theirs = pair
    theirs.send(b"x" * 101)
    with pytest.raises(wire.WireError, match="longer than 100"):
        wire.receive(ours, 100)


def test_descriptors_sent_along_are_refused_and_dropped(pair):
    ours, theirs = pair
    socket.send_fds(theirs, [b"{}"], [0, 1, 2])
    with pytest.raises(wire.WireError, match="descriptors"):
        wire.receive(ours, 100)


def quiet(sock):
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return wire.is_quiet(sock, poll)


def test_quiet_means_that_no_frame_waits_not_even_an_empty_one(pair):
    ours, theirs = pair
    assert quiet(ours)
    theirs.send(b"")
    assert not quiet(ours)
    assert wire.receive(ours, 100) == b""
    theirs.send(b"x")
    assert not quiet(ours)
    assert wire.receive(ours, 100) == b"x"
    theirs.close()
    assert quiet(ours)


def test_a_frame_that_waits_behind_a_hang_up_is_not_quiet(pair):
    ours, theirs = pair
    theirs.send(b"x")
    theirs.close()
    assert not quiet(ours)


def test_waiting_ends_with_the_clock(pair):
    import select

    ours, _ = pair
    with pytest.raises(TimeoutError, match=r"0\.01 s"):
        wire.wait(ours, select.POLLIN, 0.01)
