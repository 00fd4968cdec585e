"""The least that can answer over HTTP: an ASGI application that knows its answers, under the settings of the service.

Takes a file of answers, {"GET": …, "POST": …}, and writes the port that it listens on to standard output. A request's
body is read to its end and not looked at.
"""

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from starlette.types import Message, Receive, Scope, Send


class Raw:
    """The application."""

    def __init__(self, answers: dict[str, dict[str, Any]]) -> None:
        self._answers: dict[str, tuple[Message, Message]] = {
            method: (
                {
                    "type": "http.response.start",
                    "status": answer["status"],
                    "headers": [(name.encode(), value.encode()) for name, value in answer["headers"]],
                },
                {"type": "http.response.body", "body": answer["body"].encode()},
            )
            for method, answer in answers.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            while (await receive())["more_body"]:
                pass
        start, body = self._answers[scope["method"]]
        await send(start)
        await send(body)


async def _serve(app: Raw) -> None:
    # What attestd/api/server.py gives to uvicorn, but for its own protocol class.
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=5,
    )
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        print(listening.getsockname()[1], flush=True)
        await uvicorn.Server(config).serve(sockets=[listening])


def main() -> None:
    answers = json.loads(Path(sys.argv[1]).read_bytes())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Raw(answers)))


if __name__ == "__main__":
    main()
