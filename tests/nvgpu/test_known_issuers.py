"""The CAs of a RIM that was authenticated issue signers of others as well, and are not verified once more."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from cryptography import x509
from OpenSSL import crypto

from attestd.errors import Reason
from attestd.nvgpu.collateral import collect
from attestd.nvgpu.rim import Rim, authenticate_rim
from attestd.simulator import AT, Extension, GpuAttester, NvidiaVendor, Signing, basic_constraints, p384_key
from attestd.simulator.certificates import CertificateForm, distinguished_name
from attestd.simulator.nvidia import NvidiaRole
from attestd.x509 import TrustAnchors
from tests.nvgpu.rims import ANCHORS, GPU, VENDOR
from tests.refusals import rejected

SECOND: Final = timedelta(seconds=1)
DAY: Final = timedelta(days=1)
KNOWN: Final = authenticate_rim(GPU.rim("driver"), ANCHORS, AT)

Edit = Callable[[CertificateForm], CertificateForm]


def vbios_rim(vendor: NvidiaVendor = VENDOR) -> bytes:
    return GpuAttester.of(vendor).rim("vbios")


def reissued(role: NvidiaRole, edit: Edit, vendor: NvidiaVendor = VENDOR, **signing: Any) -> NvidiaVendor:
    return vendor.reissue(role, edit, signing=Signing(**signing))


def authenticated(vendor: NvidiaVendor, known: Rim | None = KNOWN, at: datetime = AT) -> Rim:
    return authenticate_rim(vbios_rim(vendor), ANCHORS, at, known)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many CAs OpenSSL was given beside each target and what it was to trust."""
    numbers: list[int] = []

    class Listening(crypto.X509StoreContext):
        def __init__(self, store: Any, certificate: Any, chain: Any) -> None:
            numbers.append(len(chain))
            super().__init__(store, certificate, chain)

    monkeypatch.setattr(crypto, "X509StoreContext", Listening)
    return numbers


def test_issuers_are_verified_once(verified: list[int]) -> None:
    plain = authenticated(VENDOR, None)
    assert authenticated(VENDOR) == plain
    assert verified == [2, 0]
    assert [one.der for one in plain.chain] == list(VENDOR.rim_chain)


def test_a_pile_of_rims(verified: list[int]) -> None:
    rims: dict[str, bytes] = {kind: GPU.rim(kind) for kind in GPU.rim_kinds}
    assert len(collect(rims, ANCHORS, AT).endorsements.manifests) == len(verified) == 2
    assert verified == [2, 0]


@pytest.mark.parametrize("known", [None, KNOWN])
@pytest.mark.parametrize(
    ("edit", "signing", "reason"),
    [
        (lambda form: form, {"key": p384_key("tests", "attacker")}, Reason.GPU_RIM_CHAIN),
        (lambda form: replace(form, issuer=VENDOR.rim_ca.form.subject), {}, Reason.GPU_RIM_CHAIN),
        (lambda form: form.having(basic_constraints(ca=True)), {}, Reason.GPU_RIM_CHAIN),
        (lambda form: form.having(Extension("1.2.3.4", b"\5\0", critical=True)), {}, Reason.GPU_RIM_CHAIN),
        (lambda form: replace(form, not_after=AT - SECOND), {}, Reason.GPU_RIM_EXPIRED),
        (lambda form: replace(form, not_before=AT + SECOND), {}, Reason.GPU_RIM_NOT_YET_VALID),
    ],
)
def test_the_signer_is_verified_all_the_same(known: Rim | None, edit: Edit, signing: Any, reason: Reason) -> None:
    with rejected(reason):
        authenticated(reissued("rim_signer", edit, **signing), known)


@pytest.mark.parametrize("role", ["rim_l3", "rim_ca"])
def test_other_issuers_are_verified(verified: list[int], role: NvidiaRole) -> None:
    """The same key certified again is another statement."""
    again = reissued(role, lambda form: replace(form, not_after=form.not_after - DAY))
    assert authenticated(again).validity.not_after <= VENDOR.authority(role).form.not_after - DAY
    assert verified == [2]
    for edit, reason in (
        (lambda form: replace(form, not_after=AT - SECOND), Reason.GPU_RIM_EXPIRED),
        (lambda form: form.having(basic_constraints(ca=False)), Reason.GPU_RIM_CHAIN),
    ):
        with rejected(reason):
            authenticated(reissued(role, edit))
    with rejected(Reason.GPU_RIM_CHAIN):
        authenticated(reissued(role, lambda form: form, key=p384_key("tests", "attacker")))


@pytest.mark.parametrize("role", ["rim_l3", "rim_ca"])
def test_issuers_outside_of_their_window(verified: list[int], role: NvidiaRole) -> None:
    short = reissued(role, lambda form: replace(form, not_before=AT - SECOND, not_after=AT + SECOND))
    known = authenticate_rim(GpuAttester.of(short).rim("driver"), ANCHORS, AT)
    verified.clear()
    for at in (AT - SECOND, AT + SECOND):
        authenticated(short, known, at)
    assert verified == [0, 0]
    with rejected(Reason.GPU_RIM_EXPIRED):
        authenticated(short, known, AT + 2 * SECOND)
    with rejected(Reason.GPU_RIM_NOT_YET_VALID):
        authenticated(short, known, AT - 2 * SECOND)


def test_issuers_that_nobody_trusts_any_more() -> None:
    """A root that is no anchor leads nowhere, whenever it was one."""
    mallory = NvidiaVendor.of(seed="mallory")
    theirs = TrustAnchors.load([mallory.rim_root.der])
    known = authenticate_rim(GpuAttester.of(mallory).rim("driver"), theirs, AT)
    with rejected(Reason.GPU_RIM_UNTRUSTED_ROOT):
        authenticated(mallory, known)
    # Nor does knowing them help another chain.
    assert authenticated(VENDOR, known) == authenticated(VENDOR, None)


def constraining(state: str) -> NvidiaVendor:
    """Return the vendor whose CA above the issuer of signers wants no name of that state."""
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "ZZ"),
            x509.NameAttribute(x509.NameOID.STATE_OR_PROVINCE_NAME, state),
        ]
    )
    constraints = x509.NameConstraints(permitted_subtrees=None, excluded_subtrees=[x509.DirectoryName(name)])
    return reissued("rim_ca", lambda form: form.having(Extension.of(constraints, critical=True)))


def test_names_that_a_ca_constrains_are_compared_with_those_of_each_target(verified: list[int]) -> None:
    vendor = constraining("Elsewhere")
    known = authenticate_rim(GpuAttester.of(vendor).rim("driver"), ANCHORS, AT)
    assert authenticated(vendor, known).chain == known.chain
    assert verified == [2, 2]
    subject = distinguished_name(
        country_name="ZZ", state_or_province_name="Elsewhere", organization_name="x", common_name="Another L4 signer"
    )
    with rejected(Reason.GPU_RIM_CHAIN):
        authenticated(reissued("rim_signer", lambda form: replace(form, subject=subject), vendor), known)
