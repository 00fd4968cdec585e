"""Complete cases as files: a quote, the collateral of its time, and what is expected of a verifier.

The expectations are stated here by hand; no verifier is asked for them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from attestd.binding import transcript
from attestd.claims import PckCa, ProductLine
from attestd.simulator.amd import AmdVendor
from attestd.simulator.attester import Attester
from attestd.simulator.case import describe, dump, show
from attestd.simulator.collateral import CURRENT_TCB_DATE, EVALUATION_DATA_NUMBER, OLDER_TCB_DATE, Tee, timestamp
from attestd.simulator.eventlogs import BOOT, DSTACK_BOOT, ccel, dstack_log
from attestd.simulator.keys import KeyPair, p256_key
from attestd.simulator.nvidia_fixtures import nvidia_cases, nvidia_roots
from attestd.simulator.pck import OLDER_SVNS, Platform
from attestd.simulator.quotes import USUAL, Framing
from attestd.simulator.ratls import ra_tls_certificate
from attestd.simulator.reports import DEBUG, SEPT_VE_DISABLE, TD, Body, SgxReport, TdReport, TdReport15, bits
from attestd.simulator.snp_fixtures import ark_path, snp_cases
from attestd.simulator.tampering import Signing
from attestd.simulator.vendor import AT, Vendor
from attestd.tdx.collateral import RawCollateral

ROOT: Final = "roots/simulated_root.der"

_BODY_TYPES: Final = {SgxReport: "enclave(384)", TdReport: "td1.0(584)", TdReport15: "td1.5(648)"}

README: Final = """\
# Fixtures

`tdx/`, `snp/` and `nvidia/` are simulated evidence in the layout of genuine evidence. `make fixtures` writes it
(`python -m attestd.simulator fixtures`), byte for byte the same each time. **Every key behind it is a test key that
anybody can derive from the source**: whoever trusts one of `roots/` trusts everybody. Simulated roots of AMD and NVIDIA
have the common names of theirs; the rest of their names says what they are.

`binding-vectors.json` has inputs and outputs of each binding scheme, in hex.

One folder per case, in which `expected.json` has the time to verify at (never the wall clock), the root to trust, and
what is to come out: `reason` (and `reject_stage`) are null unless the evidence must be refused whatever the policy;
`strict_policy_accepts` is what a strict policy says that knows these measurements.

## tdx

- `quote.bin`: the quote.
- `collateral/`: TCB Info, QE Identity and CRLs as Intel's service sends them, each with the chain of its issuer.
- `ccel.bin`, `dstack_event_log.json`, `ra_tls_certificate.der`: where the case has one.

| case | what |
|---|---|
{tdx}

Verify one:

    attestd verify --tee tdx --evidence fixtures/tdx/tdx-v4-up-to-date/quote.bin \\
        --endorsements fixtures/tdx/tdx-v4-up-to-date/collateral \\
        --trust-anchors fixtures/roots/simulated_root.der --at {at}

## snp

- `report.bin`: the report, of an extended one with its certificate table.
- `hcl_report.bin`, `tpm_quote.msg`, `tpm_quote.sig`, `tpm_pcrs.bin`: in its place what an Azure machine has.
- `endorsements/`: VCEK with ASK, or VLEK with ASVK, unless they are in the table, and the CRL of the product line.

| case | what |
|---|---|
{snp}

Verify one:

    attestd verify --tee snp --evidence fixtures/snp/snp-genoa-v5/report.bin \\
        --endorsements fixtures/snp/snp-genoa-v5/endorsements \\
        --trust-anchors fixtures/roots/simulated_ark_genoa.der --at {at}

## nvidia

- `report.bin`: SPDM request and response; `certs.pem`: the certificates of the device, leaf first.
- `evidence.json`: in their place what several devices say to one nonce, as NVIDIA's tools write it.
- `endorsements/`: RIMs by their ids, and an OCSP answer for each certificate that one is asked about, by its role.

Two roots are to be trusted: that of devices and that of RIMs. `reason` is for these endorsements, and a policy that
takes answers of OCSP without a nonce.

