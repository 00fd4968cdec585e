"""Azure's HCL report and vTPM quote: the genuine one, and for each rule evidence in which only that is wrong."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from itertools import product
from typing import Any, Final, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from hypothesis import given
from hypothesis import strategies as st

from attestd.binding.transcript import vtpm_extra_data
from attestd.claims import SnpClaims
from attestd.codec import dump_base64url
from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.simulator.azure import HclForm, TpmAttest, hcl_report_data
from attestd.snp.hcl import MAX_HCL_SIZE, parse_hcl
from attestd.snp.tpm import parse_quote
from attestd.snp.vtpm import VtpmClaims, export_vtpm, require_nonce, verify_vtpm
from tests.evidence import EVIDENCE
from tests.refusals import malformed, not_authentic

REPORT_AT: Final = 0x20
REQUEST_DATA_AT: Final = 0x4C0


def snp_claims(*, report_data: bytes, vmpl: int = 0) -> SnpClaims:
    """Claims of a report that was verified; nothing else of them is read."""
    values: dict[str, Any] = dict.fromkeys(SnpClaims._fields)
    return SnpClaims(**values | {"vmpl": vmpl, "report_data": report_data, "evidence_id": sha256(report_data).digest()})


# ---------------------------------------------------------------------------------------------------------------------
# Genuine evidence


@dataclass(frozen=True)
class Submitted:
    """What comes in, and what the report in it was verified to."""

    hcl: bytes
    message: bytes
    signature: bytes
    pcrs: tuple[bytes, ...] | None
    vmpl: int = 0

    def verify(self) -> VtpmClaims:
        """Parse and verify; the AMD part is taken as done."""
        hcl = parse_hcl(self.hcl)
        claims = snp_claims(report_data=hcl.report[0x50:0x90], vmpl=self.vmpl)
        return verify_vtpm(claims, hcl, parse_quote(self.message), self.signature, self.pcrs)


def genuine(case: str = "milan-v3-quote") -> tuple[Submitted, dict[str, Any]]:
    folder = EVIDENCE / "snp/azure-hcl" / case
    if not folder.is_dir():
        pytest.skip(f"no evidence at {EVIDENCE}: {case} not seen")
    expected = json.loads((folder / "expected.json").read_bytes())
    parts = ("hcl_report.bin", "tpm_quote.msg", "tpm_quote.sig")
    hcl, message, signature = ((folder / name).read_bytes() for name in parts)
    pcrs = tuple(bytes.fromhex(value) for value in expected["pcrs_sha256"])
    return Submitted(hcl, message, signature, pcrs), expected


def test_genuine_quote() -> None:
    submitted, expected = genuine()
    hcl = parse_hcl(submitted.hcl)
    assert (hcl.version, len(hcl.report), len(hcl.runtime_data)) == (1, 1184, expected["runtime_data_size"])
    assert hcl.report[0x50:0x90].hex() == expected["report"]["report_data"]
    claims = submitted.verify()
    require_nonce(claims, bytes.fromhex(expected["expected_tpm_nonce_hex"]))
    assert claims.pcrs == submitted.pcrs
    assert (claims.reset_count, claims.restart_count, claims.safe) == (2, 0, True)
    assert claims.user_data == bytes(64)
    assert claims.vm_configuration.secure_boot is True
    assert claims.vm_configuration.tpm_persisted is None  # a paravisor of that age does not say
    assert claims.vm_configuration.vm_unique_id == "26F8BC30-774E-4290-8E7A-535F3B672AEE"


def test_tampered_runtime_data() -> None:
    submitted, expected = genuine("milan-v3-runtime-data-tampered")
    assert expected["reject_reason"] == "runtime_data_hash_mismatch"
    with not_authentic(Reason.SNP_HCL_RUNTIME_HASH):
        submitted.verify()


def test_report_of_another_genuine_machine() -> None:
    submitted, _ = genuine()
    other = EVIDENCE / "snp/real/genoa-v3-azure-hcl/report.bin"
    spliced = submitted.hcl[:REPORT_AT] + other.read_bytes() + submitted.hcl[REQUEST_DATA_AT:]
    with not_authentic(Reason.SNP_HCL_RUNTIME_HASH):
        replace(submitted, hcl=spliced).verify()


# ---------------------------------------------------------------------------------------------------------------------
# Evidence in which everything can be set


@cache
def ak(bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


def jwk(**members: Any) -> dict[str, Any]:
    modulus = ak().public_key().public_numbers().n.to_bytes(256)
    made = {"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": dump_base64url(modulus)}
    return {name: value for name, value in (made | members).items() if value is not None}


EK: Final = {"kid": "HCLEkPub", "key_ops": ["encrypt"], "kty": "RSA", "e": "AQAB", "n": "AQ"}


def runtime(**members: Any) -> bytes:
    document: dict[str, Any] = {
        "keys": [jwk(), EK],
        "vm-configuration": {"secure-boot": True, "vmUniqueId": "26F8"},
        "user-data": bytes(64).hex(),
    }
    document |= {name.replace("_", "-"): value for name, value in members.items()}
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


@dataclass(frozen=True)
class Blob(HclForm):
    """An HCL report; by default it is as it should be, but for the report, of which REPORT_DATA alone is read."""

    runtime_data: bytes = field(default_factory=runtime)
    report_data: bytes | None = None

    def raw(self) -> bytes:
        report_data = hcl_report_data(self.runtime_data) if self.report_data is None else self.report_data
        return self.encode(b"\xee" * 0x50 + report_data + b"\xee" * (1184 - 0x90), self.runtime_data)


PCRS: Final = tuple(sha256(bytes([number])).digest() for number in range(24))
NONCE: Final = vtpm_extra_data(b"\x5a" * 64)


@dataclass(frozen=True)
class Attest(TpmAttest):
    """A TPMS_ATTEST; by default it is as it should be."""

    extra_data: bytes = NONCE
    pcrs: tuple[bytes, ...] = PCRS

    def message(self) -> bytes:
        return self.encode(self.extra_data)


def sign(message: bytes, key: rsa.RSAPrivateKey | None = None, algorithm: HashAlgorithm | None = None) -> bytes:
    return (key or ak()).sign(message, padding.PKCS1v15(), algorithm or SHA256())


def submitted(blob: Blob | None = None, attest: Attest | None = None) -> Submitted:
    message = (attest or Attest()).message()
    return Submitted((blob or Blob()).raw(), message, sign(message), PCRS)


def test_our_own_evidence() -> None:
    told = Attest(clock=7, reset_count=3, restart_count=1, firmware_version=bytes.fromhex("0000000000001234"))
    claims = submitted(attest=told).verify()
    assert (claims.clock, claims.reset_count, claims.restart_count, claims.safe) == (7, 3, 1, True)
    assert (claims.hcl_version, claims.firmware_version.hex()) == (1, "0000000000001234")
    assert claims.extra_data == NONCE
    assert submitted(Blob(version=2)).verify().hcl_version == 2
    assert not submitted(attest=Attest(safe=0)).verify().safe


@pytest.mark.parametrize("bits", [3072, 4096])
def test_larger_keys(bits: int) -> None:
    modulus = ak(bits).public_key().public_numbers().n.to_bytes(bits // 8)
    evidence = submitted(Blob(runtime(keys=[jwk(n=dump_base64url(modulus))])))
    replace(evidence, signature=sign(evidence.message, ak(bits))).verify()


def test_thumbprint_is_that_of_rfc_7638() -> None:
    members = {name: jwk()[name] for name in ("e", "kty", "n")}
    expected = sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
    assert submitted().verify().ak_thumbprint == expected


def test_evidence_id_is_of_report_and_quote() -> None:
    """The machine answers many challenges with one report."""
    runtimes = (runtime(), runtime(user_data=None))
    attests = (Attest(), Attest(extra_data=b"other"))
    ids = {submitted(Blob(data), attest).verify().evidence_id for data, attest in product(runtimes, attests)}
    assert len(ids) == 4
    assert submitted(Blob(padding=b"")).verify().evidence_id in ids


def test_export() -> None:
    claims = submitted().verify()
    exported = export_vtpm(claims)
    assert exported.keys() == set(VtpmClaims._fields) - {"evidence_id"}
    assert (exported["extra_data"], exported["pcrs"]) == (NONCE.hex(), [value.hex() for value in PCRS])
    assert exported["vm_configuration"] == {
        "console_enabled": None,
        "interactive_console_enabled": None,
        "secure_boot": True,
        "tpm_enabled": None,
        "tpm_persisted": None,
        "filtered_vpci_devices_allowed": None,
        "vm_unique_id": "26F8",
    }
    assert json.loads(json.dumps(exported)) == exported


# ---------------------------------------------------------------------------------------------------------------------
# The HCL report


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (Blob(magic=b"HCLB"), Reason.SNP_HCL_MALFORMED),
        (Blob(version=0), Reason.SNP_HCL_VERSION),
        (Blob(version=3), Reason.SNP_HCL_VERSION),
        (Blob(request_type=1), Reason.SNP_HCL_REQUEST_TYPE),
        (Blob(status=1), Reason.SNP_HCL_MALFORMED),
        (Blob(reserved=bytes(11) + b"\1"), Reason.SNP_HCL_MALFORMED),
        (Blob(size=0), Reason.SNP_HCL_MALFORMED),
        (Blob(data_version=2), Reason.SNP_HCL_VERSION),
        (Blob(report_type=4), Reason.SNP_HCL_REPORT_TYPE),
        (Blob(report_type=9), Reason.SNP_HCL_REPORT_TYPE),
        (Blob(hash_type=2), Reason.SNP_HCL_HASH_TYPE),
        (Blob(data_size=19), Reason.SNP_HCL_MALFORMED),
        (Blob(runtime_data_size=len(runtime()) + 1, data_size=len(runtime()) + 21), Reason.SNP_HCL_MALFORMED),
        (Blob(runtime_data_size=0xFFFFFFEB, data_size=0xFFFFFFFF, size=0xFFFFFFFF), Reason.SNP_HCL_MALFORMED),
        (Blob(padding=bytes(9) + b"\1"), Reason.SNP_HCL_MALFORMED),
        (Blob(padding=bytes(MAX_HCL_SIZE)), Reason.EVIDENCE_SIZE),
        (Blob(b""), Reason.SNP_HCL_RUNTIME_DATA),
        (Blob(b"[]"), Reason.SNP_HCL_RUNTIME_DATA),
        (Blob(runtime() + b" {}"), Reason.SNP_HCL_RUNTIME_DATA),
        (Blob(b'{"keys":[],' + runtime()[1:]), Reason.SNP_HCL_RUNTIME_DATA),  # twice
        (Blob(runtime(keys=None)), Reason.SNP_HCL_RUNTIME_DATA),
        (Blob(runtime(keys=[])), Reason.SNP_HCL_RUNTIME_DATA),
        (Blob(runtime(keys=[jwk(), *({"kid": "K"} for _ in range(8))])), Reason.SNP_HCL_RUNTIME_DATA),
        (Blob(runtime(keys=[jwk(), {}])), Reason.SNP_HCL_RUNTIME_DATA),
        (Blob(runtime(keys=[jwk(alg="RS256")])), Reason.SNP_HCL_RUNTIME_DATA),
        (Blob(runtime(keys=[EK])), Reason.SNP_HCL_AK),
        (Blob(runtime(keys=[jwk(), jwk()])), Reason.SNP_HCL_AK),
        (Blob(runtime(vm_configuration=None)), Reason.SNP_HCL_RUNTIME_DATA),
        (Blob(runtime(vm_configuration={"secure-boot": 1})), Reason.SNP_HCL_RUNTIME_DATA),
        (Blob(runtime(vm_configuration={"vmUniqueId": 1})), Reason.SNP_HCL_RUNTIME_DATA),
        (Blob(runtime(user_data="")), Reason.SNP_HCL_RUNTIME_DATA),
        (Blob(runtime(user_data="00" * 63)), Reason.SNP_HCL_RUNTIME_DATA),
        (Blob(runtime(user_data="zz" * 64)), Reason.SNP_HCL_RUNTIME_DATA),
    ],
)
def test_hcl_report_is_malformed(blob: Blob, reason: Reason) -> None:
    with malformed(reason):
        submitted(blob).verify()


def test_tdx_is_named() -> None:
    with pytest.raises(Malformed, match="Intel TDX"):
        parse_hcl(Blob(report_type=4).raw())


def modulus(**changes: Any) -> str:
    number = ak().public_key().public_numbers().n
    raw = changes.get("raw") or (number + changes.get("add", 0)).to_bytes(256)
    return dump_base64url(raw)


@pytest.mark.parametrize(
    "key",
    [
        jwk(kty="EC"),
        jwk(key_ops=["encrypt"]),
        jwk(key_ops=["sign", "verify"]),
        jwk(e="Aw"),
        jwk(e="AAEAAQ"),  # 65537 with a leading zero
        jwk(n=modulus() + "="),
        jwk(n=modulus(add=1)),  # even
        jwk(n=modulus(raw=b"\0" + bytes(range(1, 257 - 1)) + b"\1")),
        jwk(n=modulus(raw=b"\xff" * 255)),
        jwk(n=modulus(raw=b"\xff" * 128)),
        jwk(n=modulus(raw=b"\xff" * 1024)),
        jwk(n=None),
    ],
)
def test_attestation_key_is_not_acceptable(key: dict[str, Any]) -> None:
    with malformed(Reason.SNP_HCL_AK):
        submitted(Blob(runtime(keys=[key, EK]))).verify()


def test_members_of_later_paravisors_are_left_alone() -> None:
    configuration = {"tpm-version": "1.38", "hardware-sealing-policy": "none", "tpm-persisted": True}
    claims = submitted(Blob(runtime(more=[1], user_data=None, vm_configuration=configuration))).verify()
    assert claims.user_data is None
    assert claims.vm_configuration.tpm_persisted is True
    assert claims.vm_configuration.vm_unique_id is None


# ---------------------------------------------------------------------------------------------------------------------
# The quote


@pytest.mark.parametrize(
    ("attest", "reason"),
    [
        (Attest(magic=b"\xffTCH"), Reason.SNP_VTPM_ATTEST_TYPE),
        (Attest(type=0x8017), Reason.SNP_VTPM_ATTEST_TYPE),  # TPM_ST_ATTEST_CERTIFY
        (Attest(qualified_signer=bytes(67)), Reason.SNP_VTPM_QUOTE_MALFORMED),
        (Attest(extra_data=bytes(65)), Reason.SNP_VTPM_QUOTE_MALFORMED),
        (Attest(safe=2), Reason.SNP_VTPM_QUOTE_MALFORMED),
        (Attest(selections=bytes.fromhex("00000001000b03ffff7f")), Reason.SNP_VTPM_PCR_SELECTION),
        (Attest(selections=bytes.fromhex("00000001000403ffffff")), Reason.SNP_VTPM_PCR_SELECTION),  # SHA-1
        (Attest(selections=bytes.fromhex("00000002000b03ffffff000403ffffff")), Reason.SNP_VTPM_PCR_SELECTION),
        (Attest(selections=bytes.fromhex("00000001000b04ffffff00")), Reason.SNP_VTPM_PCR_SELECTION),
        (Attest(pcr_digest=bytes(20)), Reason.SNP_VTPM_QUOTE_MALFORMED),
        (Attest(pcr_digest=bytes(33)), Reason.SNP_VTPM_QUOTE_MALFORMED),
        (Attest(trailing=b"\0"), Reason.SNP_VTPM_QUOTE_MALFORMED),
    ],
)
def test_quote_is_malformed(attest: Attest, reason: Reason) -> None:
    with malformed(reason):
        submitted(attest=attest).verify()


def test_quote_of_every_length() -> None:
    raw = Attest().message()
    for size in range(len(raw)):
        with malformed(Reason.SNP_VTPM_QUOTE_MALFORMED):
            parse_quote(raw[:size])


# ---------------------------------------------------------------------------------------------------------------------
# What belongs together


@pytest.mark.parametrize("vmpl", [1, 2, 3])
def test_report_of_a_guest_below_the_paravisor(vmpl: int) -> None:
    with not_authentic(Reason.SNP_VTPM_VMPL):
        replace(submitted(), vmpl=vmpl).verify()


@pytest.mark.parametrize(
    "report_data",
    [
        bytes(64),
        sha256(runtime()).digest() + bytes(31) + b"\1",
        bytes(32) + sha256(runtime()).digest(),
        sha256(runtime() + b" ").digest() + bytes(32),
    ],
)
def test_report_commits_to_something_else(report_data: bytes) -> None:
    with not_authentic(Reason.SNP_HCL_RUNTIME_HASH):
        submitted(Blob(report_data=report_data)).verify()


def test_quote_by_another_key() -> None:
    other = rsa.generate_private_key(65537, 2048)
    evidence = submitted()
    with not_authentic(Reason.SNP_VTPM_QUOTE_SIGNATURE):
        replace(evidence, signature=sign(evidence.message, other)).verify()


def test_key_of_another_kid_signs_nothing() -> None:
    """The endorsement key's entry is no attestation key, whatever it may be able to sign."""
    other = rsa.generate_private_key(65537, 2048)
    foreign = jwk(n=dump_base64url(other.public_key().public_numbers().n.to_bytes(256)), kid="HCLEkPub")
    evidence = submitted(Blob(runtime(keys=[foreign, jwk()])))
    evidence.verify()
    with not_authentic(Reason.SNP_VTPM_QUOTE_SIGNATURE):
        replace(evidence, signature=sign(evidence.message, other)).verify()


