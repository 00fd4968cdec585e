"""Whatever the bytes are: a refusal of attestd's own, or a value. No other exception leaves a parser or a verifier."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from attestd.errors import AttestdError, EndorsementRejected, Malformed, NotAuthentic
from attestd.simulator import AT, SGX_EXTENSION, Attester, CrlForm, Extension, Platform, Revoked, TdReport15Ex, pem
from attestd.tdx.collateral import authenticate_collateral
from attestd.tdx.pck import authenticate_pck_chain
from attestd.tdx.quote import INTEL_QE_VENDOR_ID, Quote, parse_quote
from tests.tdx.baseline import (
    ANCHORS,
    ATTESTER,
    COLLATERAL,
    QUOTE,
    SGX_QUOTE,
    VENDOR,
    quote,
    verified,
)

QUOTES = st.sampled_from([QUOTE, SGX_QUOTE, quote(TdReport15Ex())])


@st.composite
def mutated(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Cut out, replace or insert a few bytes, a few times."""
    raw = draw(originals)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        stop = draw(st.integers(start, min(start + 8, len(raw))))
        raw = raw[:start] + draw(st.binary(max_size=8)) + raw[stop:]
    return raw


@given(st.binary(max_size=2048) | st.binary(max_size=700).map(lambda tail: QUOTE[:48] + tail) | mutated(QUOTES))
@example(b"")
@settings(max_examples=1000)
def test_parse_quote(raw: bytes) -> None:
    try:
        parsed = parse_quote(raw)
    except Malformed:
        return
    assert isinstance(parsed, Quote)
    # What was parsed is what was there.
    assert raw.startswith(parsed.signed)
    assert raw.endswith(parsed.trailing)
    assert parsed.evidence_id == parse_quote(raw + b"\0").evidence_id


FRAMINGS = st.fixed_dictionaries(
    {},
    optional={
        "version": st.sampled_from([3, 4, 5]),
        "attestation_key_type": st.integers(0, 65535),
        "tee_type": st.sampled_from([0, 0x81, 1]),
        "header_reserved": st.binary(min_size=4, max_size=4),
        "qe_vendor_id": st.binary(min_size=16, max_size=16),
        "user_data": st.binary(min_size=20, max_size=20),
        "body_type": st.integers(0, 5),
        "body_size": st.integers(0, 2**32 - 1),
        "signature_data_size": st.integers(0, 6000) | st.integers(0, 2**32 - 1),
        "attestation_public_key": st.binary(min_size=64, max_size=64),
        "qe_report_data": st.binary(min_size=64, max_size=64),
        "auth_data": st.binary(max_size=64),
        "auth_data_size": st.integers(0, 65535),
        "outer_type": st.integers(0, 65535),
        "outer_size": st.integers(0, 2**32 - 1),
        "cert_type": st.integers(0, 65535),
        "cert_data": mutated(st.just(pem(*ATTESTER.pck_chain))),
        "cert_size": st.integers(0, 2**32 - 1),
        "trailing": st.binary(max_size=64),
    },
)


@given(FRAMINGS)
@settings(max_examples=400)
def test_verification_of_any_framing(framing: dict[str, Any]) -> None:
    try:
        claims = verified(quote(**framing))
    except AttestdError:
        return
    # Only what is not authenticated, what a signer vouches for, or what says the same may have been written otherwise.
    free = {"version", "header_reserved", "user_data", "auth_data", "trailing"}
    if framing.get("version") != 5:
        free |= {"body_type", "body_size"}  # members of version 5 alone
    assert framing.keys() <= free | {name for name in SAME if framing.get(name) == SAME[name]}
    assert claims.tcb == verified().tcb


SAME = {
    "attestation_key_type": 2,
    "tee_type": 0x81,
    "qe_vendor_id": INTEL_QE_VENDOR_ID,
    "body_type": 2,
    "body_size": 584,
    "cert_type": 5,
    "outer_type": 6,
    "auth_data_size": 32,
    "cert_data": pem(*ATTESTER.pck_chain),
}


@given(mutated(QUOTES))
@settings(max_examples=400)
def test_verification_of_mutants(raw: bytes) -> None:
    with suppress(AttestdError):
        verified(raw)


CHAINS = st.just(pem(*ATTESTER.pck_chain))


