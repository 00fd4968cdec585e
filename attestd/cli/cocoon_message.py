"""`attestd cocoon message`: what the owner of Cocoon's root contract would have to send. Nothing is sent here."""

from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Final

from attestd.chain.cocoon import (
    ROOT_ADDRESS,
    AddModelType,
    AddProxyType,
    AddWorkerType,
    DelModelType,
    DelProxyType,
    DelWorkerType,
    Message,
    dump_message,
)
from attestd.cli.screen import VERIFIED, pairs, show, spread
from attestd.codec import Json, dump_base64, dump_base64url, dump_digest
from attestd.tvm.boc import dump_boc

MESSAGES: Final[dict[str, Callable[[bytes], Message]]] = {
    "add-worker": AddWorkerType,
    "del-worker": DelWorkerType,
    "add-model": AddModelType,
    "del-model": DelModelType,
    "add-proxy": AddProxyType,
    "del-proxy": DelProxyType,
}


def run(arguments: Namespace) -> int:
    """Print one body for each hash, as a bag of cells, and a link that a wallet on the owner's side can open."""
    to = (arguments.address or ROOT_ADDRESS).friendly()
    bodies = {
        digest: dump_boc(dump_message(MESSAGES[arguments.message](digest), arguments.query_id))
        for digest in arguments.hash
    }
    messages: list[dict[str, Json]] = [
        {
            "message": arguments.message,
            "hash": dump_digest(digest),
            "body_base64": dump_base64(body),
            "body_hex": body.hex(),
            "link": f"ton://transfer/{to}?amount={arguments.amount}&bin={dump_base64url(body)}",
        }
        for digest, body in bodies.items()
    ]
    head: dict[str, Json] = {"to": to, "amount": arguments.amount, "query_id": arguments.query_id}
    show(arguments, {**head, "messages": [*messages]}, lambda: _lines(head, messages))
    return VERIFIED


def _lines(head: dict[str, Json], messages: list[dict[str, Json]]) -> Iterator[str]:
    yield from pairs(spread(head))
    for message in messages:
        yield ""
        yield f"{message['message']} {message['hash']}"
        # Not laid out, so that it can be copied as a whole; it has the body in it.
        yield str(message["link"])