@pytest.mark.parametrize(
    "signature",
    [
        lambda raw: b"",
        lambda raw: sign(raw, algorithm=SHA384()),
        lambda raw: ak().sign(raw, padding.PSS(padding.MGF1(SHA256()), 32), SHA256()),
        lambda raw: sign(raw + b"\0"),
        lambda raw: sign(raw)[:-1],
        lambda raw: sign(raw) + b"\0",
        lambda raw: b"\0" + sign(raw),
        lambda raw: bytes.fromhex("0014000b0100") + sign(raw),  # TPMT_SIGNATURE
        lambda raw: sign(raw)[::-1],
    ],
)
def test_signature_of_another_form(signature: Callable[[bytes], bytes]) -> None:
    evidence = submitted()
    with not_authentic(Reason.SNP_VTPM_QUOTE_SIGNATURE):
        replace(evidence, signature=signature(evidence.message)).verify()


@pytest.mark.parametrize(
    "pcrs",
    [
        (),
        PCRS[:23],
        (*PCRS, bytes(32)),
        PCRS[::-1],
        (*PCRS[:23], bytes(32)),
        (b"".join(PCRS),),
        tuple(left + right for left, right in zip(PCRS[::2], PCRS[1::2], strict=True)),
    ],
)
def test_other_pcrs(pcrs: tuple[bytes, ...]) -> None:
    with not_authentic(Reason.SNP_VTPM_PCR_DIGEST):
        replace(submitted(), pcrs=pcrs).verify()


