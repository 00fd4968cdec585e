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
    fixtures.py      the files that `python -m attestd.simulator DIRECTORY` writes
"""

from attestd.simulator.attester import Attester, Registry
from attestd.simulator.certificates import (
    Authority,
    CertificateForm,
    CrlForm,
    Extension,
    Revoked,
    basic_constraints,
    key_usage,
)
from attestd.simulator.eventlogs import BOOT, DSTACK_BOOT, Event, ccel, dstack_log, replay
from attestd.simulator.fixtures import collateral_files
from attestd.simulator.keys import REPRODUCIBLE, KeyPair, p256_key, p384_key, sign_p256
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
from attestd.simulator.tampering import Signing, append, cut, flip, negate_s, put, swap
from attestd.simulator.vendor import AT, Vendor, pem, subject_name

__all__ = [
    "AT",
    "BOOT",
    "CURRENT_SVNS",
    "DEBUG",
    "DSTACK_BOOT",
    "MIGRATABLE",
    "OLDER_SVNS",
    "REPRODUCIBLE",
    "SEPT_VE_DISABLE",
    "SGX_EXTENSION",
    "SGX_QE",
    "TD_QE",
    "Attester",
    "Authority",
    "CertificateForm",
    "CrlForm",
    "Event",
    "Extension",
    "Framing",
    "KeyPair",
    "Platform",
    "Registry",
    "Revoked",
    "SgxReport",
    "Signing",
    "TdReport",
    "TdReport15",
    "TdReport15Ex",
    "Vendor",
    "append",
    "basic_constraints",
    "bits",
    "ccel",
    "collateral_files",
    "cut",
    "dstack_log",
    "flip",
    "key_usage",
    "negate_s",
    "p256_key",
    "p384_key",
    "pem",
    "put",
    "replay",
    "sign_p256",
    "subject_name",
    "svns",
    "swap",
]
