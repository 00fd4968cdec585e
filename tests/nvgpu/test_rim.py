"""RIMs: NVIDIA's own and altered ones, and what a signed one may not say (N10, N11, N17, N20)."""

import json
import random
from base64 import b64encode
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import pytest

from attestd.codec import Json
from attestd.errors import EndorsementRejected, Reason
from attestd.nvgpu.rim import MAX_ALTERNATIVES, MAX_ENVELOPE_SIZE, Rim, authenticate_rim, load_rim_envelope
from attestd.simulator import AT
from attestd.simulator.gpu_attester import GpuAttester
from attestd.simulator.nvidia import NvidiaVendor
from attestd.simulator.rim import Golden, RimEdit, RimForm
from attestd.simulator.xmltree import Element
from attestd.validity import Validity
from attestd.x509 import NVIDIA_CORIM_SIGNING_ROOT_CA, TrustAnchors
from tests.evidence import EVIDENCE, ROOT
from tests.nvgpu.rims import ANCHORS, DOCUMENT, GPU, RIM, VENDOR, Edit, attribute, content, having, last, sealed
from tests.refusals import rejected

SECOND: Final = timedelta(seconds=1)
NVIDIA_ROOTS: Final = TrustAnchors.load_genuine(path.read_bytes() for path in sorted((ROOT / "certs/nvidia").glob("*")))
FOLDER: Final = EVIDENCE / "nvidia"
# As many as rims/index.json lists, and as many files with a RIM as there are beside the cases.
INDEXED, IN_CASES = 19, 45

# The words of the evidence. A version is compared with a report's, not here: such a RIM is authentic.
REASONS: Final = {
    "rim_signature:InvalidDigest": Reason.GPU_RIM_DIGEST,
    "rim_signature:InvalidSignature": Reason.GPU_RIM_SIGNATURE,
    "rim_cert_root_not_pinned": Reason.GPU_RIM_UNTRUSTED_ROOT,
    "rim_cert_expired": Reason.GPU_RIM_EXPIRED,
    "rim_cert_not_yet_valid": Reason.GPU_RIM_NOT_YET_VALID,
    "dtd_forbidden": Reason.GPU_RIM_MALFORMED,
}


def indexed() -> list[Any]:
    """Return the RIMs of the folder as parameters of a test."""
    if not (FOLDER / "rims/index.json").is_file():
        skip = pytest.mark.skip(reason=f"no evidence at {EVIDENCE}: {INDEXED} RIMs not seen")
        return [pytest.param(None, id="absent", marks=skip)]
    return [pytest.param(row, id=row["file"]) for row in json.loads((FOLDER / "rims/index.json").read_bytes())]


def in_cases() -> list[Any]:
    """Return name, case and what is expected of each RIM that lies beside a case."""
    if not FOLDER.is_dir():
        skip = pytest.mark.skip(reason=f"no evidence at {EVIDENCE}: {IN_CASES} RIMs of cases not seen")
        return [pytest.param(None, None, id="absent", marks=skip)]
    paths = sorted(FOLDER.glob("*/*_rim.swidtag"))
    return [
        pytest.param(
            path, json.loads((path.parent / "expected.json").read_bytes()), id=f"{path.parent.name}/{path.stem}"
        )
        for path in paths
    ]


def expected_reason(errors: list[str]) -> Reason | None:
    return next((REASONS[error] for error in errors if error in REASONS), None)


def authenticated(raw: bytes, at: datetime = AT) -> Rim:
    return authenticate_rim(raw, ANCHORS, at)


def rim(edit: RimEdit, edit_element: Edit = lambda element: element) -> bytes:
    """Return the baseline RIM with a change that is signed."""
    return GPU.rim("driver", edit, edit_element=edit_element)


BASELINE: Final = authenticated(RIM)
ACTIVE: Final = min(BASELINE.golden)
INACTIVE: Final = 0


# NVIDIA's own.