@pytest.mark.parametrize("pcrs", [PCRS[:23], (*PCRS, bytes(32))])
def test_pcrs_are_counted(pcrs: tuple[bytes, ...]) -> None:
    """Whoever makes up a vTPM signs whatever digest fits."""
    evidence = submitted(attest=Attest(pcr_digest=sha256(b"".join(pcrs)).digest()))
    with not_authentic(Reason.SNP_VTPM_PCR_DIGEST):
        replace(evidence, pcrs=pcrs).verify()


def test_pcrs_may_be_left_out() -> None:
    claims = replace(submitted(), pcrs=None).verify()
    assert (claims.pcrs, claims.pcr_digest) == (None, sha256(b"".join(PCRS)).digest())


@pytest.mark.parametrize("extra_data", [b"", NONCE[:31], NONCE + b"\0", b"\x5a" * 64, b"\x5a" * 32])
def test_quote_answers_another_nonce(extra_data: bytes) -> None:
    """Also the report data itself, and its first half: extraData has one form."""
    claims = submitted(attest=Attest(extra_data=extra_data)).verify()
    with not_authentic(Reason.SNP_VTPM_NONCE):
        require_nonce(claims, NONCE)


def test_extra_data_commits_to_all_of_the_report_data() -> None:
    assert vtpm_extra_data(bytes(64)) == sha256(bytes(64)).digest()
    assert vtpm_extra_data(bytes(63) + b"\1") != vtpm_extra_data(bytes(64))


