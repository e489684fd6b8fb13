"""The `/execute` of a Service: a call in an interpreter that its source and its caller's token have to themselves."""

import secrets
import time
from dataclasses import replace

from recall_env.errors import EnvError, SandboxFailure
from recall_env.sandbox import execute
from recall_env.sandbox.limits import Limits
from recall_env.sandbox.service_backend import Backend, failed
from recall_env.sandbox.service_requests import object_of, seconds, text
from recall_env.tool_call import ToolResult

DEFAULT_TIMEOUT_S = 5.0  # the original's
SHORTEST_S = 0.05  # what a call is left with when opening took all of its time

Key = tuple[str, str]  # token, source


class Execute:
    """Requests and answers are bodies, in ReCall's form."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.warm = execute.WarmSessions(backend.config.max_warm)
        self._working: set[execute.Warm] = set()
        longest_s = min(backend.config.max_timeout_s, backend.ceiling.call_timeout_s)
        self._limits = replace(Limits(), call_timeout_s=longest_s, cpu_s=backend.ceiling.cpu_s)  # of many calls
        self._mode = "process" if backend.config.isolation == "call" else "fresh"

    async def __call__(self, tenant: str, body: bytes) -> bytes:
        began = time.monotonic()
        fields = object_of(body)
        source, call = text(fields, "env"), text(fields, "call")
        timeout_s = min(seconds(fields, "timeout", DEFAULT_TIMEOUT_S), self._limits.call_timeout_s)
        try:
            name, arguments = execute.parse_call(call, source)
        except execute.CallError as error:
            self._backend.metrics.called("execute", "parse_error", time.monotonic() - began)
            return execute.encode("", None, str(error))
        try:
            result = await self._play((tenant, source), name, arguments, timeout_s, began)
        except EnvError as error:
            result = ToolResult("tool_error", error_message=str(error))
        except SandboxFailure as failure:
            raise failed(failure) from failure
        if result.status == "unknown_tool":
            result = result._replace(error_message=f"name {name[:200]!r} is not defined")
        self._backend.metrics.called("execute", result.status, time.monotonic() - began)
        return execute.response(result, timeout_s)

    def close(self) -> None:
        """End all interpreters, those in mid-call too: their calls become sandbox failures."""
        self.warm.close()
        for warm in self._working:
            warm.session.close()

    async def _play(self, key: Key, name: str, arguments: dict, timeout_s: float, began: float) -> ToolResult:
        """A call in a warm interpreter, or in a new one when none is idle or the warm one turns out to be lost."""
        warm = self.warm.take(key)
        if warm is not None:
            try:
                return await self._use(warm, name, arguments, timeout_s)
            except SandboxFailure:
                asked = warm.channel is not None and warm.channel.asked  # a service that is down stays so
                if self._backend.draining or asked:
                    raise
        warm = await self._warm_up(key, timeout_s)
        return await self._use(warm, name, arguments, max(SHORTEST_S, timeout_s - (time.monotonic() - began)))

    async def _use(self, warm: execute.Warm, name: str, arguments: dict, timeout_s: float) -> ToolResult:
        began = time.monotonic()
        self._working.add(warm)
        if warm.channel is not None:
            warm.channel.asked = 0  # its limit is on an episode's requests, and here every call is one
        try:
            return await warm.session.call(name, arguments, timeout_s)
        finally:
            self._working.discard(warm)
            warm.calls += 1
            warm.used_at = time.monotonic()
            warm.busy_s += warm.used_at - began
            self.warm.put(warm)

    async def _warm_up(self, key: Key, timeout_s: float) -> execute.Warm:
        source, names = execute.with_services(key[1], self._backend.broker.addresses)
        channel = self._backend.broker.channel(names) if names else None
        session = await self._backend.open(
            source,
            seed=secrets.randbits(31),  # the original's tools had chance of their own each time
            limits=replace(self._limits, load_timeout_s=timeout_s),
            mode=self._mode,
            services=channel,
        )
        return execute.Warm(key, session, channel)
