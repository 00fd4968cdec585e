"""The documents by the names of their files: Intel's in bundles, AMD's, and NVIDIA's.

A bundle is Intel's collateral for one platform as seven files in one folder.

    tcb_info.json       tcb_info_issuer_chain.pem
    qe_identity.json    qe_identity_issuer_chain.pem
    pck_crl.der         pck_crl_issuer_chain.pem        root_ca_crl.der

AMD's certificates and CRLs may lie in any folders, under names that end in one of these, after `_`, `-` or nothing:

    vcek, vlek      ask, asvk, ark      cert_chain      crl             .der, .pem, .crt, .cer, .crl

Thus `genoa_ask.pem` and `crl.der`, and what caches of AMD's key distribution service call
`vcek/<hwid>/bl03_tee00_snp08_ucode115_vcek.der`. CRLs may be in DER, PEM or hex, whatever their suffix says: caching
services differ (tdx.md, facts).

NVIDIA's RIMs are any `.swidtag`, and an `.xml` with `rim` in its name or with a name as NVIDIA's RIM service has it
(`NV_GPU_DRIVER_GH100_550.144.03.xml`); the answers of that service are such a `.json`. OCSP answers are any `.ocsp` or
`.ors`, in DER.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import Final, TypeAlias

from attestd.errors import AttestdError, Malformed, Reason, Unavailable
from attestd.tdx.collateral import RawCollateral

# Paths below the folder or archive, with slashes, and what they hold.
Files: TypeAlias = Mapping[str, bytes]

# A TCB Info has 30 KiB; a CRL grows by some 40 bytes with each revoked platform. The authenticator has finer caps.
MAX_FILE_SIZE: Final = 4 * 1024 * 1024
# Five hundred platforms of Intel's, which is more than there are, or as many chips of AMD's, or RIMs, as files.
MAX_FILES: Final = 3500
MAX_TOTAL_SIZE: Final = 64 * 1024 * 1024
# A folder of platforms, a folder each, `collateral` in it; and one above, from archives.
MAX_DEPTH: Final = 4

_CRL_SUFFIXES: Final = ("der", "pem", "hex", "crl")
_SUFFIXES: Final = {
    "tcb_info": ("json",),
    "tcb_info_issuer_chain": ("pem",),
    "qe_identity": ("json",),
    "qe_identity_issuer_chain": ("pem",),
    "root_ca_crl": _CRL_SUFFIXES,
    "pck_crl": _CRL_SUFFIXES,
    "pck_crl_issuer_chain": ("pem",),
}
_FILES: Final = {f"{name}.{suffix}": name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}

# They say themselves what they are.
AMD: Final = "amd"
NVIDIA: Final = "nvidia"
_AMD_FILE: Final = re.compile(r"(?:.*[_-])?(?:vcek|vlek|ask|asvk|ark|cert_chain|crl)\.(?:der|pem|crt|cer|crl)")
_NVIDIA_FILE: Final = re.compile(r".*\.(?:swidtag|ocsp|ors)|(?:.*[Rr][Ii][Mm]|NV_).*\.(?:xml|json)")


@dataclass(frozen=True, slots=True)
class Problem:
    """A file or a bundle that is refused. `file` is relative to the folder or archive; safe to log."""

    file: str
    error: AttestdError

    @property
    def reason(self) -> Reason:
        """Why."""
        return self.error.reason

    def __str__(self) -> str:
        """Name the file and all that the refusal says."""
        return f"{self.file}: {self.error}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The documents found in one folder, by the names of `RawCollateral`; not authenticated, perhaps not complete."""

    folder: str
    documents: Mapping[str, bytes]

    def raw(self) -> RawCollateral:
        """Return all seven. Raises `Unavailable` (`tdx.endorsements_missing`), which names the missing ones."""
        if missing := [file_name(name) for name in _SUFFIXES if name not in self.documents]:
            raise Unavailable(
                Reason.TDX_ENDORSEMENTS_MISSING,
                found=f"{len(self.documents)} of {len(_SUFFIXES)} documents",
                wanted=", ".join(missing),
            )
        return RawCollateral(**self.documents)


def document_name(path: str) -> str | None:
    """Return which document a file of this name holds: by the field names of `RawCollateral`, `AMD` or `NVIDIA`.

    None for any other.
    """
    name = PurePosixPath(path).name
    if name in _FILES:
        return _FILES[name]
    if _AMD_FILE.fullmatch(name):
        return AMD
    return NVIDIA if _NVIDIA_FILE.fullmatch(name) else None


def amd_documents(files: Files) -> dict[str, bytes]:
    """Return those of the files that are AMD's."""
    return {path: raw for path, raw in sorted(files.items()) if document_name(path) == AMD}


def nvidia_documents(files: Files) -> dict[str, bytes]:
    """Return those of the files that are NVIDIA's."""
    return {path: raw for path, raw in sorted(files.items()) if document_name(path) == NVIDIA}


def file_name(document: str) -> str:
    """Return the file name under which a document is written."""
    return f"{document}.{_SUFFIXES[document][0]}"


def bundles_in(files: Files) -> tuple[Bundle, ...]:
    """Group files by their folder; what is no document is left out.

    Raises `Malformed` (`endorsements.file`) where a folder holds one document under two names.
    """
    folders: dict[str, dict[str, bytes]] = {}
    for path, raw in sorted(files.items()):
        document = document_name(path)
        if document not in (AMD, NVIDIA, None):
            documents = folders.setdefault(str(PurePosixPath(path).parent), {})
            if document in documents:
                raise refused_file(f"two files for {document}", "one file for each document")
            documents[document] = raw
    return tuple(Bundle(folder, documents) for folder, documents in folders.items())


def refused_file(found: str, wanted: str) -> Malformed:
    """Make the refusal of a file for what it is, before looking into it."""
    return Malformed(Reason.ENDORSEMENTS_FILE, found=found, wanted=wanted)


assert _SUFFIXES.keys() == {field.name for field in fields(RawCollateral)}  # noqa: S101 - the table is complete
