"""RIMs of a simulated vendor, sealed after any edit of the document, of SignedInfo or of the signature around it."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha384
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from attestd.simulator.gpu_attester import GpuAttester
from attestd.simulator.keys import p384_key, sign_p384
from attestd.simulator.nvidia import NvidiaVendor
from attestd.simulator.rim import SIGNATURE, RimForm, XmlSignature, canonical_signed_info, same_element
from attestd.simulator.xmltree import Attribute, Element
from attestd.x509 import TrustAnchors

GPU: Final = GpuAttester.of(NvidiaVendor.of("HOPPER"))
VENDOR: Final = GPU.vendor
ANCHORS: Final = TrustAnchors.load([VENDOR.rim_root.der, VENDOR.root.der])
DOCUMENT: Final = RimForm.of(GPU.gpu, "driver").element()
RIM: Final = GPU.rim("driver")
ATTACKER: Final = p384_key("tests", "attacker")

Edit = Callable[[Element], Element]


def sealed(
    document: Element = DOCUMENT,
    *,
    info: Edit = same_element,
    outer: Edit = same_element,
    signature: XmlSignature = SIGNATURE,
    chain: tuple[bytes, ...] = VENDOR.rim_chain,
    key: EllipticCurvePrivateKey = VENDOR.rim_signer.key,
    at: int | None = None,
) -> bytes:
    """Seal a document: `info` edits SignedInfo before it is signed, `outer` the finished signature.

    The signature stands before the child number `at`, or last.
    """
    signed_info = info(signature.signed_info(sha384(document.canonical().encode()).digest()))
    value = sign_p384(key, canonical_signed_info(signed_info, document))
    element = outer(signature.element(signed_info, value, chain))
    place = len(document.content) if at is None else at
    return replace(document, content=(*document.content[:place], element, *document.content[place:])).write().encode()


def having(name: str, edit: Edit) -> Edit:
    """Return an edit of every element of that name, at any depth."""

    def walk(element: Element) -> Element:
        content = tuple(part if isinstance(part, str) else walk(part) for part in element.content)
        element = replace(element, content=content)
        return edit(element) if element.name == name else element

    return walk


def attribute(name: str, value: str | None) -> Edit:
    """Return an edit that sets an attribute, or takes it away."""

    def edit(element: Element) -> Element:
        others: tuple[Attribute, ...] = tuple(one for one in element.attributes if one[0] != name)
        return replace(element, attributes=others if value is None else (*others, (name, value)))

    return edit


def content(*parts: Element | str) -> Edit:
    """Return an edit that replaces what stands in an element."""
    return lambda element: replace(element, content=parts)


def first(part: Element | str) -> Edit:
    """Return an edit that puts `part` in front of what stands in an element."""
    return lambda element: replace(element, content=(part, *element.content))


def last(part: Element | str) -> Edit:
    """Return an edit that puts `part` behind what stands in an element."""
    return lambda element: replace(element, content=(*element.content, part))
