"""Which image runs: the check of what was measured, of the role, and of until when it is accepted."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from operator import attrgetter
from typing import Final, TypeAlias

from attestd.claims import CpuClaims
from attestd.evidence import Role
from attestd.policy.checks import Check, ClaimsCheck, Facts, Outcome, failed, listed, passed
from attestd.policy.rules import Image, Images
from attestd.result import Finding, Shown

# An image, and what is said of evidence that it accepts.
_Entry: TypeAlias = tuple[Image, Outcome]

_FOREVER: Final = datetime.max.replace(tzinfo=UTC)


def image_checks(images: Images, registers: tuple[str, ...]) -> Iterator[ClaimsCheck[CpuClaims]]:
    """Compile which images are accepted; `registers` are what a section's images may pin."""
    if images == "registered":
        yield _approved_image
    elif images is not None:
        yield _image(images, registers)


def _approved_image(claims: CpuClaims, facts: Facts, _at: datetime) -> Outcome:
    """Accept an image that the registry has approved, in a role that it was approved for."""
    digest = claims.image_digest
    roles = facts.approved_images.get(digest, frozenset())
    want = "an image that the registry has approved"
    if not roles:
        return failed(Check.IMAGE, digest, want), None
    claimed = _claimed_role(facts)
    if claimed and claimed not in roles:
        return failed(Check.IMAGE_ROLE, claimed, ("what the registry has approved the image for", *sorted(roles))), None
    return passed(Check.IMAGE, digest, want), None


def _claimed_role(facts: Facts) -> Role | None:
    """Return what the attester says that its key is for: not every binding has it say so, but a claim must be true."""
    return facts.key.role if facts.key else None


def _image(images: tuple[Image, ...], registers: tuple[str, ...]) -> ClaimsCheck[CpuClaims]:
    """Accept the images of the list: by their measurements as a whole, then by what else is said of each."""
    want = listed(image.name for image in images)
    # Of two entries with the same measurements the one that ends later is tried first.
    latest_first = sorted(images, key=lambda image: image.not_after or _FOREVER, reverse=True)
    index = _index((image, _accepted(image, want)) for image in latest_first)

    def examine(claims: CpuClaims, facts: Facts, at: datetime) -> Outcome:
        shortcomings: list[Outcome] = []
        for measured, table in index:
            for image, accepted in table.get(measured(claims), ()):
                shortcoming = _shortcoming(image, claims, facts, at)
                if shortcoming is None:
                    return accepted
                shortcomings.append(shortcoming)
        return shortcomings[0] if shortcomings else (_unlike(images, registers, claims), None)

    return examine


def _index(entries: Iterable[_Entry]) -> list[tuple[Callable[[CpuClaims], object], dict[object, list[_Entry]]]]:
    """Group images by which measurements they pin, so that each group takes one look-up however many images it has."""
    tables: dict[tuple[str, ...], dict[object, list[_Entry]]] = {}
    for entry in entries:
        names, pins = zip(*entry[0].pins, strict=True)
        # Of a single name, attrgetter gives the value alone.
        key = pins if len(pins) > 1 else pins[0]
        tables.setdefault(names, {}).setdefault(key, []).append(entry)
    return [(attrgetter(*names), table) for names, table in tables.items()]


def _accepted(image: Image, want: Shown) -> Outcome:
    if image.not_after is None:
        return passed(Check.IMAGE, image.name, want), None
    return passed(Check.IMAGE, (image.name, "accepted until", image.not_after), want), image.not_after


def _shortcoming(image: Image, claims: CpuClaims, facts: Facts, at: datetime) -> Outcome | None:
    """Tell what keeps an image from being accepted whose measurements fit."""
    if image.min_svn is not None:
        name, least = image.min_svn
        if (svn := getattr(claims, name)) < least:
            return failed(Check(name), svn, (image.name, "at least", least)), None
    claimed = _claimed_role(facts)
    if claimed and image.role not in (None, claimed):
        return failed(Check.IMAGE_ROLE, claimed, (image.name, image.role)), None
    if image.not_after is not None and at > image.not_after:
        return failed(Check.IMAGE_NOT_AFTER, at, (image.name, "accepted until", image.not_after)), image.not_after
    return None


def _unlike(images: tuple[Image, ...], registers: tuple[str, ...], claims: CpuClaims) -> Finding:
    """Show how the evidence differs from the image that it is most like."""
    measured = {name: getattr(claims, name) for name in ("image_digest", *registers)}
    image = min(images, key=lambda image: len(image.differences(measured)) / len(image.pins))
    differences = image.differences(measured)
    got = tuple((name, found) for name, found, _ in differences)
    return failed(Check.IMAGE, got, (image.name, *((name, wanted) for name, _, wanted in differences)))