@st.composite
def mutated_ders(draw: st.DrawFn) -> bytes:
    """Mutate one certificate and write it in PEM as it should be."""
    chain = list(ATTESTER.pck_chain)
    place = draw(st.integers(0, 2))
    chain[place] = draw(mutated(st.just(chain[place])))
    return pem(*chain)


@given(
    st.binary(max_size=512)
    | mutated(CHAINS)
    | mutated_ders()
    | st.lists(st.binary(max_size=64)).map(lambda ders: pem(*ders))
)
@example(b"")
@settings(max_examples=1000)
def test_authenticate_pck_chain(raw: bytes) -> None:
    with suppress(Malformed, NotAuthentic):
        assert authenticate_pck_chain(raw, ANCHORS, AT).root == ANCHORS.roots[0]


GENUINE_EXTENSION = next(one.value for one in ATTESTER.pck.form.extensions if one.oid == SGX_EXTENSION)


@given(st.binary(max_size=256) | mutated(st.just(GENUINE_EXTENSION)))
@settings(max_examples=400)
def test_any_sgx_extension(extension: bytes) -> None:
    attester = Attester.of(VENDOR, Platform(sgx_extension=extension))
    with suppress(NotAuthentic):
        claims = authenticate_pck_chain(pem(*attester.pck_chain), ANCHORS, AT).claims
        assert (len(claims.fmspc), len(claims.pce_id), len(claims.tcb_components), len(claims.ppid)) == (6, 2, 16, 16)


@given(st.sampled_from(list(asdict(COLLATERAL))), st.data())
@settings(max_examples=1000)
def test_authenticate_collateral(name: str, data: st.DataObject) -> None:
    original: bytes = getattr(COLLATERAL, name)
    document = data.draw(st.binary(max_size=512) | mutated(st.just(original)))
    with suppress(EndorsementRejected):
        authenticate_collateral(replace(COLLATERAL, **{name: document}), ANCHORS, AT)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any) -> list[Callable[[Any], None]]:
    """Return a way to overwrite each value within a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ways: list[Callable[[Any], None]] = []
    for key, inner in items:
        ways += [partial(value.__setitem__, key), *places(inner)]
    return ways


@given(st.sampled_from(["tcb_info", "qe_identity"]), st.data())
@settings(max_examples=600)
def test_any_value_in_a_signed_document(name: str, data: st.DataObject) -> None:
    def edit(document: dict[str, Any]) -> None:
        data.draw(st.sampled_from(places(document)))(data.draw(JSON))

    raw = replace(COLLATERAL, **{name: getattr(VENDOR, name)(edit)})
    with suppress(AttestdError):
        verified(QUOTE, raw)


EXTENSIONS = st.lists(
    st.builds(
        Extension,
        st.sampled_from(["2.5.29.20", "2.5.29.35", "2.5.29.28", "2.5.29.27", "2.5.29.29", "2.5.29.21", "1.2.3.4"]),
        st.binary(max_size=16),
        st.booleans(),
    ),
    max_size=3,
)


@given(EXTENSIONS, EXTENSIONS, st.binary(min_size=1, max_size=24))
@settings(max_examples=400)
def test_any_extension_of_a_signed_crl(of_list: list[Extension], of_entry: list[Extension], serial: bytes) -> None:
    def edit(form: CrlForm) -> CrlForm:
        return replace(form, extensions=(*form.extensions, *of_list))

    entry = Revoked(serial, extensions=tuple(of_entry))
    raw = replace(COLLATERAL, pck_crl=VENDOR.pck_crl([entry], edit=edit))
    with suppress(EndorsementRejected):
        authenticate_collateral(raw, ANCHORS, AT)


@given(EXTENSIONS, st.integers(-(2**160), 2**161), st.integers(1, 5))
@settings(max_examples=400)
def test_any_extension_of_a_signed_certificate(extensions: list[Extension], serial: int, version: int) -> None:
    attester = Attester.of(
        VENDOR,
        edit=lambda form: replace(
            form, extensions=(*form.extensions, *extensions), serial_number=serial, version=version
        ),
    )
    with suppress(Malformed, NotAuthentic):
        authenticate_pck_chain(pem(*attester.pck_chain), ANCHORS, AT)
