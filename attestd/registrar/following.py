"""Another registry as a verifier follows it: records and evidence, fetched from its public listener.

Nothing of it is believed: records lead to a root that was signed, results have the digest that a record names, evidence
is verified again.
"""

from hashlib import sha256
from typing import Final, NamedTuple

from attestd.codec import Fields, load_digest, load_json
from attestd.errors import Malformed, NotAuthentic, Reason, Unavailable
from attestd.peer import Peer
from attestd.transparency.audit import MAX_FILE_SIZE, read_bundle
from attestd.transparency.record import Record
from attestd.transparency.tiles import TILE_WIDTH

# Evidence of 1.5 MiB (api/public.py) and a result, in base64.
_MAX_EVIDENCE_SIZE: Final = 4 * 1024 * 1024
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
        self._is_over = False

    def close(self) -> None:
        """Let go of the connection."""
        self._peer.close()

    def stop(self) -> None:
        """Ask for nothing more, whatever is still missing; called from another thread."""
        self._is_over = True

    def _read(self, path: str, most: int) -> bytes:
        if self._is_over:
            raise Unavailable(Reason.COSIGN_PEER, found="a verifier that is about to stop", wanted="one that goes on")
        return self._peer.read(path, most)

    def records(self, first: int, size: int) -> tuple[list[bytes], list[Record]]:
        """Return the records from `first` on of a log of `size`, with the leaf hashes that its tiles have.

        Raises `NotAuthentic` (`cosign.record`) for the first that is not what its tile says, `Unavailable`.
        """
        hashes: list[bytes] = []
        records: list[Record] = []
        for index in range(first // TILE_WIDTH, -(-size // TILE_WIDTH)):
            try:
                bundle = read_bundle(index, size, self._file)
            except (Malformed, NotAuthentic) as error:
                raise NotAuthentic(
                    Reason.COSIGN_RECORD, found=f"bundle {index}: {error.found}", wanted=error.wanted
                ) from None
            known = max(0, first - index * TILE_WIDTH)
            hashes += bundle.hashes[known:]
            records += bundle.records[known:]
        return hashes, records

    def _file(self, path: str) -> bytes:
        return self._read(f"/v1/log/{path}", MAX_FILE_SIZE)

    def grounds(self, index: int, result: bytes) -> Grounds:
        """Return what record `index` rests on, whose result has this digest.

        Raises `NotAuthentic` (`cosign.evidence`) where it is another result, or none of ours; `Unavailable`.
        """
        raw = self._read(f"/v1/evidence/{result.hex()}", _MAX_EVIDENCE_SIZE)
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