| case | what |
|---|---|
{nvidia}
"""


def collateral_files(collateral: RawCollateral) -> dict[str, bytes]:
    """Return the seven documents by the file names that an endorsements folder gives them."""
    return {name + _suffix(name): raw for name, raw in asdict(collateral).items()}


def _suffix(name: str) -> str:
    if name.endswith("_chain"):
        return ".pem"
    return ".der" if name.endswith("_crl") else ".json"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One folder."""

    name: str
    what: str
    attester: Attester
    body: Body = TD
    framing: Framing = USUAL
    more: Mapping[str, bytes] = field(default_factory=dict)  # further files
    expected: Mapping[str, Any] = field(default_factory=dict)  # where it differs from an up-to-date platform

    @property
    def tee(self) -> Tee:
        """Which collateral is needed."""
        return "sgx" if isinstance(self.body, SgxReport) else "tdx"

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield each file by its path in the folder."""
        vendor = self.attester.vendor
        quote = self.attester.quote(self.body, self.framing)
        yield "quote.bin", quote
        for name, raw in collateral_files(vendor.collateral(self.tee, self.attester.platform.ca)).items():
            yield f"collateral/{name}", raw
        yield from self.more.items()
        yield "expected.json", dump(self._description(vendor, quote))

    def _description(self, vendor: Vendor, quote: bytes) -> dict[str, Any]:
        return describe(self.name, self.what, ROOT, vendor.at, self.tee.upper()) | {
            "quote_version": int.from_bytes(quote[:2], "little"),
            "body_type": _BODY_TYPES[type(self.body)],
            "quote_size": len(quote),
            "fmspc": self.attester.platform.fmspc.hex(),
            "body": show(asdict(self.body)),
            "expected": _up_to_date(self.tee) | dict(self.expected),
        }


def _up_to_date(tee: Tee) -> dict[str, Any]:
    tdx = tee == "tdx"
    return {
        "reject_stage": None,
        "reason": None,
        "tcb_info_evaluation_data_number": EVALUATION_DATA_NUMBER,
        "qe_identity_evaluation_data_number": EVALUATION_DATA_NUMBER,
        "tcb_status": "UpToDate",
        "advisory_ids": [],
        "sgx_level_status": "UpToDate",
        "tdx_level_status": "UpToDate" if tdx else None,
        "tdx_module_id": "TDX_01" if tdx else None,
        "tdx_module_status": "UpToDate" if tdx else None,
        "qe_status": "UpToDate",
        "tcb_level_date": CURRENT_TCB_DATE,
        "policy_flags": [],
        "strict_policy_accepts": True,
    }


def cases(vendor: Vendor) -> Iterator[Case]:
    """Yield the cases; those that are not up to date differ from the first one in one thing."""
    attester = Attester.of(vendor)
    yield Case(name="tdx-v4-up-to-date", what="TD 1.0 on an up-to-date platform", attester=attester)
    yield Case(
        name="tdx-v5-td15-up-to-date", what="TD 1.5 on an up-to-date platform", attester=attester, body=TdReport15()
    )
    yield Case(
        name="sgx-v3-up-to-date",
        what="SGX enclave; PCK of the Processor CA",
        attester=Attester.of(vendor, Platform(ca=PckCa.PROCESSOR, sgx_type=0)),
        body=SgxReport(),
    )
    yield _out_of_date(vendor)
    yield Case(
        name="tdx-v4-debug",
        what="debug TD: its memory is readable by the host",
        attester=attester,
        body=TdReport(td_attributes=bits(DEBUG, SEPT_VE_DISABLE)),
        expected={"policy_flags": ["debug"], "strict_policy_accepts": False},
    )
    yield _forged(attester)
    yield Case(
        name="tdx-v4-ccel",
        what="with the firmware's event log, which replays to the RTMRs",
        attester=attester,
        body=TD.booted(BOOT),
        more={"ccel.bin": ccel(BOOT)},
    )
    yield Case(
        name="tdx-v4-dstack-event-log",
        what="with dstack's event log, which replays to the RTMRs",
        attester=attester,
        body=TD.booted(DSTACK_BOOT),
        more={"dstack_event_log.json": dstack_log(DSTACK_BOOT)},
    )
    yield _cocoon(attester)


def _out_of_date(vendor: Vendor) -> Case:
    return Case(
        name="tdx-v4-out-of-date",
        what="platform below the current TCB level, with an advisory",
        attester=Attester.of(vendor, Platform(tcb_components=OLDER_SVNS)),
        expected={
            "tcb_status": "OutOfDate",
            "advisory_ids": ["INTEL-SA-90001"],
            "sgx_level_status": "OutOfDate",
            "tdx_level_status": "OutOfDate",
            "tcb_level_date": OLDER_TCB_DATE,
            "strict_policy_accepts": False,
        },
    )


def _forged(attester: Attester) -> Case:
    return Case(
        name="tdx-v4-forged-quote-signature",
        what="signed with a key that the quoting enclave does not vouch for; everything else is right",
        attester=attester,
        framing=Framing(signing=Signing(key=p256_key("forger", "attestation"))),
        expected={
            "reject_stage": "quote_signature",
            "reason": "tdx.quote_signature",
            "strict_policy_accepts": False,
        },
    )


def _cocoon(attester: Attester) -> Case:
    key = KeyPair.ed25519("cocoon worker")
    body = TdReport(report_data=transcript.cocoon_report_data(key.raw))
    return Case(
        name="tdx-v4-cocoon-ra-tls",
        what="inside of an RA-TLS certificate of Cocoon's, bound to its Ed25519 key",
        attester=attester,
        body=body,
        more={"ra_tls_certificate.der": ra_tls_certificate(key, attester.quote(body), attester.vendor.at)},
    )


def files() -> dict[str, bytes]:
    """Return every file by its path below the directory; the same bytes each time."""
    vendor = Vendor.of()
    amd = {line: AmdVendor.of(line) for line in ProductLine}
    written = {ROOT: vendor.root.der} | {ark_path(line): one.ark.der for line, one in amd.items()} | nvidia_roots()
    tables = []
    for tee, made in (
        ("tdx", tuple(cases(vendor))),
        ("snp", tuple(snp_cases(amd))),
        ("nvidia", tuple(nvidia_cases())),
    ):
        tables.append("\n".join(f"| `{case.name}` | {case.what} |" for case in made))
        written |= {f"{tee}/{case.name}/{path}": raw for case in made for path, raw in case.files()}
    tdx, snp, nvidia = tables
    written["README.md"] = README.format(tdx=tdx, snp=snp, nvidia=nvidia, at=timestamp(AT)).encode()
    return written
