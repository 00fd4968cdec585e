"""What runs in the peers' own environment: one of them, verifying one piece of evidence as often as it is asked to.

Nothing but the standard library and the peer is imported. The first line of standard input says what to verify; each
line after it is a number, and is answered with the seconds of CPU and of the clock that so many verifications took.
"""

import importlib
import json
import logging
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

Verification = Callable[[], str]  # returns the verdict


def _dcap_qvl(task: dict[str, Any]) -> Verification:
    library = importlib.import_module("dcap_qvl")
    collateral = _collateral(library, task["collateral"])
    quote, root, at = bytes.fromhex(task["quote"]), bytes.fromhex(task["root"]), task["at"]
    return lambda: str(library.verify_with_root_ca(quote, collateral, root, at).status)


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


def _tinfoil(task: dict[str, Any]) -> Verification:
    """It has AMD's ARK and ASK with it, looks at the clock itself, and holds the TCB against floors of its own."""
    library = importlib.import_module("tinfoil.attestation.attestation_sev")
    document, vcek = b64encode(bytes.fromhex(task["report"])).decode(), bytes.fromhex(task["vcek"])
    return lambda: str(library.verify_sev_report(document, is_compressed=False, vcek_der=vcek).productName)


def _nv_local_gpu_verifier(task: dict[str, Any]) -> Verification:
    """With OCSP, the driver and the clock stubbed, and without its log, which takes a sixth of its time."""
    sys.path.append(str(Path(__file__).parents[1] / "nvgpu"))
    verify: Verification = importlib.import_module("peer_verdicts").Peer().prepare(task)
    logging.disable()
    return verify


def _pymerkle(task: dict[str, Any]) -> Verification:
    """A tree in memory, to which all records are given at once."""
    library = importlib.import_module("pymerkle")
    records = [record.encode() for record in task["records"]]

    def append() -> str:
        tree = library.InmemoryTree(algorithm="sha256")
        tree.append_entries(records)
        return str(tree.get_root().hex())

    return append


def main() -> None:
    # A peer may print.
    answers, sys.stdout = sys.stdout, sys.stderr
    peer = {
        "dcap-qvl": _dcap_qvl,
        "tinfoil": _tinfoil,
        "nv-local-gpu-verifier": _nv_local_gpu_verifier,
        "pymerkle": _pymerkle,
    }[sys.argv[1]]
    task = json.loads(sys.stdin.readline())
    verify = peer(task)
    print(json.dumps({"verdict": verify()}), file=answers, flush=True)
    for line in sys.stdin:
        started, cpu = perf_counter(), process_time()
        for _ in range(int(line)):
            verify()
        print(json.dumps({"cpu": process_time() - cpu, "elapsed": perf_counter() - started}), file=answers, flush=True)


if __name__ == "__main__":
    main()
