"""XML signatures in the one form that NVIDIA's RIMs have, and in no other.

Source: XML Signature Syntax and Processing 1.1 (W3C); Canonical XML 1.1 (W3C); RFC 6931; nvidia.md, 4.6. By the
standard a document says itself what of it is signed, after which transforms and by which key. Here it has no say: there
is one signature, enveloped by the root, over all the rest; the key is that of the certificate whose chain was verified;
and what is handed on was parsed from the very bytes that were digested.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha384
from typing import Any, Final, NamedTuple, TypeAlias

from lxml import etree

from attestd.codec import load_base64
from attestd.errors import EndorsementRejected, Malformed, NotAuthentic, Reason
from attestd.signature import verify_p384
from attestd.x509 import NVIDIA, Certificate, PathReasons, TrustAnchors, verify_path

# Genuine RIMs have 20 to 26 KiB.
MAX_DOCUMENT_SIZE: Final = 256 * 1024
# A Transform in the signature of the root is the deepest element: the measurements lie at half of that.
MAX_DEPTH: Final = 6
# Genuine signatures have four: signer, two CAs and the root.
MAX_CERTIFICATES: Final = 8

ROOT_NAME: Final = "NVIDIA CoRIM signing Root CA"

_SIGNATURE_SIZE: Final = 96  # r ‖ s
_DIGITAL_SIGNATURE: Final = bytes.fromhex("03020780")  # a key usage of nothing else
_KEY_USAGE, _EXTENDED_KEY_USAGE = "2.5.29.15", "2.5.29.37"

_NAMESPACE: Final = "http://www.w3.org/2000/09/xmldsig#"
_DS: Final = f"{{{_NAMESPACE}}}"
_XML_C14N11: Final = "http://www.w3.org/2006/12/xml-c14n11"
_SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#sha384"
_ECDSA_SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
_ENVELOPED_SIGNATURE: Final = f"{_NAMESPACE}enveloped-signature"

# XML 1.0, 2.8. Any other encoding would be another text than the one that was looked at before it is parsed.
_DECLARATION: Final = re.compile(
    rb"""<\?xml version=['"]1\.0['"](?: encoding=['"](?i:utf-8)['"])?(?: standalone=['"](?:yes|no)['"])? ?\?>"""
)
# The white space of base64Binary (XML Schema Part 2, 3.2.16).
_SPACE: Final = " \t\n\r"
# Comments are not signed. libxml2 is asked for Canonical XML 1.0, which differs from 1.1 in nothing but how it inherits
# `xml:` attributes: without them both are the same.
_WITHOUT_FORM: Final = etree.XPath(
    "boolean(//comment() | //processing-instruction() | //@xml:* | " + "/*" * (MAX_DEPTH + 1) + ")"
)

# Nodes of lxml, which is published without types.
_Node: TypeAlias = Any

# How a chain of a signer's is refused.
PATH: Final = PathReasons(
    chain=Reason.GPU_RIM_CHAIN,
    untrusted_root=Reason.GPU_RIM_UNTRUSTED_ROOT,
    expired=Reason.GPU_RIM_EXPIRED,
    not_yet_valid=Reason.GPU_RIM_NOT_YET_VALID,
    kind=EndorsementRejected,
)


class Element(NamedTuple):
    """An element: its name and its attributes' names as {namespace}local, and the elements in it. Text is left out."""

    name: str
    attributes: dict[str, str]
    children: tuple["Element", ...] = ()


class SignedDocument(NamedTuple):
    """What a signature was verified over, and by whom it was made."""

    root: Element  # without the signature
    chain: tuple[Certificate, ...]  # signer first, the pinned root last


def _method(name: str, algorithm: str) -> Element:
    return Element(f"{_DS}{name}", {"Algorithm": algorithm})


