"""Another registry as a verifier follows it: records and evidence, fetched from its public listener.

Nothing of it is believed: records lead to a root that was signed, results have the digest that a record names, evidence
is verified again.
"""

from collections.abc import Sequence
from hashlib import sha256
from time import sleep
from typing import Final, NamedTuple

from attestd.codec import Fields, load_digest, load_json
from attestd.errors import Malformed, NotAuthentic, Reason, Unavailable
from attestd.registrar.peer import Peer
from attestd.transparency.merkle import HASH_SIZE, leaf_hash
from attestd.transparency.record import MAX_RECORD_SIZE, Record, load_record
from attestd.transparency.tiles import TILE_WIDTH, entries_path, load_entries, load_tile, tile_path, tile_width

_MAX_TILE_SIZE: Final = TILE_WIDTH * HASH_SIZE
_MAX_BUNDLE_SIZE: Final = TILE_WIDTH * (MAX_RECORD_SIZE + 2)
# Evidence of 1.5 MiB (api/public.py) and a result, in base64.
_MAX_EVIDENCE_SIZE: Final = 4 * 1024 * 1024
# A bucket has a token again after a second at most; somebody else may take it.
_PAUSE_SECONDS: Final = 1
_TRIES: Final = 10
_MAX_POLICY_VERSION: Final = 2**63 - 1


class Grounds(NamedTuple):
    """What a record rests on: what its result says of policy and evidence, and the evidence."""

    policy_name: str
    policy_version: int
    policy_digest: bytes
    evidence_id: bytes
    evidence: bytes


class Followed:
    """The registry that is co-signed."""

    def __init__(self, peer: Peer) -> None:
        """Ask its public listener."""
        self._peer = peer

    def close(self) -> None:
        """Let go of the connection."""
        self._peer.close()

    def records(self, first: int, size: int) -> tuple[list[bytes], list[Record]]:
        """Return the records from `first` on of a log of `size`, with the leaf hashes that its tiles have.

        Raises `NotAuthentic` (`cosign.record`) for the first that is not what its tile says, `Unavailable`.
        """
        hashes: list[bytes] = []
        records: list[Record] = []
        for index in range(first // TILE_WIDTH, -(-size // TILE_WIDTH)):
            width, start = tile_width(0, index, size), index * TILE_WIDTH
            skipped = max(0, first - start)
            try:
                tile = load_tile(self._get("log/" + tile_path(0, index, width), _MAX_TILE_SIZE), width)[skipped:]
                bundle = load_entries(self._get("log/" + entries_path(index, width), _MAX_BUNDLE_SIZE), width)[skipped:]
            except Malformed as error:
                raise _not_the_log(f"bundle {index}: {error.found}", error.wanted) from None
            hashes += tile
            records += _records(start + skipped, tile, bundle)
        return hashes, records

    def _get(self, path: str, most: int) -> bytes:
        """Fetch something, as fast as the other side has it done."""
        left = _TRIES
        while True:
            try:
                return self._peer.get(f"/v1/{path}", most)
            except Unavailable as error:
                left -= 1
                if error.reason is not Reason.REQUEST_RATE or not left:
                    raise
            sleep(_PAUSE_SECONDS)

    def grounds(self, index: int, result: bytes) -> Grounds:
        """Return what record `index` rests on, whose result has this digest.

        Raises `NotAuthentic` (`cosign.evidence`) where it is another result, or none of ours; `Unavailable`.
        """
        raw = self._get(f"evidence/{result.hex()}", _MAX_EVIDENCE_SIZE)
        try:
            fields = Fields(load_json(raw))
            document, evidence = fields.binary("result"), fields.binary("evidence")
            if (found := sha256(document).digest()) != result:
                raise NotAuthentic(
                    Reason.COSIGN_EVIDENCE, found=f"record {index}: a result {found.hex()}", wanted=result.hex()
                )
            said = Fields(load_json(document))
            policy = said.fields("policy")
            return Grounds(
                policy.text("name"),
                policy.integer("version", _MAX_POLICY_VERSION),
                load_digest(policy.text("digest")),
                load_digest(said.text("evidence_id")),
                evidence,
            )
        except Malformed as error:
            raise NotAuthentic(
                Reason.COSIGN_EVIDENCE, found=f"record {index}: {error.found}", wanted=error.wanted
            ) from None


def _records(first: int, tile: Sequence[bytes], bundle: Sequence[bytes]) -> list[Record]:
    records = []
    for index, (wanted, raw) in enumerate(zip(tile, bundle, strict=True), first):
        if (found := leaf_hash(raw)) != wanted:
            raise _not_the_log(f"record {index} of hash {found.hex()}", f"{wanted.hex()}, as its tile says")
        try:
            records.append(load_record(raw))
        except Malformed as error:
            raise _not_the_log(f"record {index}: {error.found}", error.wanted) from None
    return records


def _not_the_log(found: str, wanted: str) -> NotAuthentic:
    return NotAuthentic(Reason.COSIGN_RECORD, found=found, wanted=wanted)
