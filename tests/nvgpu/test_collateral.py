"""Which RIMs and OCSP answers are taken in, and which of them a device is verified with."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from attestd.claims import RevocationState
from attestd.codec import Json
from attestd.errors import Reason, Unavailable
from attestd.nvgpu import collateral as module
from attestd.nvgpu.collateral import Collected, GpuEndorsements, collect
from attestd.nvgpu.device import authenticate_device
from attestd.nvgpu.golden import Rims, rim_ids
from attestd.nvgpu.ocsp import UNASKED, Revocation, authenticate_revocation
from attestd.nvgpu.ocsp_answer import MAX_OCSP_ANSWER_SIZE, OcspAnswer
from attestd.nvgpu.rim import MAX_ENVELOPE_SIZE, Rim, RimName
from attestd.nvgpu.spdm import parse_report
from attestd.nvgpu.verify import Revocations, verify
from attestd.nvgpu.xmldsig import MAX_DOCUMENT_SIZE
from attestd.simulator import AT, GpuAttester, NvidiaVendor, Signing, p384_key
from attestd.simulator.gpu_attester import ASKED_ROLES, AskedRole
from attestd.simulator.ocsp import State
from attestd.simulator.rim import RimForm
from attestd.x509 import Certificate
from tests.evidence import EVIDENCE, nvidia_anchors, nvidia_case
from tests.nvgpu.baseline import ANCHORS, BLACKWELL, DEVICES, GPU, SWITCH, VENDOR, device_of
from tests.refusals import not_authentic, rejected

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DRIVER, VBIOS = GPU.rim("driver"), GPU.rim("vbios")


def with_other_values(form: RimForm) -> RimForm:
    return form.having(9, lambda golden: replace(golden, values=(b"\x09" * 48,)))


# Published again under the same id: another signer, other golden values.
RENEWED = GpuAttester.of(NvidiaVendor.of(at=AT + DAY))
RENEWED_VBIOS = RENEWED.rim("vbios", with_other_values)
MALLORY = GpuAttester.of(NvidiaVendor.of(seed="mallory"))
VBIOS_NAME = RimName("vbios", "GH100", GPU.gpu.vbios_version)


def collected(*documents: bytes, at: datetime = AT, known: GpuEndorsements | None = None) -> Collected:
    return collect({f"{index}": raw for index, raw in enumerate(documents)}, ANCHORS, at, known)


def held(*documents: bytes, at: datetime = AT, known: GpuEndorsements | None = None) -> GpuEndorsements:
    """Return what is made of documents of which none is refused."""
    found = collected(*documents, at=at, known=known)
    assert found.refusals == ()
    return found.endorsements


def reasons(found: Collected) -> list[tuple[str, Reason]]:
    return [(name, error.reason) for name, error in found.refusals]


def rims(endorsements: GpuEndorsements, gpu: GpuAttester = GPU) -> Rims:
    return endorsements.rims(parse_report(gpu.report()), device_of(gpu.chain))


def digests(endorsements: GpuEndorsements, gpu: GpuAttester = GPU) -> list[bytes | None]:
    return digests_of(rims(endorsements, gpu))


def digests_of(found: Rims) -> list[bytes | None]:
    return [None if rim is None else rim.sha256 for rim in found]


def revocations(endorsements: GpuEndorsements, gpu: GpuAttester = GPU, at: datetime = AT) -> Revocations:
    return endorsements.revocations(device_of(gpu.chain), rims(endorsements, gpu), at)


def digest(raw: bytes) -> bytes:
    return sha256(raw).digest()


def envelope(raw: bytes = VBIOS, **members: Json) -> bytes:
    answer: dict[str, Json] = {
        "id": "NV_GPU_VBIOS_1010_0200_882_9600CF0001",
        "rim": b64encode(raw).decode(),
        "sha256": sha256(raw).hexdigest(),
        "rim_format": "TCG",
    }
    return json.dumps(answer | members).encode()


def answer(
    role: AskedRole, state: State = "good", *, age: timedelta = HOUR, lifetime: timedelta = DAY, gpu: GpuAttester = GPU
) -> bytes:
    """Return an answer of that age."""
    issued = AT - age
    return gpu.responder(role).answer(
        gpu.asked(role)[0],
        state,
        edit=lambda form: form.single(lambda said: replace(said, this_update=issued, next_update=issued + lifetime)),
    )


def forged(role: AskedRole, state: State = "good", gpu: GpuAttester = GPU) -> bytes:
    signing = Signing(key=p384_key("mallory", "responder"))
    return gpu.responder(role).answer(gpu.asked(role)[0], state, signing=signing)


# ---------------------------------------------------------------------------------------------------------------------
# What is taken in


@pytest.mark.parametrize("gpu", DEVICES, ids=["HOPPER", "BLACKWELL", "LS10"])
def test_rims_of_a_device(gpu: GpuAttester) -> None:
    documents = gpu.rims()
    found = collect(documents, ANCHORS, AT)
    assert found.refusals == ()
    assert [(document.name, document.raw) for document in found.documents] == list(documents.items())
    assert all(document.is_authentic for document in found.documents)
    report, device = parse_report(gpu.report()), device_of(gpu.chain)
    chosen = found.endorsements.rims(report, device)
    for rim, rim_id in zip(chosen, rim_ids(report, device), strict=True):
        assert (None if rim is None else rim.sha256) == (None if rim_id is None else digest(documents[rim_id]))
    verify(report, device, chosen, found.endorsements.revocations(device, chosen, AT), AT)


def test_devices_do_not_mix() -> None:
    endorsements = held(*(raw for gpu in DEVICES for raw in gpu.rims().values()))
    assert len(endorsements.manifests) == 5
    for gpu in DEVICES:
        assert [found for found in digests(endorsements, gpu) if found] == [digest(raw) for raw in gpu.rims().values()]


def test_names_do_not_matter() -> None:
    one = collect({"driver": VBIOS, "vbios": DRIVER}, ANCHORS, AT).endorsements
    assert digests(one) == [digest(DRIVER), digest(VBIOS)]


def test_answer_of_the_rim_service() -> None:
    found = collected(envelope())
    assert (found.refusals, [document.raw for document in found.documents]) == ((), [VBIOS])
    assert digests(found.endorsements) == [None, digest(VBIOS)]


def test_what_is_missing_is_none_and_verification_names_it() -> None:
    endorsements = held(DRIVER)
    report, device = parse_report(GPU.report()), device_of(GPU.chain)
    chosen = endorsements.rims(report, device)
    assert chosen.vbios is None
    with pytest.raises(Unavailable) as caught:
        verify(report, device, chosen, Revocations(), AT)
    assert (caught.value.reason, caught.value.wanted) == (Reason.GPU_RIM_MISSING, rim_ids(report, device).vbios)
    assert rims(GpuEndorsements()) == Rims()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (MALLORY.rim("driver"), Reason.GPU_RIM_UNTRUSTED_ROOT),
        (GPU.rim("driver", signing=Signing(key=p384_key("mallory", "rim"))), Reason.GPU_RIM_SIGNATURE),
        (DRIVER.replace(b"GH100", b"GB100"), Reason.GPU_RIM_DIGEST),
        (DRIVER[:-20], Reason.GPU_RIM_MALFORMED),
        (b"<" + b" " * MAX_DOCUMENT_SIZE, Reason.GPU_RIM_MALFORMED),
        (b"{" + b" " * MAX_ENVELOPE_SIZE, Reason.GPU_RIM_MALFORMED),
        (envelope(sha256="00" * 32), Reason.GPU_RIM_SHA256),
        (envelope(rim_format="CORIM"), Reason.GPU_RIM_MALFORMED),
        (envelope(MALLORY.rim("vbios")), Reason.GPU_RIM_UNTRUSTED_ROOT),
        (b"{", Reason.JSON_MALFORMED),
        (b"", Reason.GPU_OCSP_MALFORMED),
        (b"hello", Reason.GPU_OCSP_MALFORMED),
        (answer("brom") + b"\0", Reason.GPU_OCSP_MALFORMED),
        (b"\x30" + bytes(MAX_OCSP_ANSWER_SIZE), Reason.GPU_OCSP_MALFORMED),
        (b"\x30\x03\x0a\x01\x03", Reason.GPU_OCSP_UNAVAILABLE),
        (answer("brom", age=-HOUR), Reason.GPU_OCSP_NOT_YET_VALID),
    ],
)
def test_refusal_of_one_document(raw: bytes, reason: Reason) -> None:
    found = collect({"bad": raw, "vbios.swidtag": VBIOS}, ANCHORS, AT)
    assert reasons(found) == [("bad", reason)]
    assert (list(found.endorsements.manifests), found.endorsements.answers) == ([VBIOS_NAME], {})


def test_rim_outside_of_its_window() -> None:
    signer = VENDOR.rim_signer.form
    for at, reason in (
        (signer.not_before - timedelta(seconds=1), Reason.GPU_RIM_NOT_YET_VALID),
        (signer.not_after + timedelta(seconds=1), Reason.GPU_RIM_EXPIRED),
    ):
        assert reasons(collected(DRIVER, at=at)) == [("0", reason)]
    held(DRIVER, at=signer.not_before)
    held(DRIVER, at=signer.not_after)


def test_number_of_rims_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RIMS", 1)
    found = collected(VBIOS, DRIVER, RENEWED_VBIOS)
    assert reasons(found) == [("1", Reason.ENDORSEMENTS_FILE)]
    assert digests(found.endorsements) == [None, digest(RENEWED_VBIOS)]
    assert reasons(collected(DRIVER, known=found.endorsements)) == [("0", Reason.ENDORSEMENTS_FILE)]


def test_number_of_answers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ANSWERED", 1)
    found = collected(answer("brom"), answer("provisioner"), answer("brom", "hold"))
    assert reasons(found) == [("1", Reason.ENDORSEMENTS_FILE)]
    assert [len(about) for about in found.endorsements.answers.values()] == [2]
    assert reasons(collected(answer("identity"), known=found.endorsements)) == [("0", Reason.ENDORSEMENTS_FILE)]


# ---------------------------------------------------------------------------------------------------------------------
# The same RIM again


@pytest.mark.parametrize("documents", [(VBIOS, RENEWED_VBIOS), (RENEWED_VBIOS, VBIOS)], ids=["in order", "reversed"])
def test_newest_rim_counts(documents: Sequence[bytes]) -> None:
    found = collected(*documents)
    assert digests(found.endorsements) == [None, digest(RENEWED_VBIOS)]
    # Both are authentic; one of them is used.
    assert [document.raw for document in found.documents] == list(documents)
    assert len(found.endorsements.manifests) == 1


def test_older_rim_never_replaces_a_newer_one() -> None:
    known = held(RENEWED_VBIOS)
    assert held(VBIOS, known=known) == known
    assert digests(held(RENEWED_VBIOS, known=held(VBIOS))) == [None, digest(RENEWED_VBIOS)]


def test_measurements_are_those_of_the_newest_rim() -> None:
    report, device = parse_report(GPU.report()), device_of(GPU.chain)
    verify(report, device, rims(held(DRIVER, VBIOS)), Revocations(), AT)
    with not_authentic(Reason.GPU_MEASUREMENTS):
        verify(report, device, rims(held(DRIVER, VBIOS, RENEWED_VBIOS)), Revocations(), AT)


def test_of_two_as_new_the_one_found_last_counts() -> None:
    """NVIDIA makes a signer for each RIM; if it did not, there would still be a way to replace one."""
    other = GPU.rim("vbios", with_other_values)
    assert digests(held(VBIOS, other)) == [None, digest(other)]
    assert digests(held(VBIOS, known=held(other))) == [None, digest(VBIOS)]


def test_before_the_newer_one_begins_the_older_one_counts() -> None:
    at = RENEWED.vendor.rim_signer.form.not_before - timedelta(seconds=1)
    found = collected(VBIOS, RENEWED_VBIOS, at=at)
    assert reasons(found) == [("1", Reason.GPU_RIM_NOT_YET_VALID)]
    assert digests(found.endorsements) == [None, digest(VBIOS)]


def test_expired_rim_is_held_on_to() -> None:
    known = held(DRIVER, VBIOS)
    at = VENDOR.rim_signer.form.not_after + DAY
    assert held(at=at, known=known) == known
    assert reasons(collected(VBIOS, at=at, known=known)) == [("0", Reason.GPU_RIM_EXPIRED)]
    with rejected(Reason.GPU_RIM_EXPIRED):
        verify(parse_report(GPU.report()), device_of(GPU.chain), rims(known), Revocations(), at)


def test_what_is_held_is_not_authenticated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = (DRIVER, VBIOS, answer("rim_signer"), answer("brom"))
    known = held(*documents)
    monkeypatch.setattr(module, "authenticate_rim", None)
    monkeypatch.setattr(module, "authenticate_revocation", None)
    found = collected(*documents, known=known)
    assert (found.refusals, len(found.documents), found.endorsements) == ((), 4, known)


def test_rim_older_than_one_that_was_seen() -> None:
    endorsements = replace(held(DRIVER, VBIOS), rolled_back=frozenset({VBIOS_NAME}))
    with rejected(Reason.GPU_RIM_ROLLBACK):
        rims(endorsements)
    for documents in ((), (VBIOS,)):
        assert held(*documents, known=endorsements).rolled_back == {VBIOS_NAME}
    renewed = held(RENEWED_VBIOS, known=endorsements)
    assert (renewed.rolled_back, digests(renewed)) == (frozenset(), [digest(DRIVER), digest(RENEWED_VBIOS)])
    # Those of other devices are none the worse.
    switch = held(*SWITCH.rims().values(), known=endorsements)
    assert None not in digests(switch, SWITCH)[1:]


# ---------------------------------------------------------------------------------------------------------------------
# OCSP answers


@pytest.mark.parametrize("gpu", DEVICES, ids=["HOPPER", "BLACKWELL", "LS10"])
def test_answers_of_a_device(gpu: GpuAttester) -> None:
    asked = [answer(role, gpu=gpu) for role in ASKED_ROLES]
    found = revocations(held(*gpu.rims().values(), *asked), gpu)
    of_rims = [found.vbios_rim] if gpu is SWITCH else [found.driver_rim, found.vbios_rim]
    for revocation in (found.device, *of_rims):
        assert revocation.states == (RevocationState.GOOD,)
    assert found.device.digests == tuple(map(digest, asked[:3]))
    assert all(revocation.digests == tuple(map(digest, asked[3:])) for revocation in of_rims)
    verify(parse_report(gpu.report()), device_of(gpu.chain), rims(held(*gpu.rims().values()), gpu), found, AT)


def test_nothing_is_held_of_a_chain() -> None:
    assert revocations(held(DRIVER, VBIOS)) == Revocations()
    assert revocations(held(answer("identity"))).driver_rim == UNASKED
    of_rims = revocations(held(DRIVER, answer("rim_l3")))
    assert (of_rims.device, of_rims.vbios_rim) == (UNASKED, UNASKED)
    assert of_rims.driver_rim.states == (RevocationState.GOOD, RevocationState.UNAVAILABLE)


@pytest.mark.parametrize("role", ASKED_ROLES)
def test_revoked_certificate(role: AskedRole) -> None:
    good = [answer(other) for other in ASKED_ROLES if other != role]
    for state, reason in (("revoked", Reason.GPU_REVOKED), ("unknown", Reason.GPU_REVOCATION_UNKNOWN)):
        endorsements = held(DRIVER, VBIOS, *good, answer(role, state))  # type: ignore[arg-type]
        chosen = rims(endorsements)
        with not_authentic(reason):
            verify(parse_report(GPU.report()), device_of(GPU.chain), chosen, revocations(endorsements), AT)


def test_forged_answer_about_a_rim_is_refused_by_itself() -> None:
    for documents in ((forged("rim_signer"), VBIOS), (VBIOS, forged("rim_signer"))):
        found = collected(*documents)
        assert [reason for _, reason in reasons(found)] == [Reason.GPU_OCSP_SIGNATURE]
        assert found.endorsements.answers == {}


def test_answer_about_a_device_is_authenticated_when_it_comes_along() -> None:
    found = collected(VBIOS, forged("brom", "revoked"), answer("provisioner"), answer("rim_signer"))
    assert found.refusals == ()
    assert [(type(document.content), document.is_authentic) for document in found.documents] == [
        (Rim, True),
        (OcspAnswer, False),
        (OcspAnswer, False),
        (OcspAnswer, True),
    ]
    with rejected(Reason.GPU_OCSP_SIGNATURE):
        revocations(found.endorsements)
    # Nobody can keep an authentic answer away by a forged one.
    for documents in ((answer("brom", "hold", age=2 * HOUR),), (answer("brom", "hold", age=2 * HOUR), forged("brom"))):
        endorsements = held(*documents, known=found.endorsements)
        assert revocations(endorsements).device.statuses[0].state is RevocationState.HOLD


def test_answer_about_an_unknown_certificate_says_nothing() -> None:
    endorsements = held(DRIVER, VBIOS, answer("brom", "revoked", gpu=BLACKWELL), answer("rim_signer", gpu=MALLORY))
    assert [revocation.states for revocation in revocations(endorsements)] == [(RevocationState.UNAVAILABLE,)] * 3


def test_two_issuers_of_one_serial_number() -> None:
    """An answer is about one issuer's certificate; the other's has the same number by chance, or by intent."""
    vendor = MALLORY.vendor.reissue("rim_signer", lambda form: replace(form, serial_number=SIGNER.serial_number))
    theirs = GpuAttester.of(vendor)
    found = collected(VBIOS, answer("rim_signer", "revoked", gpu=theirs))
    assert (found.refusals, [document.is_authentic for document in found.documents]) == ((), [True, False])
    (state,) = {status.state for status in revocations(found.endorsements).vbios_rim.statuses}
    assert state is RevocationState.UNAVAILABLE
    both = held(answer("rim_signer"), known=found.endorsements)
    assert revocations(both).vbios_rim.statuses[0].state is RevocationState.GOOD


SIGNER = Certificate(VENDOR.rim_signer.der)


def test_latest_answer_counts_and_is_not_forgotten() -> None:
    older, newer = answer("brom", age=3 * HOUR), answer("brom", "hold", age=2 * HOUR)
    for documents in ((older, newer), (newer, older)):
        assert revocations(held(*documents)).device.statuses[0].state is RevocationState.HOLD
    known = held(newer)
    assert revocations(held(older, known=known)).device.statuses[0].state is RevocationState.HOLD
    lifted = held(answer("brom"), known=held(older, known=known))
    assert revocations(lifted).device.statuses[0].state is RevocationState.GOOD


def test_few_answers_about_one_certificate_are_held() -> None:
    answers = [answer("brom", age=timedelta(minutes=minutes)) for minutes in range(60, 72)]
    (about,) = held(*reversed(answers)).answers.values()
    assert [one.raw for one in about] == answers[:8]
    (about,) = held(answers[11], known=held(*answers[1:9])).answers.values()
    assert [one.raw for one in about] == answers[1:9]


def test_expired_answer_is_a_state_and_revoked_stays_revoked() -> None:
    for state, left in (("good", RevocationState.STALE), ("revoked", RevocationState.REVOKED)):
        for role in ("brom", "rim_signer"):
            old = answer(role, state, age=2 * DAY)  # type: ignore[arg-type]
            found = revocations(held(VBIOS, old))
            (revocation,) = [one for one in found if one != UNASKED]
            assert revocation.states[-1] is max(left, RevocationState.UNAVAILABLE, key=list(RevocationState).index)
            assert revocation.statuses[0].state is left


def test_whoever_keeps_what_was_authenticated_is_asked() -> None:
    seen: list[tuple[int, int]] = []

    def remember(path: Sequence[Certificate], answers: Sequence[bytes], at: datetime) -> Revocation:
        seen.append((len(path), len(answers)))
        return authenticate_revocation(path, answers, at)

    endorsements = held(DRIVER, VBIOS, *(answer(role) for role in ASKED_ROLES))
    chosen = rims(endorsements)
    found = endorsements.revocations(device_of(GPU.chain), chosen, AT, remember)
    assert (found, seen) == (revocations(endorsements), [(4, 3), (4, 3), (4, 3)])
    assert held(DRIVER).revocations(device_of(GPU.chain), chosen, AT, remember) == Revocations()
    assert len(seen) == 3


# ---------------------------------------------------------------------------------------------------------------------
# NVIDIA's own


def test_published_rims() -> None:
    folder, case = EVIDENCE / "nvidia" / "rims", nvidia_case("h100-545.00-complete")
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in {".swidtag", ".xml"}}
    found = collect(files, nvidia_anchors(), datetime(2025, 3, 1, tzinfo=UTC))
    refusals = dict(reasons(found))
    assert refusals.pop("incorrect_signature_driver_rim.xml") is Reason.GPU_RIM_SIGNATURE
    assert set(refusals.values()) <= {Reason.GPU_RIM_NOT_YET_VALID, Reason.GPU_RIM_EXPIRED}
    # No two of them speak for the same.
    assert len(found.endorsements.manifests) == len(found.documents) == len(files) - len(found.refusals)
    # But for the one that NVIDIA published again.
    device = authenticate_device(case.certificates, nvidia_anchors(), case.at)
    assert case.vbios_rim is not None
    older, newer = files["1010_0200_882_96005E0001_PROD.swidtag"], case.vbios_rim
    both = collect({"older": older, "newer": newer}, nvidia_anchors(), case.at)
    assert [error.reason for _, error in both.refusals] == []
    assert digests_of(both.endorsements.rims(parse_report(case.report), device)) == [None, digest(newer)]
