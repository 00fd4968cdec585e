"""What Azure's paravisor makes of a report: the HCL report with its runtime data, and quotes of the vTPM.

Source: Azure confidential VM guest attestation design; TCG Trusted Platform Module Library, part 2, 10.12.12; snp.md,
2.6. Integers of the HCL report are little-endian, those of the quote big-endian.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from struct import pack
from typing import Any, Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from attestd.codec import dump_base64url
from attestd.evidence import TpmQuoteEvidence
from attestd.simulator.keys import secret
from attestd.simulator.tampering import GENUINE, Signing

# As large as the NV index that the report is read from.
_HCL_SIZE: Final = 2600
_RUNTIME_DATA_OFFSET: Final = 0x4D4
_REQUEST_DATA_SIZE: Final = 20
_MODULUS_SIZE: Final = 256

Runtime: TypeAlias = dict[str, Any]


def _unchanged(document: Runtime) -> None:
    del document


def runtime_data(key: RSAPrivateKey, edit: Callable[[Runtime], None] = _unchanged) -> bytes:
    """Return the JSON that names the vTPM's attestation key; `edit` changes the document in place."""
    document: Runtime = {
        "keys": [
            _jwk("HCLAkPub", "sign", key.public_key().public_numbers().n.to_bytes(key.key_size // 8)),
            _jwk("HCLEkPub", "encrypt", b"\x80" + bytes(_MODULUS_SIZE - 2) + b"\1"),
        ],
        "vm-configuration": {
            "console-enabled": True,
            "secure-boot": True,
            "tpm-enabled": True,
            "vmUniqueId": "00000000-0000-4000-8000-000000000000",
        },
        "user-data": bytes(64).hex(),
    }
    edit(document)
    return json.dumps(document, separators=(",", ":")).encode()


def _jwk(name: str, use: str, modulus: bytes) -> dict[str, Any]:
    return {"kid": name, "key_ops": [use], "kty": "RSA", "e": "AQAB", "n": dump_base64url(modulus)}


@dataclass(frozen=True, kw_only=True)
class HclForm:
    """Everything in an HCL report but the report. None stands for what belongs there."""

    magic: bytes = b"HCLA"
    version: int = 1
    size: int | None = None
    request_type: int = 2
    status: int = 0
    reserved: bytes = bytes(12)
    data_size: int | None = None
    data_version: int = 1
    report_type: int = 2  # SEV-SNP
    hash_type: int = 1  # SHA-256
    runtime_data: bytes | None = None  # None: names the attester's vTPM key
    runtime_data_size: int | None = None
    padding: bytes | None = None  # None: zeros to the size of the NV index

    def encode(self, report: bytes, runtime: bytes) -> bytes:
        """Return the HCL report with the runtime data that belongs to it."""
        count = len(runtime)
        size = _RUNTIME_DATA_OFFSET + count if self.size is None else self.size
        data_size = _REQUEST_DATA_SIZE + count if self.data_size is None else self.data_size
        declared = count if self.runtime_data_size is None else self.runtime_data_size
        header = self.magic + pack("<IIII", self.version, size, self.request_type, self.status) + self.reserved
        data = pack("<IIIII", data_size, self.data_version, self.report_type, self.hash_type, declared)
        encoded = header + report + data + runtime
        return encoded.ljust(_HCL_SIZE, b"\0") if self.padding is None else encoded + self.padding


def hcl_report_data(runtime: bytes) -> bytes:
    """Return how the paravisor's report commits to the runtime data."""
    return sha256(runtime).digest() + bytes(32)


# Registers after some boot; those of the debugger and of dynamic launch, 17 to 22, are all ones before a launch.
BOOTED_PCRS: Final = tuple(
    b"\xff" * 32 if number in range(17, 23) else secret("attestd", f"PCR {number}", 32) for number in range(24)
)


@dataclass(frozen=True, kw_only=True)
class TpmAttest:
    """TPMS_ATTEST of a quote over PCR 0 to 23 of the SHA-256 bank."""

    magic: bytes = b"\xffTCG"
    type: int = 0x8018  # TPM_ST_ATTEST_QUOTE
    qualified_signer: bytes = b"\x00\x0b" + secret("attestd", "vTPM name", 32)
    clock: int = 86_400_000
    reset_count: int = 2
    restart_count: int = 0
    safe: int = 1
    firmware_version: bytes = bytes.fromhex("2020031200120003")
    selections: bytes = bytes.fromhex("00000001000b03ffffff")
    pcrs: tuple[bytes, ...] = BOOTED_PCRS
    pcr_digest: bytes | None = None  # None: of `pcrs`
    trailing: bytes = b""

    def encode(self, extra_data: bytes) -> bytes:
        """Return the structure with what the caller of TPM2_Quote wants signed."""
        digest = sha256(b"".join(self.pcrs)).digest() if self.pcr_digest is None else self.pcr_digest
        head = self.magic + pack(">H", self.type) + _sized(self.qualified_signer) + _sized(extra_data)
        clock = pack(">QIIB", self.clock, self.reset_count, self.restart_count, self.safe)
        return head + clock + self.firmware_version + self.selections + _sized(digest) + self.trailing


def tpm_quote(key: RSAPrivateKey, extra_data: bytes, attest: TpmAttest, signing: Signing = GENUINE) -> TpmQuoteEvidence:
    """Return a quote by the vTPM with that attestation key; `signing.after` edits the message once it is signed."""
    message = signing.before(attest.encode(extra_data))
    signature = signing.pkcs1(key, message)
    return TpmQuoteEvidence(message=signing.after(message), signature=signature, pcrs=b"".join(attest.pcrs))


def _sized(raw: bytes) -> bytes:
    """TPM2B."""
    return pack(">H", len(raw)) + raw
