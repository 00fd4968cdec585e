"""One OCSPResponse, parsed (RFC 6960, 4.2): a basic response with one statement."""

from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponse, OCSPResponseStatus, load_der_ocsp_response

from attestd.codec import DerElement, load_der_sequence
from attestd.errors import EndorsementRejected, Malformed, Reason, Unavailable
from attestd.validity import Validity
from attestd.x509 import BAD_BYTES, Certificate

# An answer with its responder's certificate has about 1.2 KiB.
MAX_OCSP_ANSWER_SIZE: Final = 16 * 1024

BY_NAME: Final = 0xA1  # the tag of a ResponderID that is a name; the other is the SHA-1 of a key

_CERT_ID_HASHES: Final = frozenset({"sha1", "sha256", "sha384"})


class OcspAnswer(NamedTuple):
    """What stands in an answer; nothing about it is trusted yet."""

    digest: bytes  # SHA-256 of it as it came
    signed: bytes  # ResponseData in DER
    algorithm: bytes  # AlgorithmIdentifier in DER
    signature: bytes
    responder: DerElement  # ResponderID
    certificates: tuple[Certificate, ...]
    hash_name: str  # CertID: the hash,
    issuer_hashes: tuple[bytes, bytes]  # of the issuer's name and of its key,
    serial_number: int  # and whose status this is
    status: OCSPCertStatus
    revoked_at: datetime | None
    reason: x509.ReasonFlags | None
    validity: Validity  # thisUpdate, nextUpdate
    nonce: bytes | None


def parse_answer(raw: bytes) -> OcspAnswer:
    """Parse an OCSPResponse in DER. Nothing but a nonce may be in it that has to be understood.

    Raises `EndorsementRejected` (`gpu.ocsp_malformed`), and `Unavailable` (`gpu.ocsp_unavailable`) for a status that
    is not successful, beside which there is no answer.
    """
    if len(raw) > MAX_OCSP_ANSWER_SIZE:
        raise _not_answer(f"{len(raw)} bytes", f"at most {MAX_OCSP_ANSWER_SIZE} bytes")
    try:
        response = load_der_ocsp_response(raw)
        if response.response_status is not OCSPResponseStatus.SUCCESSFUL:
            raise Unavailable(
                Reason.GPU_OCSP_UNAVAILABLE,
                found=f"the response status {response.response_status.name}",
                wanted="SUCCESSFUL",
            )
        return _read(raw, response)
    except (*BAD_BYTES, Malformed):
        raise _not_answer("bytes that are none, or more statements than one") from None


def _read(raw: bytes, response: OCSPResponse) -> OcspAnswer:
    (single,) = response.responses
    if single.next_update_utc is None:
        raise _not_answer("no nextUpdate", "an answer with an end")
    if single.hash_algorithm.name not in _CERT_ID_HASHES:
        raise _not_answer("a CertID with another hash", "SHA-1, SHA-256 or SHA-384")
    signed, algorithm, signature, certificates = _parts(raw)
    # A BIT STRING begins with how many bits are unused: none of a signature.
    if signature.content[:1] != b"\0":
        raise _not_answer("a signature with unused bits")
    return OcspAnswer(
        digest=sha256(raw).digest(),
        signed=signed.encoded,
        algorithm=algorithm.encoded,
        signature=signature.content[1:],
        responder=_inside(signed)[0],  # the library takes no version but the first, which is not written
        certificates=certificates,
        hash_name=single.hash_algorithm.name,
        issuer_hashes=(single.issuer_name_hash, single.issuer_key_hash),
        serial_number=single.serial_number,
        status=single.certificate_status,
        revoked_at=single.revocation_time_utc,
        reason=single.revocation_reason,
        validity=Validity(single.this_update_utc, single.next_update_utc),
        nonce=_nonce(response),
    )


def _parts(raw: bytes) -> tuple[DerElement, DerElement, DerElement, tuple[Certificate, ...]]:
    """Return ResponseData, algorithm, signature and certificates, of a structure that the library has parsed.

    As they came: the library would encode anew what is signed.
    """
    _, explicit = _inside(*_elements(raw))
    _, basic = _inside(*_inside(explicit))
    signed, algorithm, signature, *rest = _inside(*_inside(basic))
    certificates = _inside(*_inside(*rest)) if rest else []
    return signed, algorithm, signature, tuple([Certificate(one.encoded) for one in certificates])


def _nonce(response: OCSPResponse) -> bytes | None:
    nonce = None
    for extension in (*response.extensions, *response.single_extensions):
        if isinstance(extension.value, x509.OCSPNonce):
            nonce = extension.value.nonce
        elif extension.critical:
            raise _not_answer(f"the critical extension {extension.oid.dotted_string}", "none but a nonce")
    return nonce


def _inside(element: DerElement) -> list[DerElement]:
    return _elements(element.content)


def _elements(content: bytes) -> list[DerElement]:
    return load_der_sequence(content, Reason.GPU_OCSP_MALFORMED)


def _not_answer(found: str, wanted: str = "one OCSPResponse in DER, with one statement") -> EndorsementRejected:
    return EndorsementRejected(Reason.GPU_OCSP_MALFORMED, found=found, wanted=wanted)
