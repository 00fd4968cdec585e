"""`attestd diff`: which measured registers differ from which accepted image of a policy."""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from attestd.cli.inputs import evidence, policy
from attestd.cli.report import NOTICE, load_report, measurements
from attestd.cli.screen import NOT_AFFIRMING, VERIFIED, coloured, pairs, show
from attestd.codec import Json, dump_digest, dump_time
from attestd.evidence import MAX_SNP_REPORT_SIZE, Tee
from attestd.policy import AppraisalPolicy, Image
from attestd.policy.rules import Images


class _Register(NamedTuple):
    """One pinned measurement: what the file says and what the image is."""

    name: str
    got: Json
    want: Json
    outcome: str  # same | differs


class _Comparison(NamedTuple):
    """One accepted image, register by register."""

    image: Image
    registers: tuple[_Register, ...]

    @property
    def outcome(self) -> str:
        return "differs" if any(register.outcome == "differs" for register in self.registers) else "same"


def run(arguments: Namespace) -> int:
    """Compare a file with every image of a policy; the status says whether one of them is the same."""
    under = policy(arguments.policy)
    reported = load_report(evidence(arguments.file, MAX_SNP_REPORT_SIZE))
    measured = measurements(reported.body)
    images = _images(under, reported.tee)
    compared = [_compare(image, measured) for image in images] if isinstance(images, tuple) else []
    accepted = images is None or any(comparison.outcome == "same" for comparison in compared)
    document: dict[str, Json] = {
        "verified": False,
        "notice": NOTICE,
        "tee": reported.tee,
        "policy": dump_digest(under.digest),
        "measurements": {name: _text(value) for name, value in measured.items()},
        "accepted": accepted,
        "images": [_export(comparison) for comparison in compared] if isinstance(images, tuple) else images,
    }
    show(arguments, document, lambda: _lines(compared, images, reported.tee))
    return VERIFIED if accepted else NOT_AFFIRMING


def _images(under: AppraisalPolicy, tee: Tee) -> Images:
    """Return the accepted images: none where the policy has no section for the TEE, None where any image will do."""
    section = {"tdx": under.tdx, "sgx": under.sgx, "snp": under.snp}[tee]
    return () if section is None else section.images


def _compare(image: Image, measured: Mapping[str, bytes | int]) -> _Comparison:
    differing = {name for name, _, _ in image.differences(measured)}
    registers = [
        _Register(name, _text(measured.get(name)), _text(want), "differs" if name in differing else "same")
        for name, want in image.pins
    ]
    if image.min_svn is not None:
        name, least = image.min_svn
        svn = measured[name]
        if isinstance(svn, int) and svn < least:
            registers.append(_Register(name, svn, f"{least} or more", "differs"))
    return _Comparison(image, tuple(registers))


def _text(value: bytes | int | None) -> Json:
    return value.hex() if isinstance(value, bytes) else value


def _export(comparison: _Comparison) -> Json:
    image = comparison.image
    return {
        "name": image.name,
        "role": image.role,
        "not_after": None if image.not_after is None else dump_time(image.not_after),
        "outcome": comparison.outcome,
        "registers": [
            {"register": register.name, "outcome": register.outcome, "got": register.got, "want": register.want}
            for register in comparison.registers
        ],
    }


def _lines(compared: Sequence[_Comparison], images: Images, tee: Tee) -> Iterator[str]:
    yield f"{coloured('unverified')}: {NOTICE}"
    if not compared:
        yield _instead(images, tee)
    for comparison in compared:
        image = comparison.image
        until = "" if image.not_after is None else f", until {dump_time(image.not_after)}"
        yield ""
        yield f"{image.name} ({image.role or 'any role'}{until}): {coloured(comparison.outcome)}"
        for register in comparison.registers:
            yield f"  {register.name}: {coloured(register.outcome)}"
            if register.outcome == "differs":
                yield from (f"    {line}" for line in pairs({"found": register.got, "wanted": register.want}))


def _instead(images: Images, tee: Tee) -> str:
    """Say why there is nothing to compare with."""
    match images:
        case None:
            return "The policy accepts any image."
        case "registered":
            return "The policy accepts the images that the registry has approved: look for the image digest there."
        case _:
            return f"The policy accepts no image of {tee}."
