"""What both halves of a Service share: its bounds, and interpreters opened without holding up the event loop."""

import asyncio
import logging
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from recall_env.errors import SandboxFailure
from recall_env.sandbox.aio import AsyncSession
from recall_env.sandbox.broker import Broker
from recall_env.sandbox.limits import MIB, Limits
from recall_env.sandbox.service_metrics import ServiceMetrics
from recall_env.sandbox.service_requests import Refusal
from recall_env.sandbox.session import Pool

log = logging.getLogger("recall_env.serve")


@dataclass(frozen=True)
class ServiceConfig:
    """Bounds of one service, all together; what one session may use is Limits'."""

    max_sessions: int = 256  # of the session API, open at once
    max_warm: int = 128  # idle interpreters kept for /execute
    max_in_flight: int = 128  # calls and opens under way; one more is refused
    max_body_bytes: int = 1 * MIB
    max_timeout_s: float = 60.0  # the most that a request's `timeout` may ask for
    idle_timeout_s: float = 600.0  # a session nobody called for so long is closed
    isolation: str = "source"  # /execute: an interpreter per source and token, or ("call") one for each call


@dataclass
class Backend:
    """threads: room for every call that may be in flight, so that none waits for another."""

    pool: Pool
    config: ServiceConfig
    broker: Broker
    ceiling: Limits
    threads: Executor
    metrics: ServiceMetrics
    draining: bool = False

    async def open(self, source: str, **options: Any) -> AsyncSession:
        """As Pool.open, in a thread."""
        loop = asyncio.get_running_loop()
        session = await loop.run_in_executor(self.threads, lambda: self.pool.open(source, **options))
        return AsyncSession(session, self.threads)


def failed(failure: SandboxFailure) -> Refusal:
    log.warning("%s", failure)
    return Refusal(503, "sandbox_failure", f"no fault of the tools: {failure}", retry_after_s=1)


def draining() -> Refusal:
    return Refusal(503, "draining", "this service is about to stop", retry_after_s=5)
