"""The baseline: what ReCall's sandbox server does with a call, written from its published behaviour.

POST /execute {env, call, timeout} -> {output, result, error}. An `async def` handler runs the source and then the call
as text in a new dict, in the server's own process: one call blocks every other, `timeout` is never read, and nothing
is kept between calls. No jail. Falsy results come back as they are; it is ReCall's client that drops them.

`python recall_server.py PORT`. Needs fastapi and uvicorn, nothing of this repository. Never run it on text from others.
"""

import contextlib
import io
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Order(BaseModel):
    env: str
    call: str
    timeout: int | None = None


@app.post("/execute")
async def execute(order: Order) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    output, result, error = io.StringIO(), None, None
    try:
        with contextlib.redirect_stdout(output):
            exec(order.env, namespace)
            exec("response = " + order.call, namespace)
        result = namespace["response"]
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
    return {"output": output.getvalue(), "result": result, "error": error}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")  # no line a call: in its favour
