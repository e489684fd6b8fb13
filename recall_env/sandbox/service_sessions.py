"""The session API of a Service: sessions that are opened, called by who opened them, and closed."""

import hmac
import json
import secrets
import time
from dataclasses import dataclass, field

from recall_env.errors import EnvError, RecallError, SandboxFailure
from recall_env.sandbox import execute
from recall_env.sandbox.aio import AsyncSession
from recall_env.sandbox.service_backend import Backend, draining, failed
from recall_env.sandbox.service_requests import (
    CALL_KEYS,
    OPEN_KEYS,
    OpenRequest,
    Refusal,
    Refuse,
    invalid,
    object_of,
    seconds,
    text,
)


@dataclass(eq=False)
class OpenSession:
    """tenant: the token that opened it. refuse: what its schemas forbid."""

    tenant: str
    session: AsyncSession
    refuse: Refuse
    busy: bool = False
    used_at: float = field(default_factory=time.monotonic)


class Sessions:
    """By a name that cannot be guessed. Requests and answers are bodies; what is wrong is a Refusal."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._open: dict[str, OpenSession] = {}
        self._opening = 0  # they count too

    def __len__(self) -> int:
        return len(self._open)

    async def open(self, tenant: str, body: bytes) -> bytes:
        backend, most = self._backend, self._backend.config.max_sessions
        if len(self._open) + self._opening >= most:
            raise Refusal(429, "too_many_sessions", f"{most} sessions are open; close one", retry_after_s=1)
        request = OpenRequest.read(object_of(body, OPEN_KEYS), backend.ceiling)
        source, names = request.source, request.services
        if names is None:
            source, names = execute.with_services(source, backend.broker.addresses)
        try:
            channel = backend.broker.channel(names) if names else None
        except RecallError as error:
            raise invalid(f"services: {error}") from error
        self._opening += 1
        try:
            session = await backend.open(
                source,
                state=request.state,
                seed=request.seed,
                limits=request.limits,
                mode=request.mode,
                services=channel,
            )
        except EnvError as error:
            raise Refusal(422, "tools_do_not_load", str(error)) from error
        except SandboxFailure as failure:
            raise failed(failure) from failure
        finally:
            self._opening -= 1
        if backend.draining:
            session.close()
            raise draining()
        name = secrets.token_urlsafe(24)
        self._open[name] = OpenSession(tenant, session, request.refuse)
        idle_timeout = backend.config.idle_timeout_s
        return json.dumps({"session": name, "mode": request.mode, "idle_timeout": idle_timeout}).encode()

    async def call(self, tenant: str, body: bytes, name: str) -> bytes:
        held = self._held(tenant, name)
        fields = object_of(body, CALL_KEYS)
        function, arguments = text(fields, "name"), fields.get("arguments", {})
        if not isinstance(arguments, dict):
            raise invalid("arguments: expected an object")
        most = self._backend.config.max_timeout_s
        timeout_s = min(seconds(fields, "timeout", most), most)
        if held.busy:
            raise Refusal(409, "busy", "this session is in a call; it takes one at a time", retry_after_s=1)
        began = time.monotonic()
        held.busy = True
        try:
            result = held.refuse(function, arguments)
            if result is None:
                result = await held.session.call(function, arguments, timeout_s)
        except EnvError as error:  # mode "process" loads for every call
            raise Refusal(422, "tools_do_not_load", str(error)) from error
        except SandboxFailure as failure:
            if self._open.pop(name, None) is not None:
                held.session.close()
            raise failed(failure) from failure
        finally:
            held.busy, held.used_at = False, time.monotonic()
        self._backend.metrics.called("session", result.status, held.used_at - began)
        return _ENCODER.encode(
            {
                "status": result.status,
                "value": result.value,
                "stdout": result.stdout,
                "error_type": result.error_type,
                "error_message": result.error_message,
            }
        ).encode("ascii")

    def close(self, tenant: str, name: str) -> None:
        self._held(tenant, name)
        self._open.pop(name).session.close()

    def expire(self, oldest: float) -> None:
        """Close those whose last call was before `oldest`, on the monotonic clock."""
        for name, held in list(self._open.items()):
            if not held.busy and held.used_at < oldest:
                del self._open[name]
                held.session.close()

    def close_all(self) -> None:
        """Those in mid-call too: their calls become sandbox failures."""
        for held in self._open.values():
            held.session.close()
        self._open.clear()

    def _held(self, tenant: str, name: str) -> OpenSession:
        held = self._open.get(name)
        if held is None or not hmac.compare_digest(held.tenant.encode("latin-1"), tenant.encode("latin-1")):
            raise Refusal(404, "no_session", "there is no such session; it may have been closed for being idle")
        return held


_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))  # made once, as in wire.py
