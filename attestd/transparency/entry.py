"""The entry of a trusted key in the map, as a cell (attestd/chain/contract/schema.tlb, Entry).

state:uint8(=1) tee:uint8(1 tdx, 2 sgx, 3 snp) image:uint256 models:uint256 result:uint256
not_before:uint32 not_after:uint32
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, TypeAlias

from attestd.tvm.cell import HASH_SIZE, Builder, Cell, refused

Tee: TypeAlias = Literal["tdx", "sgx", "snp"]

TEE_NUMBERS: Final[Mapping[Tee, int]] = {"tdx": 1, "sgx": 2, "snp": 3}
NO_MODELS: Final = bytes(HASH_SIZE)

_TEES: Final[Mapping[int, Tee]] = {number: tee for tee, number in TEE_NUMBERS.items()}
_TRUSTED: Final = 1
_MODELS_DOMAIN: Final = b"attestd/models/v1\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the map says of a trusted key. The window is in POSIX seconds, both ends included."""

    tee: Tee
    image: bytes  # SHA-256
    models: bytes  # as `models_digest` makes it
    result: bytes  # SHA-256 of the result document
    not_before: int
    not_after: int

    def to_cell(self) -> Cell:
        """Return the entry as a cell. Raises `Malformed` (`cell.malformed`) where a field is out of range."""
        for digest in (self.image, self.models, self.result):
            if len(digest) != HASH_SIZE:
                raise refused(f"a digest of {len(digest)} bytes", f"{HASH_SIZE} bytes")
        builder = Builder().uint(_TRUSTED, 8).uint(TEE_NUMBERS[self.tee], 8)
        builder.bytes(self.image).bytes(self.models).bytes(self.result)
        return builder.uint(self.not_before, 32).uint(self.not_after, 32).end()


def load_entry(cell: Cell) -> Entry:
    """Read an entry. Raises `Malformed` (`cell.malformed`), and `NotAuthentic` (`cell.pruned`) where it is left out."""
    fields = cell.slice()
    state, number = fields.load_uint(8), fields.load_uint(8)
    tee = _TEES.get(number)
    if state != _TRUSTED or tee is None:
        raise refused(f"state {state} and TEE {number}", f"state {_TRUSTED} and a TEE from 1 to 3")
    entry = Entry(
        tee=tee,
        image=fields.load_bytes(HASH_SIZE),
        models=fields.load_bytes(HASH_SIZE),
        result=fields.load_bytes(HASH_SIZE),
        not_before=fields.load_uint(32),
        not_after=fields.load_uint(32),
    )
    fields.end()
    return entry


def models_digest(models: Iterable[bytes]) -> bytes:
    """Return 32 bytes for a set of SHA-256 digests: zeros for none, one as it is, else a digest over all, sorted."""
    digests = sorted(set(models))
    if not digests:
        return NO_MODELS
    return digests[0] if len(digests) == 1 else sha256(_MODELS_DOMAIN + b"".join(digests)).digest()