# ---------------------------------------------------------------------------------------------------------------------
# Sweeps


def flips(raw: bytes) -> Iterator[tuple[int, bytes]]:
    for position in range(len(raw)):
        yield position, raw[:position] + bytes([raw[position] ^ 1 << position % 8]) + raw[position + 1 :]


def unsigned_elsewhere(position: int) -> bool:
    """Whether a byte is of the report, but not of REPORT_DATA: AMD's signature, which is not here, is over it."""
    return REPORT_AT <= position < REQUEST_DATA_AT and not REPORT_AT + 0x50 <= position < REPORT_AT + 0x90


@pytest.mark.parametrize("make", [submitted, lambda: genuine()[0]], ids=["own", "genuine"])
@pytest.mark.parametrize("part", ["hcl", "message", "signature"])
def test_a_flip_in_every_byte_is_refused(make: Callable[[], Submitted], part: str) -> None:
    evidence = make()
    for position, changed in flips(getattr(evidence, part)):
        if part == "hcl" and unsigned_elsewhere(position):
            continue
        if part == "hcl" and (position, changed[4]) == (4, 3 - evidence.hcl[4]):
            continue  # version 1 for version 2: it says nothing
        with pytest.raises((Malformed, NotAuthentic)) as caught:
            replace(evidence, **cast("dict[str, Any]", {part: changed})).verify()
        assert caught.value.reason.startswith("snp."), position


def test_hcl_report_of_every_length() -> None:
    raw = Blob(padding=b"").raw()
    for size in range(len(raw)):
        with malformed(Reason.SNP_HCL_MALFORMED):
            parse_hcl(raw[:size])


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_parsers_raise_nothing_else(noise: bytes, position: int) -> None:
    raw = Blob().raw()
    for parse, changed in (
        (parse_hcl, raw[:position] + noise + raw[position + len(noise) :]),
        (parse_quote, noise),
        (parse_quote, Attest().message()[: position % 120] + noise),
    ):
        with suppress(Malformed):
            parse(changed)
