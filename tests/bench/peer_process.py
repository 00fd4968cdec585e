"""What runs in the peer's own environment: dcap-qvl, verifying one quote as often as it is asked to.

Nothing but the standard library and dcap-qvl is imported. The first line of standard input says what to verify; each
line after it is a number, and is answered with the seconds of CPU and of the clock that so many verifications took.
"""

import importlib
import json
import sys
from time import perf_counter, process_time
from typing import Any


def _collateral(library: Any, documents: dict[str, str]) -> Any:
    tcb_info, tcb_info_signature = _split(documents["tcb_info"])
    qe_identity, qe_identity_signature = _split(documents["qe_identity"])
    return library.QuoteCollateralV3(
        tcb_info_issuer_chain=documents["tcb_info_issuer_chain"],
        tcb_info=tcb_info,
        tcb_info_signature=tcb_info_signature,
        qe_identity_issuer_chain=documents["qe_identity_issuer_chain"],
        qe_identity=qe_identity,
        qe_identity_signature=qe_identity_signature,
        root_ca_crl=bytes.fromhex(documents["root_ca_crl"]),
        pck_crl=bytes.fromhex(documents["pck_crl"]),
        pck_crl_issuer_chain=documents["pck_crl_issuer_chain"],
    )


def _split(document: str) -> tuple[str, bytes]:
    """Take the signed object out of Intel's envelope, character by character as it stands, and the signature."""
    start = document.index(":") + 1
    _, end = json.JSONDecoder().raw_decode(document, start)
    return document[start:end], bytes.fromhex(json.loads(document)["signature"])


def main() -> None:
    task = json.loads(sys.stdin.readline())
    try:
        library = importlib.import_module("dcap_qvl")
    except ImportError as error:
        print(json.dumps({"absent": str(error)}), flush=True)
        return
    collateral = _collateral(library, task["collateral"])
    quote, root, at = bytes.fromhex(task["quote"]), bytes.fromhex(task["root"]), task["at"]
    report = library.verify_with_root_ca(quote, collateral, root, at)
    print(json.dumps({"version": library.__version__, "status": report.status}), flush=True)
    for line in sys.stdin:
        started, cpu = perf_counter(), process_time()
        for _ in range(int(line)):
            library.verify_with_root_ca(quote, collateral, root, at)
        print(json.dumps({"cpu": process_time() - cpu, "elapsed": perf_counter() - started}), flush=True)


if __name__ == "__main__":
    main()
