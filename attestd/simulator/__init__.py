"""A vendor and an attester made of test keys, for tests, for `make fixtures` and for `attestd demo`.

Nothing but those imports this package, and no real vendor's trust anchor accepts anything that it makes. All of it has
the layout of genuine quotes and collateral and shares no code with the parsers, so that both cannot be wrong alike.

    keys.py          test keys from a seed
    tampering.py     how to do one thing wrong: edits of bytes, and how something is signed
    der.py           DER, piece by piece
    certificates.py  certificates and CRLs as forms
    pck.py           a platform, and the SGX extension of its PCK certificate
    collateral.py    TCB Info and QE Identity
    vendor.py        Vendor: the PKI, and all collateral
    reports.py       report bodies: SgxReport, TdReport, TdReport15, TdReport15Ex
    quotes.py        Framing: everything in a quote but its body
    eventlogs.py     CCEL and dstack's JSON, and the RTMRs that they give
    ratls.py         Cocoon's RA-TLS certificate
    attester.py      Attester: quotes and evidence

    rsa.py           RSA keys from a seed, RSASSA-PSS
    vek.py           a chip, and the extensions of its VCEK or VLEK
    amd.py           AmdVendor: the PKI of a product line, and its CRL
    snp_report.py    SnpReport
    certtable.py     the certificate table of an extended report
    azure.py         HCL reports, and quotes of a vTPM
    snp_attester.py  SnpAttester: reports and evidence

    gpu.py           a GPU or NVSwitch, and the extensions of its certificate
    nvidia.py        NvidiaVendor: the PKI of devices and of RIMs
    spdm.py          SpdmReport
    xmltree.py       XML as it is written and as it is signed
    rim.py           RIMs and their signatures
    ocsp.py          OCSP answers
    gpu_attester.py  GpuAttester: reports, RIMs, answers to a nonce, boards of several

    fixtures.py      the files that `python -m attestd.simulator DIRECTORY` writes, with snp_fixtures.py and
                     nvidia_fixtures.py; case.py is what those have in common
"""

from attestd.simulator.amd import AmdVendor, amd_name
from attestd.simulator.attester import Attester, Registry
from attestd.simulator.azure import HclForm, TpmAttest, runtime_data
from attestd.simulator.certificates import (
    Authority,
    CertificateForm,
    CrlForm,
    Extension,
    Revoked,
    basic_constraints,
    key_usage,
)
from attestd.simulator.certtable import TableEntry, certificate_table
from attestd.simulator.eventlogs import BOOT, DSTACK_BOOT, Event, ccel, dstack_log, replay
from attestd.simulator.fixtures import collateral_files
from attestd.simulator.gpu import (
    B200,
    DICE_TCB_INFO,
    FWID_EXTENSION,
    H100,
    MPT,
    NVSWITCH,
    OFF,
    ON,
    PPCIE,
    SPT,
    Gpu,
    dice_tcb_info,
    fwid_extension,
)
from attestd.simulator.gpu_attester import (
    ASKED_ROLES,
    GpuAnswer,
    GpuAttester,
    answers,
    gpu_endorsements,
    gpu_set,
    protected_pcie,
)
from attestd.simulator.keys import REPRODUCIBLE, KeyPair, p256_key, p384_key, sign_p256
from attestd.simulator.nvidia import NvidiaVendor, nvidia_name
from attestd.simulator.ocsp import OcspForm, OcspResponder, SingleAnswer, by_name, cert_id, nonce_extension
from attestd.simulator.pck import CURRENT_SVNS, OLDER_SVNS, SGX_EXTENSION, Platform, svns
from attestd.simulator.quotes import Framing
from attestd.simulator.reports import (
    DEBUG,
    MIGRATABLE,
    SEPT_VE_DISABLE,
    SGX_QE,
    TD_QE,
    SgxReport,
    TdReport,
    TdReport15,
    TdReport15Ex,
    bits,
)
from attestd.simulator.rim import Golden, RimForm, XmlSignature
from attestd.simulator.rsa import rsa_key, rsassa_pss, sign_pss
from attestd.simulator.snp_attester import SnpAttester
from attestd.simulator.snp_report import DEBUG_ALLOWED, MIGRATE_MA, POLICY, SnpReport, other_s, signing_key
from attestd.simulator.spdm import Block, OpaqueField, SpdmReport, measured, opaque_field, other_spdm_s
from attestd.simulator.tampering import Signing, append, cut, flip, negate_s, put, swap
from attestd.simulator.vek import (
    AMD_ARC,
    BERGAMO,
    CHIPS,
    GENOA,
    MILAN,
    TURIN,
    Chip,
    spl,
    tcb_version,
    vek_extension,
)
from attestd.simulator.vendor import AT, Vendor, pem, subject_name
from attestd.simulator.xmltree import Element

__all__ = [
    "AMD_ARC",
    "ASKED_ROLES",
    "AT",
    "B200",
    "BERGAMO",
    "BOOT",
    "CHIPS",
    "CURRENT_SVNS",
    "DEBUG",
    "DEBUG_ALLOWED",
    "DICE_TCB_INFO",
    "DSTACK_BOOT",
    "FWID_EXTENSION",
    "GENOA",
    "H100",
    "MIGRATABLE",
    "MIGRATE_MA",
    "MILAN",
    "MPT",
    "NVSWITCH",
    "OFF",
    "OLDER_SVNS",
    "ON",
    "POLICY",
    "PPCIE",
    "REPRODUCIBLE",
    "SEPT_VE_DISABLE",
    "SGX_EXTENSION",
    "SGX_QE",
    "SPT",
    "TD_QE",
    "TURIN",
    "AmdVendor",
    "Attester",
    "Authority",
    "Block",
    "CertificateForm",
    "Chip",
    "CrlForm",
    "Element",
    "Event",
    "Extension",
    "Framing",
    "Golden",
    "Gpu",
    "GpuAnswer",
    "GpuAttester",
    "HclForm",
    "KeyPair",
    "NvidiaVendor",
    "OcspForm",
    "OcspResponder",
    "OpaqueField",
    "Platform",
    "Registry",
    "Revoked",
    "RimForm",
    "SgxReport",
    "Signing",
    "SingleAnswer",
    "SnpAttester",
    "SnpReport",
    "SpdmReport",
    "TableEntry",
    "TdReport",
    "TdReport15",
    "TdReport15Ex",
    "TpmAttest",
    "Vendor",
    "XmlSignature",
    "amd_name",
    "answers",
    "append",
    "basic_constraints",
    "bits",
    "by_name",
    "ccel",
    "cert_id",
    "certificate_table",
    "collateral_files",
    "cut",
    "dice_tcb_info",
    "dstack_log",
    "flip",
    "fwid_extension",
    "gpu_endorsements",
    "gpu_set",
    "key_usage",
    "measured",
    "negate_s",
    "nonce_extension",
    "nvidia_name",
    "opaque_field",
    "other_s",
    "other_spdm_s",
    "p256_key",
    "p384_key",
    "pem",
    "protected_pcie",
    "put",
    "replay",
    "rsa_key",
    "rsassa_pss",
    "runtime_data",
    "sign_p256",
    "sign_pss",
    "signing_key",
    "spl",
    "subject_name",
    "svns",
    "swap",
    "tcb_version",
    "vek_extension",
]
