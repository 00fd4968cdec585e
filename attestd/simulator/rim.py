"""RIMs, the documents that have the golden values of a firmware: SoftwareIdentity with an enveloped signature.

Source: ISO/IEC 19770-2:2015; TCG Reference Integrity Manifest Information Model 1.01; XML Signature Syntax and
Processing 1.1 (W3C); nvidia.md, 4.6.
"""

import textwrap
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha384
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from attestd.simulator.gpu import Gpu, RimKind
from attestd.simulator.nvidia import PRODUCTS
from attestd.simulator.reports import measurement
from attestd.simulator.tampering import Signing
from attestd.simulator.xmltree import Attribute, Element

ISO_19770: Final = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
TCG_RIM: Final = "https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/"
XMLDSIG: Final = "http://www.w3.org/2000/09/xmldsig#"
ENVELOPED: Final = f"{XMLDSIG}enveloped-signature"
C14N11: Final = "http://www.w3.org/2006/12/xml-c14n11"
ECDSA_SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#sha384"
HASH_ALGORITHM: Final = "http://www.w3.org/2001/04/xmlenc#sha384"

_RESOURCES: Final = 64
_MANUFACTURER_ID: Final = "5703"
_UNKNOWN: Final = (bytes(48),)


@dataclass(frozen=True, kw_only=True)
class Golden:
    """One measurement of a RIM. None stands for what is true, or as NVIDIA has it."""

    index: int
    values: tuple[bytes, ...]
    active: str = "True"
    alternatives: int | None = None
    size: int = 48
    type: str = "Measurement"
    name: str | None = None

    def element(self) -> Element:
        """Return Resource."""
        alternatives = len(self.values) if self.alternatives is None else self.alternatives
        attributes = (
            ("type", self.type),
            ("index", str(self.index)),
            ("active", self.active),
            ("alternatives", str(alternatives)),
            *((f"ns2:Hash{number}", value.hex()) for number, value in enumerate(self.values)),
            ("name", f"Measurement_{self.index}" if self.name is None else self.name),
            ("size", str(self.size)),
        )
        return Element("ns0:Resource", attributes)


@dataclass(frozen=True, kw_only=True)
class RimForm:
    """What a RIM says."""

    product: str
    version: str  # of the driver or the VBIOS
    resources: tuple[Golden, ...]
    edition: str = "GPU"
    tag_id: str | None = None  # None: depends on product and version
    manufacturer: str = "NVIDIA Corporation"
    manufacturer_id: str = _MANUFACTURER_ID

    @classmethod
    def of(cls, gpu: Gpu, kind: RimKind) -> "RimForm":
        """Return the RIM of that kind for the state of a device; of 64 measurements some are active."""
        golden = gpu.golden(kind)
        return cls(
            product=PRODUCTS[gpu.arch],
            version=(gpu.driver_version or "") if kind == "driver" else gpu.vbios_version,
            edition="SWITCH" if gpu.arch == "LS10" else "GPU",
            resources=tuple(
                Golden(index=index, values=golden.get(index, _UNKNOWN), active=str(index in golden))
                for index in range(_RESOURCES)
            ),
        )

    def having(self, index: int, edit: Callable[[Golden], Golden]) -> "RimForm":
        """Return the form with another measurement at `index`."""
        return replace(self, resources=tuple(edit(one) if one.index == index else one for one in self.resources))

    def element(self) -> Element:
        """Return SoftwareIdentity, not signed, with NVIDIA's line breaks."""
        resources = (part for one in self.resources for part in ("\n        ", one.element()))
        payload = Element("ns0:Payload", (("xmlns:SHA384", HASH_ALGORITHM),), (*resources, "\n    "))
        entity = Element("ns0:Entity", (("name", self.manufacturer), ("role", "softwareCreator tagCreator")))
        attributes = (
            ("xmlns", ISO_19770),
            ("xmlns:ns0", ISO_19770),
            ("xmlns:ns2", HASH_ALGORITHM),
            ("corpus", "false"),
            ("name", self.product),
            ("patch", "false"),
            ("supplemental", "false"),
            ("tagId", measurement(f"RIM {self.product} {self.version}").hex() if self.tag_id is None else self.tag_id),
            ("version", "1.0"),
            ("tagVersion", "0"),
        )
        content = ("\n    ", entity, "\n    ", Element("ns0:Meta", self._meta()), "\n    ", payload, "\n")
        return Element("SoftwareIdentity", attributes, content)

    def _meta(self) -> tuple[Attribute, ...]:
        return (
            ("xmlns:ns1", TCG_RIM),
            ("colloquialVersion", self.version),
            ("edition", self.edition),
            ("product", self.product),
            ("revision", "r1"),
            ("PayloadType", "direct"),
            ("ns1:BindingSpec", "RIMIM"),
            ("ns1:BindingSpecVersion", "1.01"),
            ("ns1:PlatformManufacturerId", self.manufacturer_id),
            ("ns1:PlatformManufacturerStr", self.manufacturer),
            ("ns1:PlatformModel", self.product),
            ("ns1:FirmwareManufacturer", self.manufacturer),
            ("ns1:FirmwareManufacturerId", self.manufacturer_id),
        )


