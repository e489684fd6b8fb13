"""The way out of a jail that has no network: a tool's request to a named service, made by the host on its behalf.

Inside, a source that does `requests.post("<search-url-placeholder>/search", json=...)` meets a stand-in for `requests`
(services_shim.py) that puts the request on the wire of the call under way. Here it is checked (a service the task
names and the operator configured, a method and a path, a size, a number) and sent to that service's address: the tool
chooses what it asks, never whom. Headers, cookies, redirects and proxies do not cross.

A service that is down is our fault and not the tool's: SandboxFailure, so that no episode is scored on it. Whatever
it answers, 4xx and 500 included, is the tool's to read.
"""

import json
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from recall_env.errors import RecallError, SandboxFailure
from recall_env.nearest import did_you_mean, listed
from recall_env.sandbox.wire import WireError

METHODS = frozenset({"GET", "POST"})
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
PLACEHOLDER = re.compile(r"<([a-z][a-z0-9_-]{0,31})-url-placeholder>")  # as ReCall's rows write it: search
PATH = re.compile(r"/[A-Za-z0-9_./~-]*")
DOWN = frozenset({502, 503, 504})  # said by what stands before a service that is not there


@dataclass(frozen=True)
class ServiceLimits:
    """What one episode may ask of services, and how long one request may take."""

    requests_per_call: int = 8  # of one tool call
    requests_per_episode: int = 128
    request_bytes: int = 32 * 1024  # of path, query and body together, as JSON
    reply_bytes: int = 64 * 1024  # of the body that goes back to the tool; a longer one is an error of the tool's
    timeout_s: float = 10.0  # of one request; not part of the call's own time
    total_timeout_s: float = 30.0  # of all requests of one tool call


@dataclass(frozen=True)
class ServiceRequest:
    """What a tool asked for. Everything in it is hostile until `Channel.forward` has looked at it."""

    service: str
    method: str
    path: str
    params: list[list[str]]  # pairs of the query
    body: Any  # JSON, or None for no body

    @classmethod
    def from_frame(cls, frame: dict[str, Any]) -> "ServiceRequest":
        request = cls(frame["service"], frame["method"], frame["path"], frame["params"], frame["body"])
        if not all(isinstance(text, str) for text in (request.service, request.method, request.path)):
            raise WireError("a request to a service whose parts are not text")
        pairs = request.params
        if not isinstance(pairs, list) or not all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in pairs
        ):
            raise WireError("a request to a service whose query is not pairs of text")
        return request


@dataclass(frozen=True)
class ServiceReply:
    """What goes back: the keys of a reply frame without its nonce, and the seconds it took, which the call gets back.

    frame: the HTTP status and the body's text, or, for a request that was refused here, why.
    """

    frame: dict[str, Any]
    waited_s: float = 0.0

    @classmethod
    def refusal(cls, why: str, waited_s: float = 0.0) -> "ServiceReply":
        return cls({"refused": why, "status": 0, "text": ""}, waited_s)


@dataclass
class ServiceMetrics:
    """Counts of one service since the broker was made. Seconds are wall clock, of requests that were sent."""

    requests: int = 0
    refused: int = 0  # by a limit or the allow-list
    errors: int = 0  # answered with 4xx or 500
    failures: int = 0  # not answered, or by a gateway
    seconds: float = 0.0
    reply_bytes: int = 0


class Broker:
    """The services of this process, by name. Thread-safe: many episodes ask at once."""

    def __init__(self, addresses: Mapping[str, str], limits: ServiceLimits | None = None) -> None:
        """addresses: service name -> base URL, http or https. Raises RecallError for one that cannot be meant."""
        for name, address in addresses.items():
            if not NAME.fullmatch(name):
                raise RecallError(f"service {name!r}: a name is lower-case letters, digits, - and _ (32 at most)")
            parts = urlsplit(address)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
                raise RecallError(f"service {name}: expected an address such as http://127.0.0.1:8000, got {address!r}")
        self.addresses = {name: address.rstrip("/") for name, address in addresses.items()}
        self.limits = limits or ServiceLimits()
        self.metrics = {name: ServiceMetrics() for name in self.addresses}
        self._lock = threading.Lock()
        self._threads = threading.local()

    def channel(self, names: Iterable[str]) -> "Channel":
        """What one episode may reach. Raises RecallError for a service that is not configured."""
        wanted = tuple(dict.fromkeys(names))
        for name in wanted:
            if name not in self.addresses:
                there = f"; there are {listed(self.addresses)}" if self.addresses else "; none is configured"
                raise RecallError(f"no service {name!r}{did_you_mean(name, self.addresses) or there}")
        return Channel(self, wanted)

    def send(self, request: ServiceRequest, timeout_s: float) -> tuple[int, bytes]:
        """HTTP status and body, cut one byte past the limit. Raises SandboxFailure when the service is down."""
        import requests  # not at import: `import recall_env` is to stay quick

        http = getattr(self._threads, "http", None)
        if http is None:
            http = self._threads.http = requests.Session()
            http.trust_env = False  # neither proxies nor a netrc of whoever runs this
        address, deadline = self.addresses[request.service], time.monotonic() + timeout_s
        try:
            with http.request(
                request.method,
                address + request.path,
                params=[tuple(pair) for pair in request.params],
                json=request.body,
                timeout=timeout_s,
                allow_redirects=False,
                stream=True,
            ) as response:
                body = bytearray()
                for piece in response.iter_content(8192):
                    body += piece
                    if len(body) > self.limits.reply_bytes:
                        break
                    if time.monotonic() > deadline:
                        raise requests.Timeout(f"its answer took longer than {timeout_s:g} s")
                status = response.status_code
        except requests.RequestException as error:
            raise SandboxFailure(f"service {request.service} at {address}: {_reason(error)}") from error
        if status in DOWN:
            raise SandboxFailure(f"service {request.service} at {address}: HTTP {status}")
        return status, bytes(body)

    def count(self, name: str, **more: float) -> None:
        with self._lock:
            metrics = self.metrics[name]
            for key, value in more.items():
                setattr(metrics, key, getattr(metrics, key) + value)