@pytest.mark.parametrize("row", indexed())
def test_nvidias_rims(row: dict[str, Any]) -> None:
    raw = (FOLDER / "rims" / row["file"]).read_bytes()
    not_before, not_after = (datetime.fromisoformat(row[name]) for name in ("signer_not_before", "chain_not_after"))
    if (reason := expected_reason(row["errors"])) is not None:
        with rejected(reason):
            authenticate_rim(raw, NVIDIA_ROOTS, not_after)
        return
    for at in (not_before, not_after):
        one = authenticate_rim(raw, NVIDIA_ROOTS, at)
        assert (one.product, one.version) == (row["product"], row["version"])
        assert sorted(one.golden) == row["active_indices_0based"]
        assert one.validity == Validity(not_before, not_after)
        assert one.sha256 == sha256(raw).digest()
        assert one.root.fingerprint == NVIDIA_CORIM_SIGNING_ROOT_CA
    with rejected(Reason.GPU_RIM_EXPIRED):
        authenticate_rim(raw, NVIDIA_ROOTS, not_after + SECOND)
    with rejected(Reason.GPU_RIM_NOT_YET_VALID):
        authenticate_rim(raw, NVIDIA_ROOTS, not_before - SECOND)


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no evidence at {EVIDENCE}")
def test_all_of_the_evidence_is_seen() -> None:
    assert (len(indexed()), len(in_cases())) == (INDEXED, IN_CASES)


@pytest.mark.parametrize(("path", "case"), in_cases())
def test_rims_of_cases(path: Any, case: dict[str, Any]) -> None:
    raw, at = path.read_bytes(), datetime.fromisoformat(case["verify_at"])
    expected = case[path.stem] or {"errs": []}
    if (reason := expected_reason(expected["errs"])) is not None:
        with rejected(reason):
            authenticate_rim(raw, NVIDIA_ROOTS, at)
        return
    one = authenticate_rim(raw, NVIDIA_ROOTS, at)
    if expected["errs"] == []:
        assert one.kind == ("switch_bios" if case["arch"] == "LS10" else path.stem.removesuffix("_rim"))
    if "version" in expected:
        assert (one.product, one.version, one.edition) == tuple(expected[n] for n in ("product", "version", "edition"))
        assert one.validity.not_after == datetime.fromisoformat(expected["exp"])


def test_nvidia_gives_out_other_values_under_one_id() -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"no evidence at {EVIDENCE}: a RIM and the one that replaced it not seen")
    paths = ("rims/1010_0200_882_96005E0001_PROD.swidtag", "h100-535.86.09-vbios-mismatch-signed/vbios_rim.swidtag")
    old, new = (
        authenticate_rim((FOLDER / p).read_bytes(), NVIDIA_ROOTS, datetime(2024, 6, 1, tzinfo=AT.tzinfo)) for p in paths
    )
    assert (old.kind, old.version, old.tag_id) == (new.kind, new.version, new.tag_id)
    assert [index for index in old.golden if old.golden[index] != new.golden[index]] == [9]
    assert old.sha256 != new.sha256


