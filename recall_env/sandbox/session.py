"""Session and Pool: what every backend (jailed, unsafe) provides. One contract suite runs against both.

Those that can be waited for have `call_in_pieces` and `open_in_pieces` too, with the same arguments and results
(in_pieces.py); `call` and `open` of any other take a thread while they last, where many episodes are played at once.
"""

from typing import Any, Literal, Protocol

from recall_env.sandbox.broker import Channel
from recall_env.sandbox.limits import Limits
from recall_env.tool_call import ToolResult

Mode = Literal[
    "stateful",  # loaded once; what a call leaves in memory and in files, the next one finds
    "fresh",  # the source runs anew for each call, in one interpreter: ReCall's semantics
    "process",  # an interpreter and a scratch folder of its own for each call: nothing at all is left
]


class Session(Protocol):
    """The tools of one live episode. Used by one thread at a time."""

    def call(self, name: str, arguments: dict[str, Any], timeout_s: float | None = None) -> ToolResult:
        """Run one function the source defines, with keyword arguments sent as JSON.

        timeout_s: wall clock of this call, where less than the limits' is wanted.
        Whatever the tool does comes back as a ToolResult. After `timeout`, `out_of_memory` or `violation` the
        episode's interpreter is gone and every later call has the same status, with a message that says so.
        Raises SandboxFailure when the fault is ours (the jail or its wire broke).
        """

    def close(self) -> None:
        """End the episode's processes. Closing twice is harmless."""


class Pool(Protocol):
    """The processes behind all sessions. Thread-safe."""

    def open(
        self,
        source: str,
        *,
        state: Any = None,
        seed: int = 0,
        limits: Limits | None = None,
        mode: Mode = "stateful",
        services: Channel | None = None,
    ) -> Session:
        """Load `source` in an interpreter of its own; when it defines `setup(state)`, call that with `state`.

        seed: of `random`, `time`, `uuid` and string hashing inside. services: the host's services that its tools may
        ask, and through whom (broker.py). Raises EnvError when the source does not load, SandboxFailure when no jail
        can be had, ValueError for limits above the pool's ceiling.
        """

    def close(self) -> None:
        """End every session and what is behind them; `open` then raises SandboxFailure. Twice is harmless."""