_SIGNED_INFO: Final = Element(
    f"{_DS}SignedInfo",
    {},
    (
        _method("CanonicalizationMethod", _XML_C14N11),
        _method("SignatureMethod", _ECDSA_SHA384),
        Element(
            f"{_DS}Reference",
            {"URI": ""},
            (
                Element(
                    f"{_DS}Transforms",
                    {},
                    (_method("Transform", _ENVELOPED_SIGNATURE), _method("Transform", _XML_C14N11)),
                ),
                _method("DigestMethod", _SHA384),
                Element(f"{_DS}DigestValue", {}),
            ),
        ),
    ),
)


def authenticate_document(
    raw: bytes, anchors: TrustAnchors, at: datetime, known: Sequence[Certificate] = ()
) -> SignedDocument:
    """Verify a signed document in UTF-8, from the certificates in it to NVIDIA's pinned root for RIMs at `at`.

    `known` is the chain of another one that was verified, without its signer: see `verify_path`.

    Raises `EndorsementRejected`: `gpu.rim_malformed`, `gpu.rim_chain`, `gpu.rim_untrusted_root`, `gpu.rim_expired`,
    `gpu.rim_not_yet_valid`, `gpu.rim_signature`, `gpu.rim_digest`.
    """
    root = _parse_untrusted(raw)
    signature = _only_signature(root)
    signed_info, value, certificates = _signature_parts(signature)
    signed = _canonical(signed_info)
    chain = _verify_signer(certificates, anchors, at, known, value, signed)
    # From here on SignedInfo is read from what was signed.
    digest = _require_profile(_parse(signed))
    etree.strip_elements(root, signature.tag, with_tail=False)
    content = _canonical(root)
    if sha384(content).digest() != digest:
        raise EndorsementRejected(
            Reason.GPU_RIM_DIGEST, found="a document with another digest", wanted="the SHA-384 that was signed"
        )
    return SignedDocument(_element(_parse(content)), chain)


def _parse_untrusted(raw: bytes) -> _Node:
    if len(raw) > MAX_DOCUMENT_SIZE:
        raise _malformed(f"{len(raw)} bytes", f"at most {MAX_DOCUMENT_SIZE} bytes")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise _malformed(f"no UTF-8 at byte {error.start}", "UTF-8") from None
    # By a NUL, a byte order mark or a declaration a parser would take the bytes for another encoding (XML 1.0, F).
    if not raw.startswith(b"<") or b"\0" in raw or (raw.startswith(b"<?xml") and not _DECLARATION.match(raw)):
        raise _malformed("another encoding or declaration", "XML 1.0 in UTF-8 without a byte order mark")
    # Before anything parses it: a DTD defines entities and default attributes, and names files.
    if b"<!DOCTYPE" in raw:
        raise _malformed("a document type declaration", "none")
    root = _parse(raw)
    if _WITHOUT_FORM(root.getroottree()):
        raise _malformed(
            "a comment, a processing instruction, an xml: attribute or deeper nesting",
            f"elements alone, at most {MAX_DEPTH} levels",
        )
    return root


def _parse(raw: bytes) -> _Node:
    # A parser of its own: a shared one would let one thread at a time parse.
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)
    try:
        return etree.fromstring(raw, parser)
    except etree.XMLSyntaxError as error:
        raise _malformed(f"a syntax error in line {error.lineno or 0}", "well-formed XML") from None


def _canonical(node: _Node) -> bytes:
    """Canonicalise an element with all that is in it, without comments (Canonical XML 1.1, section 2)."""
    try:
        canonical: bytes = etree.tostring(node, method="c14n", exclusive=False, with_comments=False)
    except etree.C14NError:
        raise _malformed("a document that has no canonical form", "absolute URIs as namespaces") from None
    return canonical


def _only_signature(root: _Node) -> _Node:
    """Return the signature that the root envelops. A second one, wherever it stands, could be meant instead."""
    signatures = list(root.iter(f"{_DS}Signature"))
    if len(signatures) != 1 or signatures[0].getparent() is not root:
        raise _malformed(f"{len(signatures)} signatures", "one, as a child of the root")
    return signatures[0]