@pytest.mark.slow
def test_flipped_bits_of_a_genuine_rim() -> None:
    path = FOLDER / "h100-545.00-complete/driver_rim.swidtag"
    if not path.is_file():
        pytest.skip(f"no evidence at {EVIDENCE}: no genuine RIM to alter")
    raw, at = path.read_bytes(), datetime(2024, 6, 1, tzinfo=AT.tzinfo)
    genuine = authenticate_rim(raw, NVIDIA_ROOTS, at)
    seen = set()
    for position in random.Random(4).sample(range(8 * len(raw)), 1500):
        altered = bytearray(raw)
        altered[position // 8] ^= 1 << position % 8
        try:
            one = authenticate_rim(bytes(altered), NVIDIA_ROOTS, at)
        except EndorsementRejected as error:
            seen.add(error.reason)
        else:
            # What is left is white space in base64 or in a tag: the same document, written in another way.
            assert replace(one, sha256=genuine.sha256) == genuine
    assert {Reason.GPU_RIM_MALFORMED, Reason.GPU_RIM_DIGEST, Reason.GPU_RIM_SIGNATURE, Reason.GPU_RIM_CHAIN} <= seen


# A simulated vendor's.


@pytest.mark.parametrize("arch", ["HOPPER", "BLACKWELL", "LS10"])
def test_simulated_rims(arch: Any) -> None:
    gpu = GpuAttester.of(NvidiaVendor.of(arch))
    for kind in gpu.rim_kinds:
        one = authenticated(gpu.rim(kind))
        assert one.kind == ("switch_bios" if arch == "LS10" else kind)
        assert dict(one.golden) == gpu.gpu.golden(kind)
        assert one.version == (gpu.gpu.driver_version if kind == "driver" else gpu.gpu.vbios_version)
        assert one.edition == ("SWITCH" if arch == "LS10" else "GPU")


def test_a_rim_does_not_change() -> None:
    with pytest.raises(TypeError):
        BASELINE.golden[ACTIVE] = ()  # type: ignore[index]
    with pytest.raises(AttributeError):
        BASELINE.version = "1"  # type: ignore[misc]


def test_a_kept_rim_is_as_good_as_its_chain() -> None:
    validity = BASELINE.validity
    assert validity.not_after == VENDOR.rim_signer.form.not_after
    BASELINE.require_current(validity.not_before)
    BASELINE.require_current(validity.not_after)
    with rejected(Reason.GPU_RIM_NOT_YET_VALID):
        BASELINE.require_current(validity.not_before - SECOND)
    with rejected(Reason.GPU_RIM_EXPIRED):
        BASELINE.require_current(validity.not_after + SECOND)


def test_the_window_is_that_of_the_whole_chain() -> None:
    vendor = VENDOR.reissue("rim_l3", lambda f: replace(f, not_after=AT + SECOND))
    vendor = vendor.reissue("rim_ca", lambda f: replace(f, not_before=AT - SECOND))
    one = authenticated(sealed(chain=vendor.rim_chain))
    assert one.validity == Validity(AT - SECOND, AT + SECOND)
    with rejected(Reason.GPU_RIM_EXPIRED):
        one.require_current(AT + 2 * SECOND)


# N20, and what else a signed payload may not be.


def of(index: int, **changes: Any) -> RimEdit:
    """Return an edit of one measurement."""
    return lambda form: form.having(index, lambda one: replace(one, **changes))


def test_nothing_to_compare() -> None:
    def inactive(form: RimForm) -> RimForm:
        return replace(form, resources=tuple(replace(one, active="False") for one in form.resources))

    for raw in (rim(inactive), rim(lambda form: replace(form, resources=()))):
        with rejected(Reason.GPU_RIM_EMPTY):
            authenticated(raw)


def test_one_is_enough() -> None:
    one = authenticated(rim(lambda form: replace(form, resources=(Golden(index=63, values=(b"v" * 48,)),))))
    assert dict(one.golden) == {63: (b"v" * 48,)}


def test_alternatives() -> None:
    values = tuple(bytes([n]) * 48 for n in range(MAX_ALTERNATIVES))
    assert authenticated(rim(of(ACTIVE, values=values))).golden[ACTIVE] == values
    # NVIDIA repeats values.
    assert authenticated(rim(of(ACTIVE, values=values[:1] * 3))).golden[ACTIVE] == values[:1] * 3
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(rim(of(ACTIVE, values=(*values, b"x" * 48))))


def on(index: int, edit: Edit) -> Edit:
    """Return an edit of the Resource with that index."""
    return having("ns0:Resource", lambda one: edit(one) if ("index", str(index)) in one.attributes else one)


def test_hex_of_either_case() -> None:
    value = BASELINE.golden[ACTIVE][0].hex().upper()
    assert authenticated(rim(lambda f: f, on(ACTIVE, attribute("ns2:Hash0", value)))).golden == BASELINE.golden


@pytest.mark.parametrize("index", [ACTIVE, INACTIVE])
@pytest.mark.parametrize(
    "edit",
    [
        attribute("active", "true"),
        attribute("active", "TRUE"),
        attribute("active", "1"),
        attribute("active", ""),
        attribute("active", None),
        attribute("active", "Maybe"),
        attribute("active", "False "),
        attribute("index", "64"),
        attribute("index", "99"),
        attribute("index", "100"),
        attribute("index", "-1"),
        attribute("index", "01"),
        attribute("index", "1.0"),
        attribute("index", "\u0661"),
        attribute("index", "1\n"),
        attribute("index", ""),
        attribute("index", None),
        attribute("alternatives", "0"),
        attribute("alternatives", "4"),
        attribute("alternatives", "65"),
        attribute("alternatives", ""),
        attribute("alternatives", None),
        attribute("ns2:Hash0", None),
        attribute("ns2:Hash7", "00" * 48),
        attribute("ns2:Hash0", "00" * 47),
        attribute("ns2:Hash0", "00" * 49),
        attribute("ns2:Hash0", "0" * 95),
        attribute("ns2:Hash0", "zz" * 48),
        attribute("ns2:Hash0", "\uff10\uff10" * 48),
        attribute("ns2:Hash0", " " + "00" * 48),
        attribute("ns2:Hash0", "0x" + "00" * 47),
        attribute("ns2:Hash0", ""),
        attribute("Hash0", "00" * 48),
        attribute("size", "47"),
        attribute("size", "048"),
        attribute("size", None),
        attribute("type", "measurement"),
        attribute("type", "OpaqueData"),
        attribute("type", None),
        attribute("name", None),
        attribute("ns0:minimum", "1"),
        last(Element("ns0:Resource")),
        lambda resource: replace(resource, name="ns0:File"),
    ],
)
def test_other_measurements(index: int, edit: Edit) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(rim(lambda form: form, on(index, edit)))


@pytest.mark.parametrize("active", ["True", "False"])
@pytest.mark.parametrize("index", [ACTIVE, INACTIVE])
def test_an_index_twice(index: int, active: str) -> None:
    again = Golden(index=index, values=(bytes(48),), active=active)
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(rim(lambda form: replace(form, resources=(*form.resources, again))))


@pytest.mark.parametrize(
    "edit",
    [
        having("ns0:Payload", last(Element("ns0:File"))),
        having("ns0:Payload", last(Element("Resource", (("xmlns", "urn:example"), ("type", "Measurement"))))),
        having("ns0:Payload", content(Element("ns0:Directory", (), DOCUMENT.content))),
        having("ns0:Payload", lambda payload: replace(payload, name="ns0:Evidence")),
        having("ns0:Meta", last(Element("ns0:Meta"))),
        last(Element("ns0:Payload")),
        last(Element("ns0:Evidence")),
        last(Element("ns0:Meta")),
        content(),
        lambda tag: replace(tag, content=tag.content[::-1]),
        lambda tag: replace(tag, name="ns0:Payload"),
        lambda tag: replace(tag, name="ns2:SoftwareIdentity"),
        attribute("corpus", "true"),
        attribute("patch", "true"),
        attribute("supplemental", "true"),
        attribute("supplemental", None),
        attribute("tagId", None),
        attribute("tagId", ""),
        attribute("tagId", "a" * 95),
        attribute("tagId", "../" * 32),
    ],
)
def test_other_tags(edit: Edit) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(sealed(edit(DOCUMENT)))


def both(one: Edit, other: Edit) -> Edit:
    return lambda element: other(one(element))


@pytest.mark.parametrize(
    "edit",
    [
        attribute("PayloadType", "indirect"),
        attribute("PayloadType", None),
        attribute("ns1:FirmwareManufacturerId", "5704"),
        attribute("ns1:FirmwareManufacturerId", None),
        both(attribute("ns1:FirmwareManufacturerId", None), attribute("FirmwareManufacturerId", "5703")),
        attribute("edition", "gpu"),
        attribute("edition", "NIC"),
        attribute("edition", None),
        attribute("edition", "SWITCH"),
        attribute("product", "gh100"),
        attribute("product", "GH100 "),
        attribute("product", "../x"),
        attribute("product", None),
        attribute("colloquialVersion", ""),
        attribute("colloquialVersion", None),
        attribute("colloquialVersion", "550"),
        attribute("colloquialVersion", "550.90.07.01"),
        attribute("colloquialVersion", "550.90.07\n"),
        attribute("colloquialVersion", "96.00.9f.00.01"),
        attribute("colloquialVersion", "96.00.9F.00"),
        attribute("colloquialVersion", "../../550.90"),
    ],
)
def test_other_meta(edit: Edit) -> None:
    with rejected(Reason.GPU_RIM_MALFORMED):
        authenticated(sealed(having("ns0:Meta", edit)(DOCUMENT)))


@pytest.mark.parametrize(
    ("edition", "version", "kind"),
    [
        ("GPU", "545.00", "driver"),
        ("GPU", "580.159.03", "driver"),
        ("GPU", "97.00.88.00.0F", "vbios"),
        ("SWITCH", "96.10.55.00.01", "switch_bios"),
    ],
)
def test_the_version_tells_the_kind(edition: str, version: str, kind: str) -> None:
    one = authenticated(rim(lambda form: replace(form, edition=edition, version=version)))
    assert (one.kind, one.edition, one.version) == (kind, edition, version)


# What NVIDIA's RIM service answers.

RIM_ID: Final = "NV_GPU_DRIVER_GH100_550.90.07"


def answer(**members: Json) -> bytes:
    genuine: dict[str, Json] = {
        "id": RIM_ID,
        "rim": b64encode(RIM).decode(),
        "sha256": sha256(RIM).hexdigest(),
        "last_updated": "2025-03-14T15:09:03.011000",
        "rim_format": "TCG",
        "request_id": "ca80a80a-054c-476e-bdd2-7be7e3047fe5",
    }
    return json.dumps({name: value for name, value in (genuine | members).items() if value is not None}).encode()


def test_an_answer_of_the_service() -> None:
    assert load_rim_envelope(answer(), RIM_ID) == RIM
    assert load_rim_envelope(answer(sha256=sha256(RIM).hexdigest().upper(), more={"x": [1]}), RIM_ID) == RIM


def test_the_digest_is_that_of_the_document_and_not_of_its_base64() -> None:
    with rejected(Reason.GPU_RIM_SHA256):
        load_rim_envelope(answer(sha256=sha256(b64encode(RIM)).hexdigest()), RIM_ID)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"id": "NV_GPU_DRIVER_GH100_550.90.08"}, Reason.GPU_RIM_ID),
        ({"id": RIM_ID.lower()}, Reason.GPU_RIM_ID),
        ({"id": None}, Reason.GPU_RIM_MALFORMED),
        ({"id": 1}, Reason.GPU_RIM_MALFORMED),
        ({"sha256": sha256(b"").hexdigest()}, Reason.GPU_RIM_SHA256),
        ({"sha256": sha256(RIM).hexdigest()[:-2]}, Reason.GPU_RIM_MALFORMED),
        ({"sha256": None}, Reason.GPU_RIM_MALFORMED),
        ({"rim": b64encode(RIM + b"\n").decode()}, Reason.GPU_RIM_SHA256),
        ({"rim": b64encode(RIM).decode() + "\n"}, Reason.BASE64_MALFORMED),
        ({"rim": RIM.decode()}, Reason.BASE64_MALFORMED),
        ({"rim": None}, Reason.GPU_RIM_MALFORMED),
        ({"rim_format": "CORIM"}, Reason.GPU_RIM_MALFORMED),
        ({"rim_format": None}, Reason.GPU_RIM_MALFORMED),
    ],
)
def test_other_answers(members: dict[str, Json], reason: Reason) -> None:
    with rejected(reason):
        load_rim_envelope(answer(**members), RIM_ID)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", Reason.JSON_MALFORMED),
        (RIM, Reason.JSON_MALFORMED),
        (b"[]", Reason.GPU_RIM_MALFORMED),
        (answer()[:-1] + b', "id": "x"}', Reason.JSON_DUPLICATE_MEMBER),
        (answer() + b" " * MAX_ENVELOPE_SIZE, Reason.GPU_RIM_MALFORMED),
    ],
)
def test_what_is_no_answer(raw: bytes, reason: Reason) -> None:
    with rejected(reason):
        load_rim_envelope(raw, RIM_ID)


def test_an_answer_of_the_largest_size() -> None:
    raw = answer()
    assert load_rim_envelope(raw + b" " * (MAX_ENVELOPE_SIZE - len(raw)), RIM_ID) == RIM
