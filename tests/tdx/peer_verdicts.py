"""What runs in the peer's own environment: dcap-qvl's verdicts on quotes, one answer for each line of standard input.

Nothing but the standard library and dcap-qvl is imported; binary travels in hex.
"""

import json
import sys
from typing import Any


def _signed(document: str) -> tuple[str, bytes]:
    """Take the inner object out of Intel's envelope, character by character as it stands, and its signature."""
    start = document.index(":") + 1
    end = json.JSONDecoder().raw_decode(document, start)[1]
    return document[start:end], bytes.fromhex(json.loads(document)["signature"])


def _verdict(library: Any, task: dict[str, Any]) -> str:
    documents: dict[str, Any] = {name: bytes.fromhex(raw) for name, raw in task["collateral"].items()}
    for name in ("tcb_info", "qe_identity"):
        documents[name], documents[f"{name}_signature"] = _signed(documents[name].decode())
    for name in ("tcb_info_issuer_chain", "qe_identity_issuer_chain", "pck_crl_issuer_chain"):
        documents[name] = documents[name].decode()
    arguments = bytes.fromhex(task["quote"]), library.QuoteCollateralV3(**documents), bytes.fromhex(task["root"])
    try:
        return str(library.verify_with_root_ca(*arguments, task["at"]).status)
    except ValueError:
        return "refused"


if __name__ == "__main__":
    import dcap_qvl  # type: ignore[import-not-found,unused-ignore]

    for line in sys.stdin:
        print(_verdict(dcap_qvl, json.loads(line)))