RimEdit: TypeAlias = Callable[[RimForm], RimForm]
ElementEdit: TypeAlias = Callable[[Element], Element]


def same_rim(form: RimForm) -> RimForm:
    """Leave the form as it is."""
    return form


def same_element(element: Element) -> Element:
    """Leave the element as it is."""
    return element


@dataclass(frozen=True, kw_only=True)
class XmlSignature:
    """An enveloped signature. None stands for what is true."""

    canonicalization: str = C14N11
    method: str = ECDSA_SHA384
    uri: str = ""
    transforms: tuple[str, ...] = (ENVELOPED, C14N11)
    digest_method: str = SHA384
    digest: bytes | None = None
    certificates: tuple[bytes, ...] | None = None  # of X509Data, the signer first
    key_info: tuple[Element, ...] = ()  # stands before X509Data
    more: tuple[Element, ...] = ()  # stands after KeyInfo: Object

    def signed_info(self, digest: bytes) -> Element:
        """Return SignedInfo for the digest of the document."""
        reference = Element(
            "ds:Reference",
            (("URI", self.uri),),
            (
                Element("ds:Transforms", (), tuple(_algorithm("ds:Transform", one) for one in self.transforms)),
                _algorithm("ds:DigestMethod", self.digest_method),
                Element("ds:DigestValue", (), (_base64(digest if self.digest is None else self.digest),)),
            ),
        )
        method = _algorithm("ds:SignatureMethod", self.method)
        return Element(
            "ds:SignedInfo",
            (),
            (_algorithm("ds:CanonicalizationMethod", self.canonicalization), method, reference),
        )

    def element(self, signed_info: Element, value: bytes, certificates: tuple[bytes, ...]) -> Element:
        """Return Signature."""
        certificates = certificates if self.certificates is None else self.certificates
        data = Element("ds:X509Data", (), tuple(map(_certificate, certificates)))
        return Element(
            "ds:Signature",
            (("xmlns:ds", XMLDSIG),),
            (
                signed_info,
                Element("ds:SignatureValue", (), (_base64(value),)),
                Element("ds:KeyInfo", (), (*self.key_info, data)),
                *self.more,
            ),
        )


SIGNATURE: Final = XmlSignature()


def _algorithm(name: str, uri: str) -> Element:
    return Element(name, (("Algorithm", uri),))


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode()


def _certificate(der: bytes) -> Element:
    return Element("ds:X509Certificate", (), ("\n".join((*textwrap.wrap(_base64(der), 64), "")),))


def seal_rim(
    document: Element,
    signature: XmlSignature,
    certificates: tuple[bytes, ...],
    key: EllipticCurvePrivateKey,
    signing: Signing,
) -> bytes:
    """Return the document with its signature as its last child; `signing.before` edits SignedInfo as it is signed."""
    signed_info = signature.signed_info(sha384(document.canonical().encode()).digest())
    value = signing.p384(key, signing.before(canonical_signed_info(signed_info, document)))
    sealed = replace(document, content=(*document.content, signature.element(signed_info, value, certificates)))
    return signing.after(sealed.write().encode() + b"\n")


def canonical_signed_info(signed_info: Element, document: Element) -> bytes:
    """Return what is signed: the canonical form in which SignedInfo has the namespaces of all that is around it."""
    scope = {
        name.partition(":")[2]: uri for name, uri in (*document.attributes, ("xmlns:ds", XMLDSIG)) if "xmlns" in name
    }
    return signed_info.canonical(scope).encode()