def _signature_parts(signature: _Node) -> tuple[_Node, bytes, tuple[bytes, ...]]:
    """Return SignedInfo, the signature value and the certificates in DER. There is no place for an Object."""
    signed_info, value, key_info = _children(signature, "SignedInfo", "SignatureValue", "KeyInfo")
    (x509_data,) = _children(key_info, "X509Data")
    if len(x509_data) > MAX_CERTIFICATES:
        raise _malformed(f"{len(x509_data)} certificates", f"at most {MAX_CERTIFICATES}")
    certificates = _children(x509_data, *["X509Certificate"] * max(len(x509_data), 1))
    return signed_info, _binary(value, _SIGNATURE_SIZE), tuple(_binary(certificate) for certificate in certificates)


def _children(node: _Node, *names: str) -> list[_Node]:
    """Return the children of an element that has these in this order, and no attributes."""
    children = list(node)
    if [child.tag for child in children] != [_DS + name for name in names] or node.attrib:
        raise _malformed(
            f"another form of {etree.QName(node).localname}", f"no attributes, and in it {', '.join(names) or 'text'}"
        )
    return children


def _binary(node: _Node, size: int | None = None) -> bytes:
    """Return what an element holds in base64. Comments are not there to split its text."""
    _children(node)
    text: str = node.text or ""
    for space in _SPACE:
        text = text.replace(space, "")
    try:
        value = load_base64(text)
    except Malformed as error:
        raise _malformed(error.found, error.wanted) from None
    if size is not None and len(value) != size:
        raise _malformed(f"{len(value)} bytes as {etree.QName(node).localname}", f"{size} bytes")
    return value


def _require_profile(signed_info: _Node) -> bytes:
    """Return the digest that SignedInfo names, where everything else in it is as the profile has it."""
    if _element(signed_info) != _SIGNED_INFO:
        raise _malformed(
            "another reference, transform or algorithm",
            "the whole document; enveloped-signature and xml-c14n11; SHA-384; ECDSA with SHA-384",
        )
    return _binary(signed_info[2][2], sha384().digest_size)


def _element(node: _Node) -> Element:
    # Of a RIM nearly all elements are empty, which is quicker to ask than to see.
    return Element(node.tag, dict(node.items()), tuple(map(_element, node)) if len(node) else ())


def _verify_signer(
    ders: Sequence[bytes],
    anchors: TrustAnchors,
    at: datetime,
    known: Sequence[Certificate],
    signature: bytes,
    signed: bytes,
) -> tuple[Certificate, ...]:
    """Verify the chain, and with the key of its first certificate the signature; return the chain with its root.

    The two are one step, so that no key but the one that was verified can be taken.
    """
    try:
        chain = anchors.parse(ders, known)
        root = verify_path(chain, anchors, at, PATH, NVIDIA, known=known)
        key = chain[0].p384_public_key
    except Malformed as error:
        raise EndorsementRejected(Reason.GPU_RIM_CHAIN, found=error.found, wanted=error.wanted) from None
    if root.common_name != ROOT_NAME:
        raise EndorsementRejected(
            Reason.GPU_RIM_UNTRUSTED_ROOT, found=f"the root {root.common_name!r}", wanted=ROOT_NAME
        )
    _require_signer(chain[0])
    try:
        verify_p384(key, signature, signed, Reason.GPU_RIM_SIGNATURE)
    except NotAuthentic as error:
        raise EndorsementRejected(error.reason, found=error.found, wanted=error.wanted) from None
    return (*(chain[:-1] if chain[-1].subject == root.subject else chain), root)


def _require_signer(certificate: Certificate) -> None:
    """Refuse the certificate of another role below the same CA: one that answers for OCSP says so, and signs no RIM."""
    if (
        certificate.extension_bytes(_KEY_USAGE) != _DIGITAL_SIGNATURE
        or certificate.extension_bytes(_EXTENDED_KEY_USAGE) is not None
    ):
        raise EndorsementRejected(
            Reason.GPU_RIM_CHAIN, found="a certificate for another use", wanted="one for digital signatures alone"
        )


def _malformed(found: str, wanted: str) -> EndorsementRejected:
    return EndorsementRejected(Reason.GPU_RIM_MALFORMED, found=found, wanted=wanted)
