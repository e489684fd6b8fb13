"""The jail without one of its parts, and the host without one of its checks: what shows that the part is what holds.

`jail(kind)` gives a pool whose jail was started from changed files; `host(kinds)` changes the package's own functions
for the time of a `with` block.
"""

import ast
import contextlib
import json
import pickle
import select
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from recall_env.sandbox import JailPool, Limits, episode, nsjail_config, wire
from recall_env.tool_call import ToolResult

SANDBOX = Path(nsjail_config.__file__).parent
RLIMITS = "        *((resource.setrlimit, bounds) for bounds in rlimits.bounds(limits, own_uid=own_ids)),\n"
JAILS = {  # kind: what is replaced in the guest's files, and the filter of the whole jail where it is another
    "filters": ({", self._filter]": "]"}, "POLICY open { ALLOW { read } } USE open DEFAULT ALLOW"),
    "limits": ({RLIMITS: ""}, None),
    "group": (  # one group and one user for all episodes
        {"        (os.setsid, ()),\n": "", "self.own_ids = _can_become(LAST_UID)": "self.own_ids = False"},
        None,
    ),
}


@contextlib.contextmanager
def jail(kind: str, limits: Limits) -> Iterator[JailPool]:
    replaced, policy = JAILS[kind]
    with tempfile.TemporaryDirectory() as folder:
        left = set(replaced)
        for name in nsjail_config.GUEST_FILES:
            text = (SANDBOX / name).read_text()
            for old, new in replaced.items():
                left -= {old} if old in text else set()
                text = text.replace(old, new)
            Path(folder, name).write_text(text)
        assert not left, f"the guest's files no longer have {left}"
        pool = JailPool(1, limits)
        with (
            mock.patch.object(nsjail_config, "__file__", f"{folder}/nsjail_config.py"),
            mock.patch.object(nsjail_config, "OUTER_POLICY", policy or nsjail_config.OUTER_POLICY),
        ):
            pool.open("def f(): return 1").close()  # starts it
        try:
            yield pool
        finally:
            pool.close()


class _Any(str):
    """A nonce that is every nonce."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


def _any_nonce(payload, *rest):
    return _decode(payload, *rest) | {"nonce": _Any()}


def _lenient(payload, *_rest):
    """Liberal in what it accepts: any encoding, any keys, any numbers, one of several."""
    frame, decoder = payload, json.JSONDecoder(strict=False)
    while not isinstance(frame, dict):
        if isinstance(frame, bytes):
            frame = frame.decode(json.detect_encoding(frame))
        frame = frame[0] if isinstance(frame, list) else decoder.raw_decode(frame)[0]
    return {"status": "ok", "stdout": "", "error_type": None, "error_message": None} | frame


def _lenient_with_any_nonce(payload, *_rest):
    return _lenient(payload) | {"nonce": _Any()}


def _take_all(_episode, frame, *_rest):
    return ToolResult(frame["status"], frame["value"], frame["stdout"], frame["error_type"], frame["error_message"])


def _receive_all(sock, _limit_bytes):
    return sock.recv(1 << 20)


def _receive_the_first_that_is_not_empty(sock, limit_bytes):
    if not (payload := _receive(sock, limit_bytes)):
        wire.wait(sock, select.POLLIN, 1)
        payload = _receive(sock, limit_bytes)
    return payload


_decode, _receive = wire.decode, wire.receive
HOSTS = {  # kind: whose, which, by what it is replaced
    "nonce": (wire, "decode", _any_nonce),
    "decode": (wire, "decode", _lenient),
    "decode+nonce": (wire, "decode", _lenient_with_any_nonce),
    "pickle": (wire, "decode", lambda payload, *_: pickle.loads(payload)),
    "literal": (wire, "decode", lambda payload, *_: ast.literal_eval(payload.decode())),
    "python": (wire, "decode", lambda payload, *_: eval(payload)),
    "believe": (episode.Episode, "_believe", _take_all),
    "receive": (wire, "receive", _receive_all),
    "empty": (wire, "receive", _receive_the_first_that_is_not_empty),
    "later": (wire, "decode", _any_nonce),
    "quiet": (wire, "is_quiet", lambda *_: True),
}


@contextlib.contextmanager
def host(kinds: str) -> Iterator[None]:
    """kinds: names of HOSTS with `+` between them."""
    names = [*kinds.split("+"), *(["quiet"] if kinds == "later" else [])]
    if {"decode", "nonce"} <= set(names):
        names = [name for name in names if name not in ("decode", "nonce")] + ["decode+nonce"]
    with contextlib.ExitStack() as stack:
        for name in names:
            whose, which, replacement = HOSTS[name]
            stack.enter_context(mock.patch.object(whose, which, replacement))
        yield
