"""The pinned roots of all vendors: where every path ends."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, Self

from OpenSSL import crypto

from attestd.errors import ConfigurationRefused, Malformed, Reason
from attestd.x509.certificate import Certificate
from attestd.x509.profile import PROFILES, Profile

# SHA-256 of the DER; certs/README.md has the sources.
INTEL_SGX_ROOT_CA: Final = bytes.fromhex("44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3")
AMD_ARK_MILAN: Final = bytes.fromhex("69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd")
AMD_ARK_GENOA: Final = bytes.fromhex("4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1")
AMD_ARK_TURIN: Final = bytes.fromhex("1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a")
NVIDIA_DEVICE_IDENTITY_CA: Final = bytes.fromhex("102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48")
NVIDIA_CORIM_SIGNING_ROOT_CA: Final = bytes.fromhex("12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1")
# Each vendor's own.
GENUINE_ROOTS: Final[Mapping[bytes, Literal["intel", "amd", "nvidia"]]] = {
    INTEL_SGX_ROOT_CA: "intel",
    AMD_ARK_MILAN: "amd",
    AMD_ARK_GENOA: "amd",
    AMD_ARK_TURIN: "amd",
    NVIDIA_DEVICE_IDENTITY_CA: "nvidia",
    NVIDIA_CORIM_SIGNING_ROOT_CA: "nvidia",
}


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """The roots that are trusted, of all vendors. A path ends in one of them, byte for byte, or it is no path."""

    roots: tuple[Certificate, ...]

    @classmethod
    def load(cls, ders: Iterable[bytes]) -> Self:
        """Load self-signed roots from DER, each of a vendor's profile and each under a name of its own.

        Raises `ConfigurationRefused` (`anchor.missing`, `anchor.unpinned`): an empty set trusts nobody, and says so.
        """
        try:
            roots = tuple(dict.fromkeys(Certificate(der) for der in ders))
            for root in roots:
                _verify_self_signed(root)
        except (Malformed, crypto.X509StoreContextError):
            raise ConfigurationRefused(
                Reason.ANCHOR_UNPINNED, found="a file that is no self-signed CA certificate", wanted="root certificates"
            ) from None
        if not roots:
            raise ConfigurationRefused(Reason.ANCHOR_MISSING, found="none", wanted="at least one root certificate")
        # A path leads to a root by its name, and which of two would be meant depended on their order.
        if len({root.subject for root in roots}) != len(roots):
            raise ConfigurationRefused(
                Reason.ANCHOR_UNPINNED, found="two roots of one name", wanted="one root of each name"
            )
        return cls(roots)

    @classmethod
    def load_genuine(cls, ders: Iterable[bytes]) -> Self:
        """Load vendors' own roots. Raises `ConfigurationRefused` (`anchor.unpinned`) for any other bytes."""
        ders = tuple(ders)
        for der in ders:
            fingerprint = sha256(der).digest()
            if fingerprint not in GENUINE_ROOTS:
                raise ConfigurationRefused(
                    Reason.ANCHOR_UNPINNED,
                    found=f"SHA-256 {fingerprint.hex()}",
                    wanted="one of " + ", ".join(sorted(pinned.hex() for pinned in GENUINE_ROOTS)),
                )
        return cls.load(ders)

    @property
    def genuine(self) -> bool:
        """Whether all of these are vendors' own: everything else is test hardware and is marked so."""
        return bool(self.roots) and all(root.fingerprint in GENUINE_ROOTS for root in self.roots)

    def parse(self, ders: Iterable[bytes], known: Iterable[Certificate] = ()) -> tuple[Certificate, ...]:
        """Parse the certificates of a chain; those that are known, and a root that is pinned, are parsed already.

        Raises `Malformed` (`der.malformed`).
        """
        parsed = {certificate.der: certificate for certificate in (*known, *self.roots)}
        return tuple(parsed.get(der) or Certificate(der) for der in ders)

    def named(self, subject: bytes) -> Certificate | None:
        """Return the root of that name."""
        return next((root for root in self.roots if root.subject == subject), None)


def _verify_self_signed(root: Certificate) -> None:
    _profile_of(root).require_serial_number(root)
    store = crypto.X509Store()
    store.add_cert(root.openssl)
    # Of a certificate that it is told to trust OpenSSL does not look at the signature unless it is asked to.
    store.set_flags(crypto.X509StoreFlags.CHECK_SS_SIGNATURE)
    store.set_time(root.validity.not_before)
    crypto.X509StoreContext(store, root.openssl).verify_certificate()


def _profile_of(root: Certificate) -> Profile:
    if root.subject == root.issuer:
        for profile in PROFILES:
            if profile.has_issued(root) and profile.has_authorized(root):
                return profile
    raise Malformed(Reason.DER_MALFORMED, found="a certificate that is no root", wanted="a root of a known vendor")