@dataclass
class Channel:
    """One episode's way to the services its task names."""

    broker: Broker
    names: tuple[str, ...]
    asked: int = 0  # in the episode
    asked_in_call: int = 0
    waited_in_call_s: float = field(default=0.0)

    def begin_call(self) -> None:
        self.asked_in_call, self.waited_in_call_s = 0, 0.0

    def forward(self, request: ServiceRequest) -> ServiceReply:
        """Refuse, or send and wait. Raises SandboxFailure when the service is down."""
        refusal = self._refusal(request)
        if refusal is not None:
            if request.service in self.names:
                self.broker.count(request.service, refused=1)
            return ServiceReply.refusal(refusal)
        limits = self.broker.limits
        self.asked += 1
        self.asked_in_call += 1
        began = time.monotonic()
        left_s = min(limits.timeout_s, limits.total_timeout_s - self.waited_in_call_s)
        try:
            status, body = self.broker.send(request, left_s)
        except SandboxFailure:
            self.broker.count(request.service, requests=1, failures=1, seconds=time.monotonic() - began)
            raise
        waited_s = time.monotonic() - began
        self.waited_in_call_s += waited_s
        failed = int(status >= 400)
        self.broker.count(request.service, requests=1, errors=failed, seconds=waited_s, reply_bytes=len(body))
        if len(body) > limits.reply_bytes:
            why = f"the answer of {request.service} is longer than {limits.reply_bytes} bytes"
            return ServiceReply.refusal(why, waited_s)
        return ServiceReply({"refused": None, "status": status, "text": body.decode("utf-8", "replace")}, waited_s)

    def _refusal(self, request: ServiceRequest) -> str | None:
        limits = self.broker.limits
        if request.service not in self.names:
            return f"this task may not reach {request.service[:100]!r}; it has {listed(self.names)}"
        if request.method not in METHODS:
            return f"method {request.method[:20]!r}: a service takes {listed(sorted(METHODS))}"
        if not PATH.fullmatch(request.path) or ".." in request.path or "//" in request.path:
            return f"{request.path[:100]!r} is not a plain path"
        size = len(json.dumps([request.path, request.params, request.body]))
        if size > limits.request_bytes:
            return f"the request has {size} bytes; the limit is {limits.request_bytes}"
        if self.asked_in_call >= limits.requests_per_call:
            return f"one call may ask services {limits.requests_per_call} times"
        if self.asked >= limits.requests_per_episode:
            return f"one episode may ask services {limits.requests_per_episode} times"
        if self.waited_in_call_s >= limits.total_timeout_s:
            return f"the services have taken {limits.total_timeout_s:g} s of this call"
        return None


def read_addresses(pairs: Iterable[str]) -> dict[str, str]:
    """Name -> address, from texts such as `search=http://127.0.0.1:8000`. Raises RecallError for another form."""
    addresses = {}
    for pair in pairs:
        name, joined, address = pair.partition("=")
        if not joined:
            raise RecallError(f"service {pair!r}: expected NAME=ADDRESS, such as search=http://127.0.0.1:8000")
        addresses[name] = address
    return addresses


def shared_broker(addresses: Mapping[str, str]) -> Broker:
    """The one of this process for these addresses, so that its figures are those of all episodes."""
    key = tuple(sorted(addresses.items()))
    with _shared_lock:
        if key not in _shared:
            _shared[key] = Broker(addresses)
        return _shared[key]


_shared: dict[tuple[tuple[str, str], ...], Broker] = {}
_shared_lock = threading.Lock()


def placeholders(source: str) -> tuple[str, ...]:
    """Services that a tool source names the way ReCall's rows do, in order: `<search-url-placeholder>` is "search"."""
    return tuple(dict.fromkeys(PLACEHOLDER.findall(source)))


def _reason(error: Exception) -> str:
    """What went wrong, without the layers of objects that urllib3 prints."""
    text = str(error)
    for known in ("Connection refused", "timed out", "Name or service not known", "No route to host"):
        if known.lower() in text.lower():
            return known.lower()
    return f"{type(error).__name__}: {text[:200]}"
