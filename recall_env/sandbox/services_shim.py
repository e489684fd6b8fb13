"""Inside the jail: a stand-in for the module `requests`, over the wire to the host's broker (broker.py).

What sources of search environments use of `requests` and no more: get, post, request, Session, Response, the usual
exceptions. An address is `<NAME-url-placeholder>/path`, as ReCall's rows have it, or `http://NAME/path`, NAME being a
service of the task; bodies are JSON. Installed only in episodes of tasks that name services. Standard library only.
"""

import json
import sys
import threading
import types
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Ask = Callable[[dict[str, Any]], dict[str, Any]]  # {service, method, path, params, body} -> {refused, status, text}


class RequestException(OSError):
    """As in `requests`: the parent of what can go wrong with a request."""


class ConnectionError(RequestException):
    pass


class HTTPError(RequestException):
    def __init__(self, *arguments: Any, response: "Response | None" = None) -> None:
        super().__init__(*arguments)
        self.response = response


class Timeout(RequestException):
    pass


class InvalidURL(RequestException, ValueError):
    pass


class JSONDecodeError(RequestException, ValueError):
    pass


class Response:
    """What a service answered."""

    def __init__(self, url: str, status: int, text: str) -> None:
        self.url, self.status_code, self.text = url, status, text
        self.headers: dict[str, str] = {}
        self.encoding = "utf-8"
        self.reason = ""

    @property
    def ok(self) -> bool:
        return self.status_code < 400

    @property
    def content(self) -> bytes:
        return self.text.encode()

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return f"<Response [{self.status_code}]>"

    def json(self, **options: Any) -> Any:
        try:
            return json.loads(self.text, **options)
        except ValueError as error:
            raise JSONDecodeError(str(error)) from error

    def raise_for_status(self) -> None:
        if not self.ok:
            kind = "Client" if self.status_code < 500 else "Server"
            raise HTTPError(f"{self.status_code} {kind} Error for url: {self.url}", response=self)

    def close(self) -> None:
        pass


class Session:
    """`requests.Session`, of which only the methods that send are more than kept."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def request(self, method: str, url: str, **options: Any) -> Response:
        return _request(method, url, **options)

    def get(self, url: str, params: Any = None, **options: Any) -> Response:
        return _request("GET", url, params=params, **options)

    def post(self, url: str, data: Any = None, json: Any = None, **options: Any) -> Response:
        return _request("POST", url, data=data, json=json, **options)

    def close(self) -> None:
        pass

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exception: object) -> None:
        pass


def install(ask: Ask, services: list[str]) -> None:
    """Make `import requests` give the stand-in, speaking through `ask`."""
    global _ask, _services
    _ask, _services = ask, tuple(services)
    exceptions = types.ModuleType("requests.exceptions")
    for kind in (RequestException, ConnectionError, HTTPError, Timeout, InvalidURL, JSONDecodeError):
        setattr(exceptions, kind.__name__, kind)
    module = types.ModuleType("requests")
    session = Session()
    contents = {"Session": Session, "session": Session, "Response": Response, "exceptions": exceptions}
    contents |= {name: getattr(session, name) for name in ("request", "get", "post")}
    contents |= vars(exceptions)
    module.__dict__.update({key: value for key, value in contents.items() if not key.startswith("__")})
    sys.modules["requests"], sys.modules["requests.exceptions"] = module, exceptions


def _request(
    method: str,
    url: str,
    params: Any = None,
    data: Any = None,
    json: Any = None,
    headers: Any = None,
    timeout: Any = None,
    verify: Any = None,
    allow_redirects: Any = None,
) -> Response:
    """headers and what follows are taken, as sources pass them, and do not cross: they are the host's to choose."""
    service, path, query = _parts(url)
    body = json if json is not None or data is None else _json_of(data)
    pairs = [*query, *_pairs(params)]
    with _one_at_a_time:
        reply = _ask({"service": service, "method": method.upper(), "path": path, "params": pairs, "body": body})
    if reply["refused"] is not None:
        raise RequestException(reply["refused"])
    return Response(url, reply["status"], reply["text"])


def _parts(url: str) -> tuple[str, str, list[list[str]]]:
    if url.startswith("<") and "-url-placeholder>" in url:
        service, rest = url[1:].split("-url-placeholder>", 1)
        parts = urlsplit(f"http://{service}{rest}")
    else:
        parts = urlsplit(url)
        service = parts.netloc
    if parts.scheme not in ("http", "https") or service not in _services:
        there = ", ".join(f"http://{name}" for name in _services)
        raise ConnectionError(f"{url[:200]!r} cannot be reached from here; there is {there}")
    return service, parts.path or "/", [list(pair) for pair in parse_qsl(parts.query, keep_blank_values=True)]


def _pairs(params: Any) -> list[list[str]]:
    items = params.items() if isinstance(params, dict) else params or ()
    pairs = []
    for key, value in items:
        for each in value if isinstance(value, list | tuple) else (value,):
            if each is not None:
                pairs.append([str(key), str(each)])
    return pairs


def _json_of(data: Any) -> Any:
    try:
        return json.loads(data)
    except (TypeError, ValueError):
        raise RequestException("services take JSON: pass it as json=") from None


def _nobody(request: dict[str, Any]) -> dict[str, Any]:
    raise RequestException("no service can be reached from here")


_ask: Ask = _nobody
_services: tuple[str, ...] = ()
_one_at_a_time = threading.Lock()  # threads of a tool share the one wire
