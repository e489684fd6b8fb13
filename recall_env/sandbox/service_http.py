"""Runs a Service: the socket, clients that are slow or leave things half said, and an end that loses no call.

uvicorn with httptools and uvloop carries it. What it leaves open is closed here: how long a request may take to come
in, how long its head may be, how many connections there are; and SIGTERM keeps the port open until the calls in
flight are done, so that whoever asks for /health is told.
"""

import socket
import time
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recall_env.sandbox.service import Service

HEAD_BYTES = 64 * 1024  # of a request's line and headers
FLUSH_S = 5.0  # for the last answers to be taken by their readers, once no call is in flight
SWEEP_TICKS = 5  # of uvicorn's, which are 0.1 s
TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True)
class HttpConfig:
    """Bounds of connections."""

    max_connections: int = 1024  # one more is closed at once
    read_timeout_s: float = 10.0  # for all of a request to come in, and for an answer to be taken
    keep_alive_s: int = 75  # between two requests
    drain_timeout_s: float = 30.0  # for calls in flight, after the first SIGTERM; a second one does not wait


def serve(service: Service, sock: socket.socket, config: HttpConfig) -> int:
    """Answer on `sock`, already bound, until SIGTERM or SIGINT: the number of the one that came first.

    Call it from the main thread.
    """

    def protocol(**arguments: Any) -> "BoundedProtocol":
        return BoundedProtocol(limit=config.max_connections, **arguments)

    settings = uvicorn.Config(
        service,
        http=protocol,
        loop="uvloop",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",  # what clients get wrong is for them to read
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=config.keep_alive_s,
        timeout_graceful_shutdown=int(FLUSH_S),
    )
    server = Server(settings, service, config)
    server.run(sockets=[sock])
    return server.stopped_by


class Server(uvicorn.Server):
    """Stops when its calls are done. A signal is not raised again afterwards: what it means, the caller says."""

    def __init__(self, settings: uvicorn.Config, service: Service, config: HttpConfig) -> None:
        super().__init__(settings)
        self._service, self._config = service, config
        self._drain_until: float | None = None
        self.stopped_by = 0

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.stopped_by = self.stopped_by or sig
        if self._service.draining:
            self._drain_until = 0.0
        self._service.drain()

    async def on_tick(self, counter: int) -> bool:
        now = time.monotonic()
        if self._service.draining:
            if self._drain_until is None:
                self._drain_until = now + self._config.drain_timeout_s
            self.should_exit = self.should_exit or not self._service.in_flight or now > self._drain_until
        if counter % SWEEP_TICKS == 0:
            self._service.sweep()
            for connection in list(self.server_state.connections):
                connection.sweep(now, self._config.read_timeout_s)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.close()  # the calls that outstayed the drain end now, and are answered so
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's, with an end to waiting for the client."""

    def __init__(self, limit: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limit = limit
        self._reading_since: float | None = None  # of a request that is not all there
        self._in_head, self._head_bytes = False, 0
        self._closing_since: float | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._reading_since = time.monotonic()
        if len(self.connections) > self._limit:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._reading_since is None:
            self._reading_since = time.monotonic()
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(TOO_LONG)
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._reading_since = None
        super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        self.transport.abort()  # close would wait for a reader who does not read

    def sweep(self, now: float, timeout_s: float) -> None:
        """Close it when its client has kept us waiting for longer than `timeout_s`."""
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > timeout_s:
                self.transport.abort()
        elif self._reading_since is not None and now - self._reading_since > timeout_s and self._awaits_client():
            self.transport.close()

    def _awaits_client(self) -> bool:
        """Whether nothing but the client's next bytes can happen here: no call of this connection is in flight."""
        return not self.pipeline and (self.cycle is None or self.cycle.response_complete or self.cycle.more_body)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; OSError when it cannot be had."""
    family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, number)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
