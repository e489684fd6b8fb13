"""An OpenAI-compatible endpoint: one request, its retries, and whose fault it is when none succeeds."""

import time
from typing import Any

from recall_env.errors import RecallError

_RETRIED = frozenset([408, 409, 425, 429, 500, 502, 503, 504])


class Endpoint:
    """Stateless and thread-safe."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_s: float,
        retries: int,
        failure: type[RecallError],
    ):
        """base_url: up to and with /v1. retries: after the first attempt; waits 1, 2, 4 ... s between them.
        failure: raised when the endpoint keeps failing."""
        self.base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s, self._retries, self._failure = timeout_s, retries, failure

    def request(self, method: str, path: str, body: dict[str, Any] | None):
        """The reply, whatever its status, unless that asks for another try.

        Raises the failure when the last try fails too, and RecallError for a URL that is none.
        """
        import requests

        url, problem = self.base_url + path, ""
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(2.0 ** (attempt - 1))
            try:
                reply = requests.request(method, url, json=body, headers=self._headers, timeout=self._timeout_s)
            except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema) as e:
                raise RecallError(f"{url}: not a URL; write it like http://localhost:8000/v1") from e
            except requests.exceptions.InvalidSchema as e:
                raise RecallError(f"{url}: not an HTTP URL; write it like http://localhost:8000/v1") from e
            except requests.exceptions.Timeout:
                problem = f"no answer within {self._timeout_s:g} s"
            except requests.exceptions.RequestException as e:
                problem = f"{type(e).__name__}; is the server running?"
            else:
                if reply.status_code not in _RETRIED:
                    return reply
                problem = f"HTTP {reply.status_code}: {one_line(reply.text)}"
        raise self._failure(f"{url}: {problem} (tried {self._retries + 1} times)")


def refuse(reply) -> None:
    """Raise RecallError for a reply that is an error: a wrong key, path or model, which a person mends."""
    if reply.status_code >= 400:
        raise RecallError(f"{reply.url}: HTTP {reply.status_code}: {one_line(reply.text)}")


def one_line(text: str) -> str:
    """The text on one line, not for ever long."""
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:197] + "..."
