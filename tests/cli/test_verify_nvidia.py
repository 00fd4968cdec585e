"""Every case and bundle of NVIDIA's evidence through the command, and what is particular to GPUs in it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from attestd.codec import dump_time
from attestd.simulator import AT, Attester, GpuAttester, NvidiaVendor, SpdmReport, Vendor, gpu_set
from attestd.simulator.gpu import H100, NVSWITCH
from attestd.simulator.gpu_attester import ASKED_ROLES, GpuAnswer
from attestd.simulator.nvidia_fixtures import bundle
from tests.evidence import EVIDENCE, ROOT, NvidiaCase, nvidia_case, nvidia_cases
from tests.nvgpu.test_evidence_cases import EXACTLY, FAILURES

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]

STATUS: Final = {"verified": 0, "malformed": 2, "rejected": 3, "unavailable": 4}
BUNDLES: Final = {
    "bundle-4xh100-590.12": "gpu.rim_missing",
    "bundle-ppcie-8gpu-4switch": "gpu.rim_missing",
    "bundle-ppcie-duplicate-gpu": "gpu.duplicate_device",
}


def arguments_of(case: NvidiaCase) -> list[object]:
    rims = [case.folder / name for name in ("driver_rim.swidtag", "vbios_rim.swidtag")]
    return [
        *("verify", "--tee", "nvidia", "--at", case.document["verify_at"]),
        *("--evidence", case.folder / "report.bin", "--certificates", case.folder / "certs.pem"),
        *(argument for path in rims if path.is_file() for argument in ("--endorsements", path)),
    ]


@pytest.mark.parametrize("case", nvidia_cases())
def test_case(case: NvidiaCase, attestd: Run) -> None:
    document = case.document
    expected, said = document["expect"], document.get("report", {})
    status, result = attestd(*arguments_of(case), "--nonce", document["nonce"])
    assert status == STATUS[result["outcome"]]
    match expected["verdict"]:
        case "accept":
            assert (status, result["reason"]) == (0, None)
            (gpu,) = result["gpus"]
            assert (gpu["arch"], gpu["eat_nonce"]) == (document["arch"], document["nonce"])
            assert len(gpu["measurements_compared"]) == expected["golden_compared"]
            assert gpu["measurements_skipped"] == expected["skipped_indices_0based"]
            assert gpu["hwmodel"] == document["device"]["hwmodel"]
            assert gpu["ueid"] == document["device"]["ueid_leaf_serial_decimal"]
            # Both that there are answer a nonce that NVIDIA's tools have built in.
            assert result["flags"] == ["published_nonce"]
        case "reject":
            reason = EXACTLY[case.folder.name]
            assert result["reason"] == reason.value
            assert reason in {one for check in expected["failed_checks"] for one in FAILURES[check]}
            assert (result["gpus"], result["flags"]) == ([], [])
        case _:
            assert (status, result["reason"], result["gpus"]) == (4, "gpu.rim_missing", [])
            for name in ("driver_rim_id", "vbios_rim_id"):
                assert said[name] in result["detail"]


@pytest.mark.parametrize("name", BUNDLES)
def test_bundle(name: str, attestd: Run) -> None:
    """No RIM of these is public: what can be said is that they are genuine, and belong together."""
    folder = EVIDENCE / "nvidia" / name
    if not folder.is_dir():
        pytest.skip(f"no evidence at {EVIDENCE}: {name} not seen")
    document = json.loads((folder / "expected.json").read_bytes())
    evidence = ("--evidence", folder / "evidence.json")
    status, result = attestd("verify", "--tee", "nvidia", *evidence, "--at", document["verify_at"])
    assert (status, result["reason"]) == ({"reject": 3, "incomplete": 4}[document["expect"]["verdict"]], BUNDLES[name])
    if status == 4:
        assert f"NV_GPU_DRIVER_GH100_{document['devices'][0]['driver']}" in result["detail"]


def test_claims_have_nvidia_s_names(attestd: Run) -> None:
    case = nvidia_case("h100-545.00-complete")
    status, result = attestd(*arguments_of(case), "--nonce", case.document["nonce"])
    assert status == 0
    (gpu,) = result["gpus"]
    theirs = case.document["peer"]["claims_v3"]
    for name in ("measres", "hwmodel", "ueid", "oemid", "eat_nonce", "x-nvidia-gpu-driver-version"):
        assert gpu[name] == theirs[name]
    assert gpu["x-nvidia-gpu-attestation-report-nonce-match"] is True
    assert "x-nvidia-gpu-attestation-report-nonce-match" not in attestd(*arguments_of(case))[1]["gpus"][0]


def test_single_files_are_taken_at_their_word(attestd: Run) -> None:
    """A RIM of another version is refused where it was named; in a folder it is for another device."""
    case = nvidia_case("h100-545.00-wrong-vbios-rim")
    status, result = attestd(*arguments_of(case))
    assert (status, result["reason"]) == (3, "gpu.rim_mismatch")
    shared = ("--evidence", case.folder / "report.bin", "--certificates", case.folder / "certs.pem")
    arguments = ("verify", "--tee", "nvidia", *shared, "--at", case.document["verify_at"])
    status, result = attestd(*arguments, "--endorsements", case.folder)
    assert (status, result["reason"]) == (4, "gpu.rim_missing")
    assert case.document["report"]["vbios_rim_id"] in result["detail"]
    assert case.document["report"]["driver_rim_id"] not in result["detail"]


# ---------------------------------------------------------------------------------------------------------------------
# Simulated devices


class Staged:
    """Simulated devices, and what their vendor has to say, in files."""

    def __init__(self, folder: Path, gpus: tuple[GpuAttester, ...]) -> None:
        self.folder = folder
        self.gpus = gpus
        self.nonce = SpdmReport().nonce
        vendor = gpus[0].vendor
        self.roots = self.put("roots/device.der", vendor.root.der).parent
        self.put("roots/rims.der", vendor.rim_root.der)
        self.report = self.put("report.bin", gpus[0].report())
        self.certificates = self.put("certs.pem", gpus[0].certificates)
        self.list = self.put("evidence.json", bundle(self.answers()))
        self.store = folder / "store"
        for gpu in gpus:
            for rim_id, raw in gpu.rims().items():
                self.put(f"store/{rim_id}.swidtag", raw)

    def put(self, name: str, raw: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        return path

    def answers(self) -> tuple[GpuAnswer, ...]:
        return tuple(gpu.answer(self.nonce) for gpu in self.gpus)

    def answer_ocsp(self, **states: Any) -> None:
        for number, gpu in enumerate(self.gpus):
            for role in ASKED_ROLES:
                self.put(f"store/{number}/{role}.ocsp", gpu.ocsp(role, states.get(role, "good")))

    def edited(self, edit: Callable[[list[dict[str, Any]]], object]) -> Path:
        devices = json.loads(self.list.read_bytes())
        edit(devices)
        return self.put("edited.json", json.dumps(devices).encode())

    @property
    def shared(self) -> list[object]:
        at, anchors = ("--at", dump_time(AT)), ("--trust-anchors", self.roots)
        return ["verify", "--tee", "nvidia", "--endorsements", self.store, *at, *anchors]

    def one(self) -> list[object]:
        return [*self.shared, "--evidence", self.report, "--certificates", self.certificates]

    def all(self, path: Path | None = None) -> list[object]:
        return [*self.shared, "--evidence", path or self.list]


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    return Staged(tmp_path, gpu_set(2, H100))


def test_one_device(attestd: Run, staged: Staged) -> None:
    status, result = attestd(*staged.one(), "--nonce", staged.nonce.hex())
    assert (status, result["outcome"], result["tee"], result["flags"]) == (0, "verified", "nvidia", [])
    (gpu,) = result["gpus"]
    assert gpu["evidence_id"] == result["evidence_id"]
    assert gpu["revocation"] == ["unavailable"]
    assert result["topology"]["gpus"] == [staged.gpus[0].gpu.pdi.hex()]
    assert len(result["endorsements"]) == 4 + 2
    assert (result["claims"], result["tcb"], result["appraisal"]) == (None, None, None)


def test_a_switch_by_itself(attestd: Run, tmp_path: Path) -> None:
    staged = Staged(tmp_path, (GpuAttester.of(NvidiaVendor.of("LS10"), NVSWITCH),))
    for arguments in (staged.one(), staged.all()):
        status, result = attestd(*arguments)
        assert (status, result["topology"]) == (0, None)
        assert result["gpus"][0]["x-nvidia-device-type"] == "nvswitch"


def test_several_devices(attestd: Run, staged: Staged) -> None:
    status, result = attestd(*staged.all(), "--nonce", staged.nonce.hex())
    assert (status, result["evidence_id"]) == (0, None)
    assert [gpu["pdi"] for gpu in result["gpus"]] == result["topology"]["gpus"]
    assert [gpu["pdi"] for gpu in result["gpus"]] == [gpu.gpu.pdi.hex() for gpu in staged.gpus]
    status, result = attestd(*staged.all(staged.edited(lambda devices: devices.append(devices[0]))))
    assert (status, result["reason"]) == (3, "gpu.duplicate_device")


def test_revocation(attestd: Run, staged: Staged) -> None:
    staged.answer_ocsp()
    status, result = attestd(*staged.all())
    assert (status, [gpu["revocation"] for gpu in result["gpus"]]) == (0, [["good"], ["good"]])
    staged.answer_ocsp(brom="revoked")
    status, result = attestd(*staged.all())
    assert (status, result["reason"]) == (3, "gpu.revoked")


def test_nonce(attestd: Run, staged: Staged) -> None:
    for arguments in (staged.one(), staged.all()):
        status, result = attestd(*arguments, "--nonce", staged.nonce[::-1].hex())
        assert (status, result["reason"], result["gpus"]) == (3, "gpu.nonce", [])
    # What a list says of a device is held against its report.
    status, result = attestd(*staged.all(staged.edited(lambda devices: devices[1].update(nonce="00" * 32))))
    assert (status, result["reason"]) == (3, "gpu.nonce")


def test_published_nonce(attestd: Run, staged: Staged) -> None:
    nonce = bytes.fromhex("931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb")
    staged.report.write_bytes(staged.gpus[0].report(SpdmReport(nonce=nonce)))
    for beside in ((), ("--nonce", nonce.hex())):
        status, result = attestd(*staged.one(), *beside)
        assert (status, result["flags"]) == (0, ["published_nonce"])


def test_other_architecture_than_named(attestd: Run, staged: Staged) -> None:
    status, result = attestd(*staged.all(staged.edited(lambda devices: devices[0].update(arch="BLACKWELL"))))
    assert (status, result["reason"]) == (3, "gpu.device_kind")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda devices: devices.clear(), "json.schema"),
        (lambda devices: devices[0].update(arch="AMPERE"), "json.schema"),
        (lambda devices: devices[0].update(more=1), "json.schema"),
        (lambda devices: devices[0].pop("certificate"), "json.schema"),
        (lambda devices: devices[0].update(nonce="00"), "json.schema"),
        (lambda devices: devices[0].update(evidence="#"), "base64.malformed"),
        (lambda devices: devices.extend(devices * 8), "json.schema"),
    ],
)
def test_malformed_lists(attestd: Run, staged: Staged, edit: Any, reason: str) -> None:
    status, result = attestd(*staged.all(staged.edited(edit)))
    assert (status, result["reason"]) == (2, reason)


def test_options_that_do_not_go_with_it(attestd: Run, staged: Staged) -> None:
    for extra in (
        ("--report-data", "00" * 64),
        ("--event-log", staged.report),
        ("--approved-image", f"sha256:{'00' * 32}"),
        ("--certificates", staged.certificates),
    ):
        status, result = attestd(*staged.one(), *extra)
        assert (status, result["reason"]) == (2, "evidence.kind")
    for arguments in (
        [*staged.all(), "--certificates", staged.certificates],
        [*staged.shared, "--evidence", staged.report],
    ):
        status, result = attestd(*arguments)
        assert (status, result["reason"]) == (2, "evidence.kind")
    vendor = Vendor.of()
    quote, root = staged.put("quote.bin", Attester.of(vendor).quote()), staged.put("root.der", vendor.root.der)
    shared = ("--at", dump_time(AT), "--trust-anchors", root)
    status, result = attestd("verify", "--tee", "tdx", "--evidence", quote, *shared, "--nonce", "00")
    assert (status, result["reason"]) == (2, "evidence.kind")


def test_refused_evidence_has_its_id(attestd: Run, staged: Staged) -> None:
    identity = attestd(*staged.one())[1]["evidence_id"]
    status, result = attestd(*staged.one(), "--nonce", "00" * 32)
    assert (status, result["evidence_id"]) == (3, identity)
    assert attestd(*staged.all())[1]["evidence_id"] is None


def test_refused_rim_refuses_all(attestd: Run, staged: Staged) -> None:
    staged.put("store/other.swidtag", b"<SoftwareIdentity/>")
    status, result = attestd(*staged.one())
    assert (status, result["reason"]) == (3, "gpu.rim_malformed")


def test_rims_by_name_and_one_too_many(attestd: Run, staged: Staged) -> None:
    """All that is needed is there, so another one does no harm."""
    other = GpuAttester.of(staged.gpus[0].vendor, replace(H100, driver_version="999.99"))
    spare = staged.put("spare.swidtag", other.rim("driver"))
    rims = [*sorted(staged.store.glob("*.swidtag")), spare]
    named = [argument for path in rims for argument in ("--endorsements", path)]
    anchors = ("--at", dump_time(AT), "--trust-anchors", staged.roots)
    assert attestd("verify", "--tee", "nvidia", *named, *anchors, "--evidence", staged.list)[0] == 0
    # In the place of one that is missing it is refused.
    driver = next(path for path in rims if "DRIVER" in path.name)
    named = [argument for path in rims if path != driver for argument in ("--endorsements", path)]
    status, result = attestd("verify", "--tee", "nvidia", *named, *anchors, "--evidence", staged.list)
    assert (status, result["reason"]) == (3, "gpu.rim_mismatch")
    assert "999.99" in result["detail"]


def test_on_a_terminal(on_terminal: Terminal, staged: Staged) -> None:
    staged.answer_ocsp()
    status, shown = on_terminal(*staged.all(), columns=240)
    assert (status, shown.splitlines()[0]) == (0, "verified")
    for gpu in staged.gpus:
        assert gpu.gpu.pdi.hex() in shown
    for rim_id in staged.gpus[0].rims():
        assert shown.count(rim_id) == 1
    for title in ("devices:", "reference values:", "topology:"):
        assert f"\n{title}\n" in shown
    assert "No policy was named" in shown


def test_a_policy(attestd: Run, staged: Staged) -> None:
    """GPUs vouch for no image: what the section says of them is shown, and that a CPU is missing."""
    staged.answer_ocsp()
    policy = (ROOT / "policies/cocoon-tdx-h100.toml").read_bytes()
    path = staged.put("policy.toml", policy)
    status, result = attestd(*staged.all(), "--policy", path)
    assert (status, result["outcome"], result["appraisal"]["tier"]) == (5, "verified", "contraindicated")
    found = {one["check"]: one["outcome"] for one in result["appraisal"]["findings"]}
    assert found.pop("tee") == "contraindicated"
    assert set(found.values()) == {"affirming"}
    assert {"gpu_count", "gpu_driver_version", "gpu_revocation", "gpu_rim_revocation", "gpu_grade"} <= set(found)
    staged.answer_ocsp(brom="hold")
    status, result = attestd(*staged.all(), "--policy", path)
    wrong = {one["check"] for one in result["appraisal"]["findings"] if one["outcome"] != "affirming"}
    assert (status, wrong) == (5, {"tee", "gpu_revocation"})


def test_a_policy_without_gpus(attestd: Run, staged: Staged) -> None:
    status, result = attestd(*staged.one(), "--policy", ROOT / "policies/strict-tdx.toml")
    assert status == 5
    assert [(one["check"], one["outcome"]) for one in result["appraisal"]["findings"]] == [
        ("tee", "contraindicated"),
        ("gpu", "contraindicated"),
    ]


def test_a_policy_is_not_asked_about_what_is_refused(attestd: Run, staged: Staged) -> None:
    policy = ("--policy", ROOT / "policies/cocoon-tdx-h100.toml")
    status, result = attestd(*staged.one(), *policy, "--nonce", "00" * 32)
    assert (status, result["reason"], result["appraisal"]) == (3, "gpu.nonce", None)


def test_a_policy_on_a_terminal(on_terminal: Terminal, staged: Staged) -> None:
    status, shown = on_terminal(*staged.all(), "--policy", ROOT / "policies/cocoon-tdx-h100.toml", columns=240)
    assert status == 5
    assert "contraindicated under policy" in shown
    assert "GPUs alone" in shown
    assert "No policy was named" not in shown


def test_a_switch_on_a_terminal(on_terminal: Terminal, tmp_path: Path) -> None:
    """It has one RIM, and goes with nothing."""
    switch = GpuAttester.of(NvidiaVendor.of("LS10"), NVSWITCH)
    status, shown = on_terminal(*Staged(tmp_path, (switch,)).one())
    assert status == 0
    assert switch.gpu.rim_id("vbios") in shown
    assert "topology:" not in shown
