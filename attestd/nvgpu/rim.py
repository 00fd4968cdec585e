"""Reference integrity manifests (RIMs): the measurements that NVIDIA vouches for, of one driver, VBIOS or switch BIOS.

Source: ISO/IEC 19770-2:2015 (SWID tags); TCG Reference Integrity Manifest Information Model 1.01; NVIDIA, RIM Guide and
Opaque Data RIM Attributes; nvidia.md, 4.6. NVIDIA gives out other golden values under the same id, so a RIM is told by
the SHA-256 of its bytes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from hashlib import sha256
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

from attestd.codec import Fields, load_hex, load_json
from attestd.errors import EndorsementRejected, Malformed, Reason
from attestd.nvgpu.xmldsig import MAX_DOCUMENT_SIZE, PATH, Element, authenticate_document
from attestd.validity import Validity
from attestd.x509 import Certificate, TrustAnchors

# Base64 adds a third to the document; what stands beside it takes some 300 bytes.
MAX_ENVELOPE_SIZE: Final = 2 * MAX_DOCUMENT_SIZE
# Indices 0 to 63 are those of the SPDM measurement blocks (NVIDIA, Opaque Data RIM Attributes).
MEASUREMENTS: Final = 64
# Genuine RIMs have up to four for one index.
MAX_ALTERNATIVES: Final = 64
MEASUREMENT_SIZE: Final = 48  # SHA-384

RimKind: TypeAlias = Literal["driver", "vbios", "switch_bios"]

_SWID: Final = "{http://standards.iso.org/iso/19770/-2/2015/schema.xsd}"
_TCG: Final = "{https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/}"
_HASH: Final = "{http://www.w3.org/2001/04/xmlenc#sha384}Hash"

# A patch or supplemental tag adds to another one, and an indirect payload is elsewhere: what stands here is not all.
_WHOLE_TAG: Final = {"corpus": "false", "patch": "false", "supplemental": "false"}
_META: Final = {"PayloadType": "direct", f"{_TCG}FirmwareManufacturerId": "5703"}  # NVIDIA (IANA enterprise number)
_RESOURCE: Final = frozenset({"type", "index", "active", "alternatives", "name", "size"})
_INDICES: Final = {str(index): index for index in range(MEASUREMENTS)}
# By how many alternatives there are, the attributes that hold them.
_HASHES: Final = {
    str(count): tuple(f"{_HASH}{number}" for number in range(count)) for count in range(1, MAX_ALTERNATIVES + 1)
}
_ACTIVE: Final = {"True": True, "False": False}

_TAG_ID: Final = re.compile(r"[0-9a-f]{96}")
_PRODUCT: Final = re.compile(r"[A-Z]{2}[0-9]{2,3}")
_DRIVER_VERSION: Final = re.compile(r"[0-9]{3}(?:\.[0-9]{2,3}){1,2}")
_BIOS_VERSION: Final = re.compile(r"[0-9A-F]{2}(?:\.[0-9A-F]{2}){4}")
_KINDS: Final[tuple[tuple[RimKind, str, re.Pattern[str]], ...]] = (
    ("driver", "GPU", _DRIVER_VERSION),
    ("vbios", "GPU", _BIOS_VERSION),
    ("switch_bios", "SWITCH", _BIOS_VERSION),
)


class RimName(NamedTuple):
    """What a RIM says that it is for.

    NVIDIA's ids are made of the same, but for VBIOSes, of which they name the board as well: no RIM does.
    """

    kind: RimKind
    product: str  # GH100, GB100, LS10
    version: str  # 550.144.03; 96.00.5E.00.01

    def __str__(self) -> str:
        """Join the parts, none of which has an underscore but for the first."""
        return "_".join(self)


@dataclass(frozen=True, slots=True)
class Rim:
    """An authenticated RIM. Immutable, and good for every report of that product and version, inside of `validity`."""

    kind: RimKind
    product: str  # GH100, GB100, LS10
    edition: str  # GPU or SWITCH
    version: str  # 550.144.03; 96.00.5E.00.01
    tag_id: str  # the SWID tag's; the same in RIMs of several versions
    golden: Mapping[int, tuple[bytes, ...]]  # by index from 0, active ones alone: each value that is good, 48 bytes
    sha256: bytes  # of the document as it came
    chain: tuple[Certificate, ...]  # signer first, the pinned root last
    validity: Validity  # of the whole chain

    @property
    def name(self) -> RimName:
        """What it is for."""
        return RimName(self.kind, self.product, self.version)

    @property
    def signed_from(self) -> datetime:
        """When the certificate of its signer begins: it is no older. NVIDIA makes a new one for each RIM."""
        return self.chain[0].validity.not_before

    @property
    def root(self) -> Certificate:
        """The pinned root."""
        return self.chain[-1]

    def require_current(self, at: datetime) -> None:
        """Raise `EndorsementRejected` where `at` lies outside of the window of any certificate of the chain."""
        PATH.require_current(self.validity, at)


def authenticate_rim(raw: bytes, anchors: TrustAnchors, at: datetime, known: Rim | None = None) -> Rim:
    """Verify a RIM, a signed SWID tag in XML, to NVIDIA's pinned root for RIMs at `at`.

    The result depends on `at` by its validity alone, so it may be kept by its SHA-256 and asked `require_current`.
    `known` is another RIM: where the same CAs have issued both signers, these are not verified again.

    Raises `EndorsementRejected`: `gpu.rim_empty`, and all that `authenticate_document` raises.
    """
    document = authenticate_document(raw, anchors, at, () if known is None else known.chain[1:])
    tag = document.root
    if tag.name != f"{_SWID}SoftwareIdentity" or not _WHOLE_TAG.items() <= tag.attributes.items():
        raise _malformed("another element or kind of tag", "a SoftwareIdentity that is complete in itself")
    if [child.name for child in tag.children] != [f"{_SWID}{name}" for name in ("Entity", "Meta", "Payload")]:
        raise _malformed("other elements in SoftwareIdentity", "Entity, Meta and Payload, and the signature")
    _, meta, payload = tag.children
    kind, product, edition, version = _parse_meta(meta)
    return Rim(
        kind=kind,
        product=product,
        edition=edition,
        version=version,
        tag_id=_text(tag, "tagId", _TAG_ID),
        golden=_parse_payload(payload),
        sha256=sha256(raw).digest(),
        chain=document.chain,
        validity=reduce(Validity.narrowed, (certificate.validity for certificate in document.chain)),
    )


def load_rim_envelope(raw: bytes, rim_id: str | None = None) -> bytes:
    """Return the RIM out of what NVIDIA's RIM service answers to `GET /v1/rim/<rim_id>`; None takes it of any id.

    That is a JSON object of `id`, `rim` (base64), `sha256` (hex, of what the base64 says) and more. Nothing of it is
    authentic; the checks tell an answer to another question, or a broken one, before it is stored under a name.

    Raises `EndorsementRejected`: `gpu.rim_id`, `gpu.rim_sha256`, `gpu.rim_malformed`, `json.…`, `base64.malformed`.
    """
    if len(raw) > MAX_ENVELOPE_SIZE:
        raise _malformed(f"{len(raw)} bytes", f"at most {MAX_ENVELOPE_SIZE} bytes")
    try:
        answer = Fields(load_json(raw), Reason.GPU_RIM_MALFORMED, "answer")
        named = answer.text("id")
        if rim_id not in (named, None):
            raise EndorsementRejected(Reason.GPU_RIM_ID, found="another id", wanted=rim_id)
        # The service has CoRIMs, too, of other products.
        if answer.text("rim_format") != "TCG":
            raise _malformed("another rim_format", "TCG, which is a SWID tag")
        rim, digest = answer.binary("rim"), answer.hexadecimal("sha256", 32)
    except Malformed as error:
        raise EndorsementRejected(error.reason, found=error.found, wanted=error.wanted) from None
    found = sha256(rim).digest()
    if found != digest:
        raise EndorsementRejected(Reason.GPU_RIM_SHA256, found=f"SHA-256 {found.hex()}", wanted=digest.hex())
    return rim


def _parse_meta(meta: Element) -> tuple[RimKind, str, str, str]:
    """Return kind, product, edition and version. Only the form of the version tells a driver's RIM from a VBIOS's."""
    if not _META.items() <= meta.attributes.items() or meta.children:
        raise _malformed("another payload type or manufacturer in Meta", "a direct payload of NVIDIA's (5703)")
    product = _text(meta, "product", _PRODUCT)
    edition, version = meta.attributes.get("edition"), meta.attributes.get("colloquialVersion", "")
    for kind, wanted, form in _KINDS:
        if edition == wanted and form.fullmatch(version):
            return kind, product, wanted, version
    raise _malformed("another edition or form of version in Meta", "GPU with 550.144.03, GPU or SWITCH with five bytes")


def _parse_payload(payload: Element) -> Mapping[int, tuple[bytes, ...]]:
    seen: set[int] = set()
    golden: dict[int, tuple[bytes, ...]] = {}
    for resource in payload.children:
        index, active, values = _parse_resource(resource)
        if index in seen:
            raise _malformed(f"index {index} again", "each index once")
        seen.add(index)
        if active:
            golden[index] = values
    if not golden:
        raise EndorsementRejected(
            Reason.GPU_RIM_EMPTY, found=f"{len(seen)} measurements, all inactive", wanted="at least one to compare"
        )
    return MappingProxyType(golden)


def _parse_resource(resource: Element) -> tuple[int, bool, tuple[bytes, ...]]:
    """Return index, whether it is active, and the alternatives.

    Attributes of other names are refused, not passed over: they may say how else the value is to be compared, as those
    of NVIDIA's opaque data do.
    """
    attributes = resource.attributes
    if resource.name != f"{_SWID}Resource" or attributes.get("type") != "Measurement" or resource.children:
        raise _malformed("another element in Payload", "Resource elements of type Measurement")
    index, hashes = _INDICES.get(attributes.get("index", "")), _HASHES.get(attributes.get("alternatives", ""))
    if index is None or hashes is None:
        raise _malformed(
            "another index or number of alternatives", f"0 to {MEASUREMENTS - 1}, and 1 to {MAX_ALTERNATIVES}"
        )
    if attributes.keys() != _RESOURCE.union(hashes):
        raise _malformed(
            f"other attributes at index {index}", f"{', '.join(sorted(_RESOURCE))} and {len(hashes)} hashes from Hash0"
        )
    active = _ACTIVE.get(attributes["active"])
    if active is None or attributes["size"] != str(MEASUREMENT_SIZE):
        raise _malformed(f"another value of active or size at index {index}", f"True or False, and {MEASUREMENT_SIZE}")
    try:
        return index, active, tuple([load_hex(attributes[name], size=MEASUREMENT_SIZE) for name in hashes])
    except Malformed as error:
        raise _malformed(f"{error.found} at index {index}", f"{MEASUREMENT_SIZE} bytes in hex") from None


def _text(element: Element, name: str, form: re.Pattern[str]) -> str:
    text = element.attributes.get(name, "")
    if not form.fullmatch(text):
        raise _malformed(f"no such {name}, or of another form", form.pattern)
    return text


def _malformed(found: str, wanted: str) -> EndorsementRejected:
    return EndorsementRejected(Reason.GPU_RIM_MALFORMED, found=found, wanted=wanted)
