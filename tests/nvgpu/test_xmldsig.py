"""XML signatures: attacks on the document, on what is signed, on the key, and on the parser (N11 to N17)."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha384
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from attestd.errors import EndorsementRejected, Reason
from attestd.nvgpu import xmldsig
from attestd.nvgpu.xmldsig import (
    MAX_CERTIFICATES,
    MAX_DEPTH,
    MAX_DOCUMENT_SIZE,
    SignedDocument,
    authenticate_document,
)
from attestd.simulator import AT, flip, p256_key, swap
from attestd.simulator import xmltree as xml
from attestd.simulator.certificates import ECDSA_WITH_SHA384, basic_constraints, key_usage
from attestd.simulator.keys import ecdsa_sig_value, spki
from attestd.simulator.nvidia import NvidiaRole, NvidiaVendor
from attestd.simulator.rim import C14N11, ENVELOPED, SIGNATURE, XMLDSIG, XmlSignature
from attestd.simulator.tampering import GENUINE
from attestd.x509 import TrustAnchors
from tests.nvgpu.rims import (
    ANCHORS,
    ATTACKER,
    DOCUMENT,
    GPU,
    RIM,
    VENDOR,
    Edit,
    attribute,
    content,
    first,
    having,
    last,
    sealed,
)
from tests.refusals import rejected

SECOND: Final = timedelta(seconds=1)
CLOSING: Final = b"</SoftwareIdentity>"
GENUINE_SIGNATURE: Final = RIM[RIM.index(b"<ds:Signature ") : RIM.index(CLOSING)]
DIGEST: Final = RIM.partition(b"<ds:DigestValue>")[2].partition(b"<")[0]
VALUE: Final = b64decode(RIM.partition(b"<ds:SignatureValue>")[2].partition(b"<")[0])


def authenticated(raw: bytes, at: datetime = AT) -> SignedDocument:
    return authenticate_document(raw, ANCHORS, at)


BASELINE: Final = authenticated(RIM)


def test_what_was_signed_is_read_and_who_signed_it() -> None:
    assert BASELINE.root.name == "{http://standards.iso.org/iso/19770/-2/2015/schema.xsd}SoftwareIdentity"
    assert [child.name.rpartition("}")[2] for child in BASELINE.root.children] == ["Entity", "Meta", "Payload"]
    assert [one.der for one in BASELINE.chain] == list(VENDOR.rim_chain)
    assert authenticated(sealed()) == BASELINE


@pytest.mark.parametrize(
    "edit",
    [
        swap(b'corpus="false" name="GH100"', b"name=\"GH100\"   corpus='false'"),
        swap(b'role="softwareCreator tagCreator"/>', b'role="softwareCreator&#x20;tagCreator"></ns0:Entity>'),
        swap(b"\n    <ns0:Meta", b"<![CDATA[\n    ]]><ns0:Meta"),
        swap(b"\n    <ns0:Meta", b"\r\n    <ns0:Meta"),
        swap(b"<ds:SignedInfo>", b"<ds:SignedInfo\n>"),
        lambda raw: b"<?xml version='1.0' encoding='UTF-8'?>\n" + raw,
        lambda raw: b'<?xml version="1.0" encoding="utf-8" standalone="yes" ?>' + raw,
        lambda raw: b"<?xml version='1.0'?>" + raw + b"\n\n",
    ],
    ids=["attributes", "empty-element", "cdata", "line-ends", "tag", "declaration", "standalone", "version"],
)
def test_other_ways_to_write_the_same_canonical_form(edit: Callable[[bytes], bytes]) -> None:
    assert authenticated(edit(RIM)) == BASELINE


@pytest.mark.parametrize("at", [0, 1, 4])
def test_the_signature_may_stand_anywhere_below_the_root_and_no_text_around_it_is_lost(at: int) -> None:
    # The text behind a signature belongs to what is signed.
    assert authenticated(sealed(at=at)) == BASELINE
    with rejected(Reason.GPU_RIM_DIGEST):
        authenticated(sealed(at=at).replace(b"</ds:Signature>", b"</ds:Signature>x"))


def test_namespaces_that_surround_signed_info_are_signed() -> None:
    document = attribute("xmlns:ns9", "urn:example")(DOCUMENT)
    assert authenticated(sealed(document)).root == BASELINE.root
    # Neither used nor read, but in scope, so inclusive canonicalisation has it in SignedInfo.
    with rejected(Reason.GPU_RIM_SIGNATURE):
        authenticated(swap(b"<ds:Signature ", b'<ds:Signature xmlns:ns8="urn:example" ')(RIM))
    assert authenticated(sealed(outer=attribute("xmlns:ds", XMLDSIG))) == BASELINE


def test_relative_namespaces_have_no_canonical_form() -> None:
    # Canonical XML 1.1, 1.3.
    for edit in (
        swap(b"<ds:Signature ", b'<ds:Signature xmlns:x="x" '),
        swap(b"<ns0:Meta ", b'<ns0:Meta xmlns:x="x" '),
    ):
        with rejected(Reason.GPU_RIM_MALFORMED):
            authenticated(edit(RIM))


# N11: changed after it was signed.


@pytest.mark.parametrize(
    "edit",
    [
        swap(b'active="False"', b'active="True"'),
        swap(b'colloquialVersion="', b'colloquialVersion="1'),
        swap(b"\n    <ns0:Meta", b"\n     <ns0:Meta"),
        swap(b"</ns0:Payload>", b"<ns0:Resource/></ns0:Payload>"),
        swap(b'xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384"', b'xmlns:ns2="urn:example"'),
        swap(CLOSING, b"x" + CLOSING),
    ],
    ids=["attribute", "version", "space", "element", "namespace", "text-at-the-end"],
)
def test_a_document_that_was_changed(edit: Callable[[bytes], bytes]) -> None:
    # A namespace of the root is in scope of SignedInfo as well.
    with rejected(Reason.GPU_RIM_DIGEST, Reason.GPU_RIM_SIGNATURE):
        authenticated(edit(RIM))


def test_a_changed_document_with_its_own_digest() -> None:
    document = having("ns0:Meta", attribute("colloquialVersion", "999.99"))(DOCUMENT)
    digests = [SIGNATURE.signed_info(sha384(one.canonical().encode()).digest()) for one in (DOCUMENT, document)]
    genuine, forged = (one.write().encode() for one in digests)
    assert authenticated(sealed(document)).root != BASELINE.root
    with rejected(Reason.GPU_RIM_SIGNATURE):
        authenticated(swap(genuine, forged)(enveloped(document)))


@pytest.mark.parametrize("bit", [0, 7])
@pytest.mark.parametrize("offset", [0, 47, 48, 95])
def test_a_bit_of_the_signature(offset: int, bit: int) -> None:
    with rejected(Reason.GPU_RIM_SIGNATURE):
        authenticated(GPU.rim("driver", signing=replace(GENUINE, signature=flip(offset, bit)(VALUE))))


@pytest.mark.parametrize("value", [bytes(96), b"\xff" * 96, bytes(95) + b"\1", b"\1" * 48 + bytes(48)])
def test_values_that_are_no_signature(value: bytes) -> None:
    with rejected(Reason.GPU_RIM_SIGNATURE):
        authenticated(GPU.rim("driver", signing=replace(GENUINE, signature=value)))


@pytest.mark.parametrize("size", [0, 95, 97, 192])
def test_a_signature_of_another_size(size: int) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(GPU.rim("driver", signing=replace(GENUINE, signature=(VALUE * 2)[:size])))


def test_a_signature_in_der() -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(GPU.rim("driver", signing=replace(GENUINE, signature=ecdsa_sig_value(VALUE))))


# N12, N13: what the signature is made of.

EVIL: Final = having("ns0:Meta", attribute("colloquialVersion", "999.99"))(DOCUMENT)
OBJECT: Final = xml.Element("ds:Object", (), (DOCUMENT,))
EMPTY: Final = xml.Element("ds:Object")


@pytest.mark.parametrize(
    "edit",
    [
        last(OBJECT),
        first(OBJECT),
        last(EMPTY),
        last(xml.Element("x", (("xmlns", "urn:example"),))),
        attribute("Id", "s"),
        having("ds:KeyInfo", last(EMPTY)),
        having("ds:KeyInfo", first(xml.Element("ds:KeyValue"))),
        having("ds:KeyInfo", first(xml.Element("ds:KeyName", (), ("x",)))),
        having("ds:KeyInfo", last(xml.Element("ds:X509Data"))),
        having("ds:KeyInfo", content()),
        having("ds:KeyInfo", attribute("Id", "k")),
        having("ds:X509Data", first(xml.Element("ds:X509SubjectName", (), ("x",)))),
        having("ds:X509Data", content()),
        having("ds:X509Data", attribute("Id", "d")),
        having("ds:X509Certificate", attribute("Id", "c")),
        having("ds:X509Certificate", last(EMPTY)),
        having("ds:SignatureValue", attribute("Id", "v")),
        having("ds:SignatureValue", last(EMPTY)),
        lambda element: replace(element, content=element.content[::-1]),
        lambda element: replace(element, content=(element.content[0], *element.content)),
        lambda element: replace(element, content=element.content[:2]),
        lambda element: replace(element, content=element.content[1:]),
        content(),
    ],
    ids=[
        "object-last",
        "object-first",
        "empty-object",
        "other-namespace",
        "id",
        "key-info-object",
        "key-value",
        "key-name",
        "second-x509-data",
        "no-x509-data",
        "key-info-id",
        "subject-name",
        "no-certificate",
        "x509-data-id",
        "certificate-id",
        "element-in-certificate",
        "value-id",
        "element-in-value",
        "reversed",
        "second-signed-info",
        "no-key-info",
        "no-signed-info",
        "empty",
    ],
)
def test_other_forms_of_the_signature(edit: Edit) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(sealed(outer=edit))


@pytest.mark.parametrize(
    "raw",
    [
        RIM.replace(GENUINE_SIGNATURE, b""),
        RIM.replace(GENUINE_SIGNATURE, GENUINE_SIGNATURE * 2),
        RIM.replace(b"</ns0:Payload>", GENUINE_SIGNATURE + b"</ns0:Payload>"),
        RIM.replace(GENUINE_SIGNATURE, b"").replace(b"</ns0:Payload>", GENUINE_SIGNATURE + b"</ns0:Payload>"),
        RIM.replace(b"</ds:X509Data>", b"</ds:X509Data>" + GENUINE_SIGNATURE),
        sealed(outer=last(xml.Element("ds:Object", (), (SIGNATURE.element(EMPTY, b"", ()),)))),
        b'<x xmlns="urn:example">' + RIM + b"</x>",
        GENUINE_SIGNATURE,
        b"<SoftwareIdentity/>",
    ],
    ids=[
        "none",
        "twice",
        "second-in-payload",
        "moved-to-payload",
        "in-key-info",
        "in-object",
        "wrapped",
        "root",
        "unsigned",
    ],
)
def test_one_signature_enveloped_by_the_root(raw: bytes) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(raw)


def enveloped(document: xml.Element) -> bytes:
    """Return a document with the genuine signature in it."""
    return document.write().encode().removesuffix(CLOSING) + GENUINE_SIGNATURE + CLOSING


@pytest.mark.parametrize(
    "document",
    [
        EVIL,
        last(DOCUMENT)(EVIL),
        first(DOCUMENT)(EVIL),
        last(xml.Element("wrapper", (), (DOCUMENT,)))(EVIL),
        last(EVIL)(DOCUMENT),
    ],
    ids=["other", "original-last", "original-first", "original-wrapped", "other-inside"],
)
def test_a_genuine_signature_in_another_document(document: xml.Element) -> None:
    assert authenticated(enveloped(DOCUMENT)) == BASELINE
    with rejected(Reason.GPU_RIM_DIGEST):
        authenticated(enveloped(document))


def test_what_is_read_is_what_was_digested(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if two ways to look at the document had come apart: the tree that was sent says one thing, its canonical form
    # what was signed. That alone may count.
    digest = b64encode(sha384(EVIL.canonical().encode()).digest())
    sent = enveloped(EVIL).replace(DIGEST, digest)
    forms = {node.tag: xmldsig._canonical(node) for node in xmldsig._parse(RIM).iter(f"{{{XMLDSIG}}}SignedInfo")}
    forms[BASELINE.root.name] = DOCUMENT.canonical().encode()
    assert sent.replace(digest, DIGEST) == enveloped(EVIL) != sent
    monkeypatch.setattr(xmldsig, "_canonical", lambda node: forms[node.tag])
    assert authenticated(sent) == BASELINE


# N13: what SignedInfo asks for. All of these are signed by the genuine signer.

REFERENCE: Final = SIGNATURE.signed_info(sha384(DOCUMENT.canonical().encode()).digest()).content[2]
XPATH: Final = xml.Element("ds:XPath", (), ("not(ancestor-or-self::ns0:Meta)",))
XSLT: Final = "http://www.w3.org/TR/1999/REC-xslt-19991116"


@pytest.mark.parametrize(
    "signature",
    [
        replace(SIGNATURE, canonicalization="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"),
        replace(SIGNATURE, canonicalization=f"{C14N11}#WithComments"),
        replace(SIGNATURE, canonicalization="http://www.w3.org/2001/10/xml-exc-c14n#"),
        replace(SIGNATURE, canonicalization=""),
        replace(SIGNATURE, method="http://www.w3.org/2001/04/xmldsig-more#hmac-sha384"),
        replace(SIGNATURE, method="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"),
        replace(SIGNATURE, method="http://www.w3.org/2001/04/xmldsig-more#rsa-sha384"),
        replace(SIGNATURE, method="http://www.w3.org/2000/09/xmldsig#dsa-sha1"),
        replace(SIGNATURE, uri="#x"),
        replace(SIGNATURE, uri="http://example.invalid/rim"),
        replace(SIGNATURE, uri="#xpointer(/)"),
        replace(SIGNATURE, transforms=()),
        replace(SIGNATURE, transforms=(ENVELOPED,)),
        replace(SIGNATURE, transforms=(C14N11,)),
        replace(SIGNATURE, transforms=(C14N11, ENVELOPED)),
        replace(SIGNATURE, transforms=(ENVELOPED, C14N11, C14N11)),
        replace(SIGNATURE, transforms=(ENVELOPED, f"{C14N11}#WithComments")),
        replace(SIGNATURE, transforms=(ENVELOPED, XSLT)),
        replace(SIGNATURE, transforms=(ENVELOPED, "http://www.w3.org/TR/1999/REC-xpath-19991116", C14N11)),
        replace(SIGNATURE, transforms=(ENVELOPED, "http://www.w3.org/2000/09/xmldsig#base64")),
        replace(SIGNATURE, digest_method="http://www.w3.org/2001/04/xmlenc#sha256"),
        replace(SIGNATURE, digest_method="http://www.w3.org/2000/09/xmldsig#sha1"),
        replace(SIGNATURE, digest=b""),
        replace(SIGNATURE, digest=sha384(DOCUMENT.canonical().encode()).digest()[:47]),
        replace(SIGNATURE, digest=sha384(DOCUMENT.canonical().encode()).digest() + b"\0"),
    ],
    ids=str,
)
def test_other_algorithms(signature: XmlSignature) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(sealed(signature=signature))


@pytest.mark.parametrize(
    "edit",
    [
        last(REFERENCE),
        first(REFERENCE),
        having("ds:Reference", attribute("Id", "r")),
        having("ds:Reference", attribute("Type", f"{XMLDSIG}Object")),
        having("ds:Reference", attribute("URI", None)),
        having("ds:SignatureMethod", last(xml.Element("ds:HMACOutputLength", (), ("8",)))),
        having("ds:DigestMethod", last(xml.Element("ds:DigestLength", (), ("8",)))),
        having("ds:Transform", last(XPATH)),
        having("ds:Transforms", attribute("x", "y")),
        having("ds:Transforms", last(xml.Element("ds:Transform"))),
        having("ds:DigestValue", attribute("Id", "v")),
        having("ds:DigestValue", content()),
        having("ds:DigestValue", last(EMPTY)),
        having("ds:CanonicalizationMethod", last(xml.Element("ds:InclusiveNamespaces"))),
        attribute("Id", "i"),
        content(),
        lambda info: replace(info, content=info.content[:2]),
        lambda info: replace(info, content=info.content[::-1]),
    ],
    ids=[
        "reference-last",
        "reference-first",
        "reference-id",
        "reference-type",
        "no-uri",
        "hmac-length",
        "digest-length",
        "xpath",
        "transforms-attribute",
        "transform",
        "digest-id",
        "no-digest",
        "element-in-digest",
        "inclusive-namespaces",
        "id",
        "empty",
        "no-reference",
        "reversed",
    ],
)
def test_other_forms_of_signed_info(edit: Edit) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(sealed(info=edit))


def test_an_hmac_with_the_public_key() -> None:
    forged = replace(SIGNATURE, method="http://www.w3.org/2001/04/xmldsig-more#hmac-sha384")
    mac = hmac.digest(spki(VENDOR.rim_signer.key), EVIL.canonical().encode(), "sha384")
    for value in (mac, mac * 2):
        with rejected(Reason.GPU_RIM_MALFORMED, Reason.GPU_RIM_SIGNATURE):
            authenticated(
                sealed(EVIL, signature=forged, outer=having("ds:SignatureValue", content(b64encode(value).decode())))
            )


def test_text_in_signed_info_is_signed_and_not_read() -> None:
    assert authenticated(sealed(info=having("ds:Transforms", first("x")))) == BASELINE


# N15: whose key it is.


def test_a_key_that_is_not_the_certificates() -> None:
    with rejected(Reason.GPU_RIM_SIGNATURE):
        authenticated(sealed(EVIL, key=ATTACKER))


def test_a_key_value_is_never_taken() -> None:
    point = xml.Element("dsig11:PublicKey", (), (b64encode(spki(ATTACKER)).decode(),))
    curve = xml.Element("dsig11:ECKeyValue", (("xmlns:dsig11", "http://www.w3.org/2009/xmldsig11#"),), (point,))
    signature = replace(SIGNATURE, key_info=(xml.Element("ds:KeyValue", (), (curve,)),))
    for key in (ATTACKER, VENDOR.rim_signer.key):
        with rejected(Reason.GPU_RIM_MALFORMED):
            authenticated(sealed(EVIL, signature=signature, key=key))


def attacker() -> NvidiaVendor:
    """Return a vendor whose certificates have the same names, all with keys of its own."""
    return NvidiaVendor.of("HOPPER", seed="attacker")


SIGNER, L3, CA, ROOT = VENDOR.rim_chain


@pytest.mark.parametrize(
    ("chain", "key", "reason"),
    [
        ((attacker().rim_signer.der, L3, CA, ROOT), attacker().rim_signer.key, Reason.GPU_RIM_CHAIN),
        (attacker().rim_chain, attacker().rim_signer.key, Reason.GPU_RIM_UNTRUSTED_ROOT),
        (attacker().rim_chain[:3], attacker().rim_signer.key, Reason.GPU_RIM_CHAIN),
        ((attacker().rim_signer.der, SIGNER, L3, CA, ROOT), attacker().rim_signer.key, Reason.GPU_RIM_CHAIN),
        ((SIGNER, attacker().rim_signer.der, L3, CA, ROOT), attacker().rim_signer.key, Reason.GPU_RIM_CHAIN),
        ((SIGNER, CA, L3, ROOT), VENDOR.rim_signer.key, Reason.GPU_RIM_CHAIN),
        ((ROOT, CA, L3, SIGNER), VENDOR.rim_signer.key, Reason.GPU_RIM_UNTRUSTED_ROOT),
        ((SIGNER, CA, ROOT), VENDOR.rim_signer.key, Reason.GPU_RIM_CHAIN),
        ((SIGNER,), VENDOR.rim_signer.key, Reason.GPU_RIM_UNTRUSTED_ROOT),
        ((L3, CA, ROOT), VENDOR.rim_l3.key, Reason.GPU_RIM_CHAIN),
        ((ROOT,), VENDOR.rim_root.key, Reason.GPU_RIM_CHAIN),
        (GPU.chain, GPU.ak.key, Reason.GPU_RIM_UNTRUSTED_ROOT),
        ((SIGNER[:-1], L3, CA, ROOT), VENDOR.rim_signer.key, Reason.GPU_RIM_CHAIN),
        ((SIGNER + b"\0", L3, CA, ROOT), VENDOR.rim_signer.key, Reason.GPU_RIM_CHAIN),
        ((b"", L3, CA, ROOT), VENDOR.rim_signer.key, Reason.GPU_RIM_CHAIN),
        ((SIGNER, *[L3] * MAX_CERTIFICATES), VENDOR.rim_signer.key, Reason.GPU_RIM_MALFORMED),
        ((SIGNER, *[L3] * (MAX_CERTIFICATES - 1)), VENDOR.rim_signer.key, Reason.GPU_RIM_UNTRUSTED_ROOT),
    ],
    ids=[
        "same-name",
        "other-root",
        "other-cas",
        "attacker-first",
        "attacker-second",
        "order",
        "reversed",
        "gap",
        "signer-alone",
        "ca-as-signer",
        "root-alone",
        "device",
        "cut",
        "trailing",
        "no-der",
        "too-many",
        "most",
    ],
)
def test_other_chains(chain: tuple[bytes, ...], key: EllipticCurvePrivateKey, reason: Reason) -> None:
    with rejected(reason):
        authenticated(sealed(chain=chain, key=key))


def test_the_root_may_be_left_out() -> None:
    assert authenticated(sealed(chain=(SIGNER, L3, CA))) == BASELINE


def test_only_the_root_for_rims_is_taken() -> None:
    # A device's key signs reports; that its chain ends in a pinned root of NVIDIA's does not make it a signer of RIMs.
    device_only = TrustAnchors.load([VENDOR.root.der])
    with rejected(Reason.GPU_RIM_UNTRUSTED_ROOT):
        authenticate_document(RIM, device_only, AT)


def signed_by(edit: Callable[[NvidiaVendor], NvidiaVendor]) -> bytes:
    vendor = edit(VENDOR)
    return sealed(chain=vendor.rim_chain, key=vendor.rim_signer.key)


def test_certificates_for_another_use() -> None:
    responder = VENDOR.issue_responder("rim_l3")
    with rejected(Reason.GPU_RIM_CHAIN):
        authenticated(sealed(chain=(responder.der, L3, CA, ROOT), key=responder.key))
    for uses in (("key_agreement",), ("digital_signature", "key_agreement"), ()):
        with rejected(Reason.GPU_RIM_CHAIN):
            authenticated(signed_by(lambda v: v.reissue("rim_signer", lambda f: f.having(key_usage(*uses)))))  # noqa: B023
    with rejected(Reason.GPU_RIM_CHAIN):
        authenticated(signed_by(lambda v: v.reissue("rim_signer", lambda f: f.without("2.5.29.15"))))
    with rejected(Reason.GPU_RIM_CHAIN):
        authenticated(signed_by(lambda v: v.reissue("rim_signer", lambda f: f.having(basic_constraints(ca=True)))))


def test_a_signer_with_a_key_on_another_curve() -> None:
    key = p256_key("tests", "signer")
    vendor = VENDOR.reissue("rim_signer", key=key)
    assert vendor.rim_signer.form.signature_algorithm == ECDSA_WITH_SHA384
    with rejected(Reason.GPU_RIM_CHAIN):
        authenticated(sealed(chain=vendor.rim_chain, key=VENDOR.rim_signer.key))


# N17: when it is good.


@pytest.mark.parametrize("role", ["rim_signer", "rim_l3", "rim_ca"])
def test_each_certificate_has_its_time(role: NvidiaRole) -> None:
    raw = signed_by(lambda v: v.reissue(role, lambda f: replace(f, not_before=AT - SECOND, not_after=AT + SECOND)))
    assert authenticated(raw, AT - SECOND).root == authenticated(raw, AT + SECOND).root == BASELINE.root
    with rejected(Reason.GPU_RIM_EXPIRED):
        authenticated(raw, AT + 2 * SECOND)
    with rejected(Reason.GPU_RIM_NOT_YET_VALID):
        authenticated(raw, AT - 2 * SECOND)


def test_a_time_without_a_zone() -> None:
    with pytest.raises(TypeError, match="without a zone"):
        authenticated(RIM, AT.replace(tzinfo=None))


# N14, N16: what a parser could be made to see or to do.

ENTITIES: Final = b"".join(b'<!ENTITY l%d "%b">' % (n + 1, b"&l%d;" % n * 10) for n in range(10))


@pytest.mark.parametrize(
    "prolog",
    [
        b"<!DOCTYPE SoftwareIdentity>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]>',
        b'<!DOCTYPE x [<!ENTITY l0 "lol">' + ENTITIES + b"]>",
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">',
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        b'<!DOCTYPE x [<!ENTITY % p SYSTEM "http://example.invalid/x.dtd"> %p;]>',
        b'<!DOCTYPE x [<!ATTLIST x y CDATA "z">]>',
        b"<?xml version='1.0'?>\n<!DOCTYPE x>",
    ],
)
def test_document_types(prolog: bytes) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(prolog + RIM)


def test_a_document_type_is_refused_before_anything_is_parsed() -> None:
    # Not well-formed either, but it is not the parser that says so.
    with pytest.raises(EndorsementRejected, match="document type declaration"):
        authenticated(b'<!DOCTYPE x [<!ENTITY l0 "lol">' + ENTITIES + b"]><x>&l10;")


@pytest.mark.parametrize(
    "edit",
    [
        swap(b"</ns0:Payload>", b"&x;</ns0:Payload>"),
        swap(b'product="GH100"', b'product="&x;"'),
        swap(b"</ns0:Payload>", b"&#0;</ns0:Payload>"),
        swap(b"</ns0:Payload>", b"<!-- -->\n    </ns0:Payload>"),
        swap(b"<ds:SignatureValue>", b"<ds:SignatureValue><!-- -->"),
        swap(b"<ds:DigestValue>", b"<ds:DigestValue><!-- -->"),
        swap(b"<ds:X509Certificate>", b"<ds:X509Certificate><!-- -->"),
        swap(b"<ds:SignedInfo>", b"<ds:SignedInfo><!-- -->"),
        lambda raw: b"<!-- -->" + raw,
        lambda raw: raw + b"<!-- -->",
        swap(b"</ns0:Payload>", b"<?x y?></ns0:Payload>"),
        swap(b"<ds:SignatureValue>", b"<ds:SignatureValue><?x y?>"),
        lambda raw: b"<?xml-stylesheet href='x'?>" + raw,
        lambda raw: b"<?x y?>" + raw,
        lambda raw: raw + b"<?x y?>",
        swap(b"<ns0:Payload ", b'<ns0:Payload xml:base="http://example.invalid/" '),
        swap(b"<ds:Signature ", b'<ds:Signature xml:lang="en" '),
        swap(b"<SoftwareIdentity ", b'<SoftwareIdentity xml:id="x" '),
        swap(b"<SoftwareIdentity ", b'<SoftwareIdentity xml:space="preserve" '),
    ],
    ids=[
        "entity",
        "entity-in-attribute",
        "nul-reference",
        "comment-in-payload",
        "comment-in-value",
        "comment-in-digest",
        "comment-in-certificate",
        "comment-in-signed-info",
        "comment-before",
        "comment-behind",
        "instruction-in-payload",
        "instruction-in-value",
        "stylesheet",
        "instruction-before",
        "instruction-behind",
        "xml-base",
        "xml-lang",
        "xml-id",
        "xml-space",
    ],
)
def test_nodes_that_a_rim_does_not_have(edit: Callable[[bytes], bytes]) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(edit(RIM))


@pytest.mark.parametrize(
    "document", [attribute("xml:base", "urn:example")(DOCUMENT), attribute("xml:id", "x")(DOCUMENT)]
)
def test_what_two_versions_of_canonical_xml_would_inherit_differently(document: xml.Element) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(sealed(document))


@pytest.mark.parametrize(
    "raw",
    [
        RIM.decode().encode("utf-16"),
        RIM.decode().encode("utf-16-le"),
        RIM.decode().encode("utf-16-be"),
        f"<?xml version='1.0'?>{RIM.decode()}".encode("utf-16-le"),
        f"<?xml version='1.0'?>{RIM.decode()}".encode("utf-16-be"),
        f"<?xml version='1.0'?><!DOCTYPE x>{RIM.decode()}".encode("utf-16-le"),
        RIM.decode().encode("utf-32"),
        RIM.decode().encode("utf-7"),
        b"<?xml version='1.0' encoding='UTF-7'?>" + RIM.decode().encode("utf-7"),
        b"<?xml version='1.0' encoding='UTF-7'?>+ADw-+ACE-DOCTYPE x+AD4-" + RIM,
        b"<?xml version='1.0' encoding='UTF-16'?>" + RIM,
        b"<?xml version='1.0' encoding='ISO-8859-1'?>" + RIM,
        b"<?xml version='1.0' encoding='UTF-8' encoding='UTF-7'?>" + RIM,
        b"<?xml version='1.1'?>" + RIM,
        b"<?xml version='1.0' encoding=''?>" + RIM,
        b"<?xml encoding='UTF-8'?>" + RIM,
        b"\xef\xbb\xbf" + RIM,
        RIM.replace(b"Measurement_0", b"Measurement_\xff"),
        RIM.replace(b"Measurement_0", b"Measurement_\xc0\xaf"),
        RIM + b"\0",
        b"\n" + RIM,
    ],
    ids=[
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "utf-16-le-declared",
        "utf-16-be-declared",
        "utf-16-document-type",
        "utf-32",
        "utf-7",
        "utf-7-named",
        "utf-7-document-type",
        "utf-16-named",
        "latin-1",
        "two-encodings",
        "version",
        "empty-encoding",
        "no-version",
        "byte-order-mark",
        "no-utf-8",
        "overlong",
        "nul",
        "space-before",
    ],
)
def test_other_encodings(raw: bytes) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(raw)


def nested(depth: int) -> xml.Element:
    """Return a document of that many levels."""
    element = xml.Element("x")
    for _ in range(depth - 2):
        element = xml.Element("x", (), (element,))
    return last(element)(DOCUMENT)


def test_depth() -> None:
    assert len(authenticated(sealed(nested(MAX_DEPTH))).root.children) == 4
    for depth in (MAX_DEPTH + 1, 100):
        with rejected(Reason.GPU_RIM_MALFORMED):
            authenticated(sealed(nested(depth)))


@pytest.mark.parametrize("depth", [256, 300, 30_000])
def test_depth_is_refused_without_recursion(depth: int) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(b"<x>" * depth + b"</x>" * depth)


def test_size() -> None:
    filler = MAX_DOCUMENT_SIZE - len(sealed(last("")(DOCUMENT)))
    raw = sealed(last("x" * filler)(DOCUMENT))
    assert len(raw) == MAX_DOCUMENT_SIZE
    assert authenticated(raw).root == BASELINE.root
    # Well-formed or not, and whatever stands in it.
    for large in (raw + b"\n", b"x" * (MAX_DOCUMENT_SIZE + 1), bytes(50 * 1024 * 1024)):
        with rejected(Reason.GPU_RIM_MALFORMED):
            authenticated(large)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<",
        b"{}",
        RIM[:-12],
        RIM + b"x",
        RIM + RIM,
        RIM.replace(b' name="GH100"', b' name="GH100" name="GB100"'),
        RIM.replace(b'xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384" ', b""),
        RIM.replace(b"<ns0:Meta", b"<Meta>"),
    ],
    ids=["empty", "bracket", "json", "cut", "trailing", "twice", "doubled-attribute", "unbound-prefix", "unclosed"],
)
def test_what_is_not_well_formed(raw: bytes) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(raw)


# Base64: white space is of the encoding, everything else is not.


def in_base64(name: str, edit: Callable[[str], str]) -> bytes:
    def rewritten(element: xml.Element) -> xml.Element:
        return replace(
            element, content=tuple(edit(part) if isinstance(part, str) else part for part in element.content)
        )

    if name == "ds:DigestValue":
        return sealed(info=having(name, rewritten))
    return sealed(outer=having(name, rewritten))


VALUES: Final = ["ds:DigestValue", "ds:SignatureValue", "ds:X509Certificate"]


@pytest.mark.parametrize("name", VALUES)
def test_white_space_in_base64(name: str) -> None:
    assert authenticated(in_base64(name, lambda text: f"\n {text[:7]}\t\r\n{text[7:]} ")) == BASELINE


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize(
    "edit",
    [
        lambda text: "",
        lambda text: " ",
        lambda text: text[:7] + "\u00a0" + text[7:],
        lambda text: text[:7] + "\u2028" + text[7:],
        lambda text: text[:7] + "-" + text[8:],
        lambda text: text[:7] + "\u0410" + text[8:],
        lambda text: text.rstrip() + "=",
        lambda text: text.rstrip() + "====",
        lambda text: text + "AAAA",
        lambda text: text[1:],
        lambda text: "=" + text,
    ],
    ids=[
        "empty",
        "space",
        "no-break-space",
        "line-separator",
        "url",
        "cyrillic",
        "padding",
        "paddings",
        "more",
        "less",
        "padding-first",
    ],
)
def test_what_is_not_base64(name: str, edit: Callable[[str], str]) -> None:
    # A certificate with bytes behind it is in base64 and is no certificate.
    with rejected(Reason.GPU_RIM_MALFORMED, Reason.GPU_RIM_CHAIN):
        authenticated(in_base64(name, edit))
