"""The chain as the service sees it: epochs, what is pending, and the proofs that go with keys.

Nobody needs to believe any of it: `attestd chain verify` holds a proof against the chain itself.
"""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from attestd.api import schemas
from attestd.api.describe import problems
from attestd.api.exchange import Site, site_of
from attestd.api.problem import JSON_HEADER, Answer, nothing_here
from attestd.chain.state import CODE_HASH
from attestd.codec import Json, dump_base64, dump_time
from attestd.errors import AttestdError
from attestd.registrar.documents import dump
from attestd.registry import epochs, log, published
from attestd.registry.database import Transaction
from attestd.registry.epochs import Candidate, Signature
from attestd.registry.published import Proof
from attestd.transparency.record import load_record
from attestd.tvm.boc import dump_boc

_NO_CACHE: Final = (b"cache-control", b"no-cache")
_LAST: Final = 2**32 - 1

EpochNumber = Annotated[int, Path(ge=1, le=_LAST)]
KeyId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]

router = APIRouter()


@router.get("/v1/chain", responses={200: {"model": schemas.ChainDocument}, **problems()})
async def get_chain(request: Request) -> Response:
    """Return where this registry is published, how far, and what stands in the way, if anything does."""
    site = site_of(request)
    document = await site.registrar.search(_chain, site, site.registrar.now())
    return Answer(200, dump(document), [JSON_HEADER, _NO_CACHE])


@router.get("/v1/epochs/{number}", responses={200: {"model": schemas.EpochDocument}, **problems()})
async def get_epoch(request: Request, number: EpochNumber) -> Response:
    """Return one epoch: as it is on chain, or else the candidate that was built last for it."""
    found = await site_of(request).registrar.search(_epoch, number)
    if found is None:
        raise nothing_here()
    return Answer(200, dump(export_epoch(*found)), [JSON_HEADER, _NO_CACHE])


@router.get("/v1/proofs/{key_id}", responses={200: {"model": schemas.ProofDocument}, **problems()})
async def get_proof(request: Request, key_id: KeyId) -> Response:
    """Prove of any key, also of one that nobody has ever registered, that it is trusted or is not.

    The proof is by the last checkpoint on chain; where nothing is published, by the last one of the log.
    """
    site, own = site_of(request), bytes.fromhex(key_id)
    proof = await site.registrar.search(published.prove, own, is_published=site.is_published)
    document = {
        "key_id": key_id,
        **export_proof(proof),
        "registry_id": site.settings.registry_id,
        "simulated": site.settings.simulated,
    }
    return Answer(200, dump(document), [JSON_HEADER, _NO_CACHE])


def _epoch(transaction: Transaction, number: int) -> tuple[Candidate, tuple[Signature, ...]] | None:
    candidate = epochs.last_of_number(transaction, number)
    return None if candidate is None else (candidate, epochs.signatures(transaction, candidate))


def _chain(transaction: Transaction, site: Site, at: datetime) -> dict[str, Json]:
    known, size = epochs.confirmed(transaction), log.size(transaction)
    covered = 0 if known is None else known.checkpoint.tree_size
    waiting = log.records(transaction, covered, 1) if site.is_published else ()
    publisher = site.publishing.publisher
    return {
        **chain_reference(site),
        "confirmed": None if known is None else export_epoch(known, epochs.signatures(transaction, known)),
        "log_size": size,
        "pending": size - covered if site.is_published else 0,
        "lag_seconds": max([0, *(int((at - load_record(raw).at).total_seconds()) for raw in waiting)]),
        "trouble": None if publisher is None else _trouble(publisher.trouble),
        "registry_id": site.settings.registry_id,
        "simulated": site.settings.simulated,
    }


def chain_reference(site: Site) -> dict[str, Json]:
    """Return which contract on which network, and its verifiers, as pinned or else as seen; nulls without a chain."""
    orders, publisher = site.publishing.orders, site.publishing.publisher
    seen = None if publisher is None else publisher.seen
    verifiers = (orders and orders.verifiers) or (seen and seen.verifiers) or ()
    return {
        "registry": None if orders is None else str(orders.registry),
        "global_id": None if orders is None else orders.global_id,
        "code_hash": CODE_HASH.hex(),
        "verifiers": {str(index): key.hex() for index, key in verifiers},
        "threshold": (orders and orders.threshold) or (seen and seen.threshold) or None,
    }


def _trouble(error: AttestdError | None) -> Json:
    """Return why publishing does not go on. What exactly was found is the operator's business, and in the logs."""
    return None if error is None else {"reason": error.reason.value, "title": error.reason.summary}


def export_epoch(candidate: Candidate, signatures: tuple[Signature, ...]) -> dict[str, Json]:
    """Return an epoch with everything that is needed to check it."""
    own, place = candidate.checkpoint, candidate.coordinates
    # Before it is on chain, nobody else is to relay it in a writing of his own.
    shown = () if place is None else signatures
    return {
        "epoch": own.epoch,
        "state": candidate.state.value,
        "tree_size": own.tree_size,
        "log_root": own.log_root.hex(),
        "map_root": None if own.map_root is None else own.map_root.hex(),
        "policy_digest": own.policy_digest.hex(),
        "issued_at": _time(own.issued_at),
        "valid_until": _time(own.valid_until),
        "checkpoint": dump_base64(dump_boc(own.to_cell())),
        "signatures": [{"verifier": one.verifier.hex(), "signature": dump_base64(one.signature)} for one in shown],
        "note": candidate.note.decode(),
        "block": None if place is None else place.block,
        "block_at": None if place is None else _time(place.block_utime),
        "logical_time": None if place is None else str(place.lt),
        "transaction": None if place is None else place.hash.hex(),
    }


def export_proof(proof: Proof) -> dict[str, Json]:
    """Return the members that prove what is said of a key, as `chain.reading.load_key_proof` takes them.

    `checkpoint` and `proof` are BoCs in base64. `record` is the leaf of the log itself, byte for byte.
    """
    candidate, leaf = proof.candidate, proof.leaf
    epoch = export_epoch(candidate, proof.signatures)
    return {
        "checkpoint": epoch.pop("checkpoint"),
        "proof": None if proof.map_proof is None else dump_base64(dump_boc(proof.map_proof)),
        "signatures": epoch.pop("signatures"),
        "note": epoch.pop("note"),
        "record": None if leaf is None else leaf.record.decode(),
        "inclusion": None
        if leaf is None
        else {
            "log_index": leaf.index,
            "tree_size": candidate.checkpoint.tree_size,
            "hashes": [dump_base64(one) for one in proof.inclusion],
        },
        "proved_by": epoch,
    }


def _time(seconds: int) -> str:
    return dump_time(datetime.fromtimestamp(seconds, UTC))
