"""An OpenAI-compatible endpoint of the loopback that answers by a script."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Endpoint:
    """Answers each request with the next (status, body) of its script, and keeps what it was asked."""

    def __init__(self, *script):
        self.script, self.requests = list(script), []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                endpoint.requests.append((self.path, dict(self.headers), json.loads(self.rfile.read(length))))
                self.reply()

            def do_GET(self):
                endpoint.requests.append((self.path, dict(self.headers), None))
                self.reply()

            def reply(self):
                status, body = endpoint.script.pop(0)
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def said(content, **fields):
    return 200, {"choices": [{"message": {"role": "assistant", "content": content, **fields}}]}
