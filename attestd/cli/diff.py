"""`attestd diff`: which measured registers differ from which accepted image of a policy."""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from attestd.cli.inputs import evidence, policy
from attestd.cli.report import NOTICE, load_report, measurements
from attestd.cli.screen import NOT_AFFIRMING, VERIFIED, coloured, pairs, show
from attestd.codec import Json, dump_digest, dump_time
from attestd.evidence import MAX_QUOTE_SIZE
from attestd.policy import AppraisalPolicy, Image


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
    quote = load_report(evidence(arguments.file, MAX_QUOTE_SIZE)).quote
    measured = measurements(quote.body)
    images = _images(under, quote.tee)
    compared = [_compare(image, measured) for image in images or ()]
    accepted = images is None or any(comparison.outcome == "same" for comparison in compared)
    document: dict[str, Json] = {
        "verified": False,
        "notice": NOTICE,
        "tee": quote.tee,
        "policy": dump_digest(under.digest),
        "measurements": {name: _text(value) for name, value in measured.items()},
        "accepted": accepted,
        "images": None if images is None else [_export(comparison) for comparison in compared],
    }
    show(arguments, document, lambda: _lines(compared, images, quote.tee))
    return VERIFIED if accepted else NOT_AFFIRMING


def _images(under: AppraisalPolicy, tee: str) -> tuple[Image, ...] | None:
    """Return the accepted images: none where the policy has no section for the TEE, None where any image will do."""
    section = under.tdx if tee == "tdx" else under.sgx
    return () if section is None else section.images


def _compare(image: Image, measured: Mapping[str, bytes | int]) -> _Comparison:
    differing = {name for name, _, _ in image.differences(measured)}
    registers = [
        _Register(name, _text(measured.get(name)), _text(want), "differs" if name in differing else "same")
        for name, want in image.pins
    ]
    isvsvn = measured.get("isvsvn", 0)
    if isinstance(isvsvn, int) and isvsvn < image.min_isvsvn:
        registers.append(_Register("isvsvn", isvsvn, f"{image.min_isvsvn} or more", "differs"))
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


def _lines(compared: Sequence[_Comparison], images: tuple[Image, ...] | None, tee: str) -> Iterator[str]:
    yield f"{coloured('unverified')}: {NOTICE}"
    if not compared:
        yield "The policy accepts any image." if images is None else f"The policy accepts no image of {tee}."
    for comparison in compared:
        image = comparison.image
        until = "" if image.not_after is None else f", until {dump_time(image.not_after)}"
        yield ""
        yield f"{image.name} ({image.role or 'any role'}{until}): {coloured(comparison.outcome)}"
        for register in comparison.registers:
            yield f"  {register.name}: {coloured(register.outcome)}"
            if register.outcome == "differs":
                yield from (f"    {line}" for line in pairs({"found": register.got, "wanted": register.want}))
