"""What a file says of a report, read for people: nothing here has been verified."""

from typing import Final, NamedTuple, assert_never

from attestd.binding.ra_tls import RaTlsCertificate, parse_ra_tls
from attestd.claims import image_digest
from attestd.codec import load_pem
from attestd.tdx.quote import Body, Quote, SgxReport, TdReport, parse_quote

NOTICE: Final = "nothing was verified; a file may say anything."


class Reported(NamedTuple):
    """A quote, and the RA-TLS certificate that it came in, if it came in one."""

    quote: Quote
    certificate: RaTlsCertificate | None


def load_report(raw: bytes) -> Reported:
    """Read a quote, or an RA-TLS certificate in DER or PEM. Raises `Malformed`."""
    if raw.startswith(b"-----BEGIN CERTIFICATE-----"):
        raw = load_pem(raw)[0]
    if raw.startswith(b"\x30\x82"):  # a SEQUENCE of more than 255 bytes; no version of a quote begins so
        certificate = parse_ra_tls(raw)
        return Reported(parse_quote(certificate.quote), certificate)
    return Reported(parse_quote(raw), None)


def measurements(body: Body) -> dict[str, bytes | int]:
    """Return what an image may pin, by the names of the claims, with the image digest in Cocoon's form (tdx.md, 5)."""
    match body:
        case TdReport():
            registers = {
                name: getattr(body, name)
                for name in ("mrtd", "mrconfigid", "mrowner", "mrownerconfig", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
            }
            return registers | {"image_digest": image_digest(*registers.values())}
        case SgxReport():
            return {
                "mrenclave": body.mrenclave,
                "mrsigner": body.mrsigner,
                "isvprodid": body.isvprodid,
                "isvsvn": body.isvsvn,
                "image_digest": image_digest(body.mrenclave),
            }
        case _:
            assert_never(body)
