"""`recall-env serve`: its options, what it refuses, and the parts it puts together. docs/serve.md has the HTTP side."""

import contextlib
import gc
import importlib
import ipaddress
import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from recall_env.errors import RecallError
from recall_env.nearest import did_you_mean, listed
from recall_env.sandbox.session import Pool
from recall_env.terminal import say

NEEDED = ("uvicorn", "httptools", "uvloop", "prometheus_client")
EXTRA = "pip install -e '.[serve]'"
ISOLATIONS = ("source", "call")
SANDBOXES = ("nsjail", "unsafe")
DESCRIPTORS_OF_A_SESSION = 2
SPARE_DESCRIPTORS = 128
BACKLOG = 2048  # connections that the kernel keeps until they are taken
GARBAGE_THRESHOLD = 10_000  # new objects between two collections: a request makes some hundred
TOKEN_CHARS = range(16, 1025)


def serve(
    host: Annotated[str, typer.Option(help="address to listen on; other than loopback needs tokens")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 picks a free one", min=0, max=65535)] = 8642,
    token_file: Annotated[
        Path | None, typer.Option(help="tokens that may call, one a line; # starts a comment")
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="serve whoever reaches this port, on any address")] = False,
    service: Annotated[
        list[str] | None, typer.Option(metavar="NAME=URL", help="a service tools may ask; may be repeated")
    ] = None,
    isolation: Annotated[
        str, typer.Option(help="of /execute: an interpreter for each source, or each call")
    ] = "source",
    sandbox: Annotated[str, typer.Option(help="nsjail, or unsafe: no jail at all")] = "nsjail",
    shards: Annotated[int | None, typer.Option(help="jails; default: one for each processor", min=1)] = None,
    max_sessions: Annotated[int, typer.Option(help="sessions open at once", min=1)] = 256,
    max_warm: Annotated[int, typer.Option(help="idle interpreters kept for /execute", min=0)] = 128,
    max_in_flight: Annotated[int, typer.Option(help="calls at once; one more gets 429", min=1)] = 128,
    max_connections: Annotated[int, typer.Option(help="connections at once; one more is closed", min=1)] = 1024,
    max_body: Annotated[int, typer.Option(help="bytes of a request's body", min=1024)] = 1 << 20,
    max_timeout: Annotated[float, typer.Option(help="seconds a call may ask for", min=0.1, max=120)] = 60,
    idle_timeout: Annotated[float, typer.Option(help="seconds until an idle session is closed", min=1)] = 600,
    read_timeout: Annotated[float, typer.Option(help="seconds for a request to come in", min=0.5)] = 10,
    drain_timeout: Annotated[float, typer.Option(help="seconds that SIGTERM waits for calls", min=0)] = 30,
) -> None:
    """Tools over HTTP: ReCall's /execute, and sessions. Example: recall-env serve --port 8642 --token-file tokens"""
    for value, known, option in ((isolation, ISOLATIONS, "isolation"), (sandbox, SANDBOXES, "sandbox")):
        if value not in known:
            raise RecallError(f"--{option}: expected {' or '.join(known)}, got {value!r}{did_you_mean(value, known)}")
    tokens = _tokens(token_file) if token_file is not None else ()
    if not (tokens or no_auth or _is_loopback(host)):
        raise RecallError(f"--host {host} is not loopback: name a --token-file, or --no-auth to serve whoever calls")
    if sandbox == "unsafe" and not _is_loopback(host):
        raise RecallError(f"--sandbox unsafe lets callers run what they like as you: on loopback only, not {host}")
    try:
        for package in NEEDED:
            importlib.import_module(package)
        from recall_env.sandbox import service_http
        from recall_env.sandbox.service import Service
        from recall_env.sandbox.service_backend import ServiceConfig
    except ModuleNotFoundError as error:
        raise RecallError(f"serve needs {error.name}, which is not installed: {EXTRA}") from error
    from recall_env.sandbox import JailPool, UnsafePool
    from recall_env.sandbox.broker import Broker

    config = ServiceConfig(
        max_sessions=max_sessions,
        max_warm=max_warm,
        max_in_flight=max_in_flight,
        max_body_bytes=max_body,
        max_timeout_s=max_timeout,
        idle_timeout_s=idle_timeout,
        isolation=isolation,
    )
    http = service_http.HttpConfig(max_connections, read_timeout, drain_timeout_s=drain_timeout)
    broker = Broker(_addresses(service or []))
    sessions = max_sessions + max_warm + max_in_flight
    _raise_descriptors(DESCRIPTORS_OF_A_SESSION * sessions + max_connections + SPARE_DESCRIPTORS)
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(_listen(service_http.listen, host, port))
        pool = JailPool(shards) if sandbox == "nsjail" else UnsafePool()
        stack.callback(pool.close)
        _warm_up(pool, shards)
        rung = pool.rung if isinstance(pool, JailPool) else "unsafe: no jail"
        served = Service(pool, config, tokens=tokens, broker=broker, rung=rung)
        stack.callback(served.join)
        stack.callback(pool.close)  # before join: nothing keeps a thread then
        sock.listen(BACKLOG)  # before anybody is told
        shown = f"[{host}]" if ":" in host else host
        who = f"{len(tokens)} tokens" if tokens else "no token wanted"
        say(f"recall-env: serving on http://{shown}:{sock.getsockname()[1]} ({rung}; {who})")
        gc.freeze()  # what was imported stays; not to be looked through again and again is worth a twentieth
        gc.set_threshold(GARBAGE_THRESHOLD)
        stopped_by = service_http.serve(served, sock, http)
    if stopped_by == signal.SIGINT:
        raise KeyboardInterrupt  # as any other command that Ctrl-C ends, once all is closed
    say("recall-env: stopped")


def _tokens(path: Path) -> tuple[str, ...]:
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise RecallError(f"--token-file {path}: {getattr(error, 'strerror', None) or 'not text'}") from error
    tokens = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    for number, token in enumerate(tokens, start=1):
        if len(token) not in TOKEN_CHARS or not token.isascii() or any(char.isspace() for char in token):
            raise RecallError(
                f"--token-file {path}: token {number}: expected {TOKEN_CHARS.start} to {TOKEN_CHARS.stop - 1} ASCII "
                "characters without a space (openssl rand -hex 32)"
            )
    if not tokens:
        raise RecallError(f"--token-file {path}: there is no token in it (openssl rand -hex 32 > {path})")
    return tokens


def _addresses(services: list[str]) -> dict[str, str]:
    addresses: dict[str, str] = {}
    for given in services:
        name, equals, address = given.partition("=")
        if not equals or name in addresses:
            raise RecallError(f"--service {given}: expected NAME=URL, each name once; there are {listed(addresses)}")
        addresses[name] = address
    return addresses


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(listen: Callable[[str, int], socket.socket], host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        raise RecallError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def _warm_up(pool: Pool, shards: int | None) -> None:
    """Start every jail before the first call pays for it, and before anybody is told that this serves."""
    sessions = []
    try:
        for _ in range(shards or len(os.sched_getaffinity(0))):
            sessions.append(pool.open(""))
    finally:
        for session in sessions:
            session.close()


def _raise_descriptors(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    if hard < wanted:
        say(f"recall-env: all sessions and connections together want {wanted} open files; the limit is {hard}")
