"""TPM quotes: a pure parser of TPMS_ATTEST. Nothing here says that a byte of it is true.

Source: TCG Trusted Platform Module Library, part 2 (Structures), 10.12.12 TPMS_ATTEST, 10.12.1 TPMS_QUOTE_INFO, 10.11.1
TPMS_CLOCK_INFO, 10.6.2 TPMS_PCR_SELECTION. Integers are big-endian; TPM2B is a u16 size and as many bytes.

    magic u32 = 0xFF "TCG", type u16 = TPM_ST_ATTEST_QUOTE, qualifiedSigner TPM2B, extraData TPM2B,
    clock u64, resetCount u32, restartCount u32, safe u8, firmwareVersion 8 bytes,
    selections u32 = 1, hash u16 = TPM_ALG_SHA256, size of the bit map u8 = 3, bit map, pcrDigest TPM2B
"""

from typing import Final, NamedTuple

from attestd.codec import Reader
from attestd.errors import Malformed, Reason

PCRS: Final = 24
PCR_SIZE: Final = 32
MAX_EXTRA_DATA_SIZE: Final = 64

_TPM_GENERATED: Final = b"\xffTCG"
_ATTEST_QUOTE: Final = 0x8018
# A hash algorithm and its digest, SHA-512 at most (TPM2B_NAME, TPM2B_DATA).
_MAX_NAME_SIZE: Final = 66
# One bank, SHA-256, with all of its 24 registers.
_ALL_PCRS: Final = bytes.fromhex("00000001000b03ffffff")


class TpmQuote(NamedTuple):
    """A TPM quote that parses. Not evidence of anything yet."""

    signed: bytes  # the whole TPMS_ATTEST
    qualified_signer: bytes  # the name of the key within its hierarchy: a hash algorithm and a digest
    extra_data: bytes  # what the caller of TPM2_Quote wants signed
    clock: int  # milliseconds that the TPM was powered
    reset_count: int
    restart_count: int
    safe: bool  # whether no later value of the clock was reported before
    firmware_version: bytes  # 8 bytes
    pcr_digest: bytes  # SHA-256 over PCR 0 to 23 of the SHA-256 bank


def parse_quote(raw: bytes) -> TpmQuote:
    """Parse a quote over all PCRs of the SHA-256 bank.

    Raises `Malformed`: `snp.vtpm_attest_type` where a TPM made it for another purpose, or no TPM did,
    `snp.vtpm_pcr_selection`, or `snp.vtpm_quote_malformed`.
    """
    reader = Reader(raw, Reason.SNP_VTPM_QUOTE_MALFORMED)
    _require_quote(reader.take(4), _unsigned(reader, 2))
    qualified_signer = _sized(reader, _MAX_NAME_SIZE)
    extra_data = _sized(reader, MAX_EXTRA_DATA_SIZE)
    clock, reset_count, restart_count, safe = (_unsigned(reader, size) for size in (8, 4, 4, 1))
    if safe > 1:
        raise _malformed(f"{safe} for safe", "0 or 1")
    firmware_version = reader.take(8)
    _require_all_pcrs(reader.take(len(_ALL_PCRS)))
    pcr_digest = _sized(reader, PCR_SIZE, least=PCR_SIZE)
    reader.finish()
    return TpmQuote(
        signed=raw,
        qualified_signer=qualified_signer,
        extra_data=extra_data,
        clock=clock,
        reset_count=reset_count,
        restart_count=restart_count,
        safe=bool(safe),
        firmware_version=firmware_version,
        pcr_digest=pcr_digest,
    )


def _require_quote(magic: bytes, kind: int) -> None:
    """A restricted key signs only what begins so: without it the signature might be over bytes of anybody's making."""
    if (magic, kind) != (_TPM_GENERATED, _ATTEST_QUOTE):
        raise Malformed(
            Reason.SNP_VTPM_ATTEST_TYPE,
            found=f"{magic.hex()}, type {kind:#06x}",
            wanted=f"{_TPM_GENERATED.hex()}, type {_ATTEST_QUOTE:#06x} (TPM_ST_ATTEST_QUOTE)",
        )


def _require_all_pcrs(selection: bytes) -> None:
    """A register that is left out may hold anything; one more bank would have to be compared, too."""
    if selection != _ALL_PCRS:
        raise Malformed(
            Reason.SNP_VTPM_PCR_SELECTION,
            found=selection.hex(),
            wanted=f"{_ALL_PCRS.hex()}: PCR 0 to {PCRS - 1} of the SHA-256 bank and no other",
        )


def _unsigned(reader: Reader, size: int) -> int:
    return int.from_bytes(reader.take(size), "big")


def _sized(reader: Reader, most: int, *, least: int = 0) -> bytes:
    size = _unsigned(reader, 2)
    if not least <= size <= most:
        raise _malformed(f"{size} bytes in a field", f"{least} to {most} bytes")
    return reader.take(size)


def _malformed(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.SNP_VTPM_QUOTE_MALFORMED, found=found, wanted=wanted)
