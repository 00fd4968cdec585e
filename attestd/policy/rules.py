"""What a policy says of evidence of every TEE: which images are accepted, and which flags there are to accept.

`None` is what a document writes as "any": the matter is not examined. An empty set is what it writes as "none".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias, TypeVar

from attestd.claims import Flag
from attestd.evidence import Role
from attestd.policy import document
from attestd.policy.document import ANY, NO_WORD, TIME, Kind, Table, hexadecimal, integer, refusal

# Longer than any vendor leaves between two TCB recoveries, and short of what overflows a date.
MAX_SECONDS: Final = 10 * 365 * 24 * 60 * 60

SHA384: Final = hexadecimal(48)
SHA256: Final = hexadecimal(32)
# SHA-256 of images, and the registers of the vendors.
DENIED_MEASUREMENT: Final = hexadecimal(32, 48)

# Debug is none of these: it has a switch of its own, which is named after what it does.
SNP_FLAGS: Final = (Flag.MIGRATE_MA, Flag.PROVISIONAL_FIRMWARE, Flag.CHIP_ID_MASKED)
TDX_FLAGS: Final = tuple(flag for flag in Flag if flag not in (Flag.DEBUG, *SNP_FLAGS))

_ROLES: Final[Mapping[str, Role]] = {"worker": "worker", "proxy": "proxy"}
_REGISTERED_OR_ANY: Final[Mapping[str, Literal["registered"] | None]] = {"registered": "registered", "any": None}

Pin: TypeAlias = bytes | int

_Bit = TypeVar("_Bit", int, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One accepted image: a tuple of measurements that were taken together (never a column of alternatives each)."""

    name: str
    role: Role | None
    not_after: datetime | None
    pins: tuple[tuple[str, Pin], ...]  # by the names of the claims; `image_digest` alone, or registers
    min_svn: tuple[str, int] | None = None  # the lowest security version, where images have one, by the claim's name

    def differences(self, measured: Mapping[str, Pin]) -> tuple[tuple[str, Pin | None, Pin], ...]:
        """Return name, value found and value wanted of each pinned measurement that is another one, or missing."""
        return tuple((name, measured.get(name), want) for name, want in self.pins if measured.get(name) != want)


# Those of the policy, or those that the registry has approved.
Images: TypeAlias = tuple[Image, ...] | Literal["registered"] | None


def seconds(table: Table, name: str) -> timedelta | None:
    """Read a number of seconds, or "any"."""
    number = table.one(name, integer(1, MAX_SECONDS), ANY)
    return None if number is None else timedelta(seconds=number)


def require_disjoint(path: str, required: frozenset[_Bit], forbidden: frozenset[_Bit]) -> None:
    """Refuse a bit that is both required and forbidden."""
    if both := required & forbidden:
        raise refusal(path, f"bit {min(both)}, which is required too", "bits that are not required")


def load_images(section: Table, registers: Mapping[str, Kind[Pin]], svn: tuple[str, Kind[int]] | None = None) -> Images:
    """Read the images of a section, which pin registers and may have a lowest security version."""
    tables = section.tables("images", _REGISTERED_OR_ANY)
    if tables is None or tables == "registered":
        return tables
    images = tuple(_image(value, path, registers, svn) for value, path in tables)
    if len({image.name for image in images}) != len(images):
        raise refusal(f"{section.path}.images", "a name that is given twice", "a name of its own for each image")
    return images


def _image(
    value: dict[str, object], path: str, registers: Mapping[str, Kind[Pin]], svn: tuple[str, Kind[int]] | None
) -> Image:
    digest = "image_digest" in value
    names = ("image_digest",) if digest else tuple(registers)
    table = Table(value, path, ("name", "role", "not_after", *((f"min_{svn[0]}",) if svn else ()), *names))
    pins: list[tuple[str, Pin]] = []
    if digest:
        pins.append(("image_digest", table.one("image_digest", SHA256, NO_WORD)))
    else:
        found = ((name, table.one(name, kind, ANY)) for name, kind in registers.items())
        pins += ((name, pin) for name, pin in found if pin is not None)
    if not pins:
        raise refusal(path, "an image that pins nothing", 'a measurement, or images = "any"')
    return Image(
        name=table.one("name", document.line(80), NO_WORD),
        role=table.one("role", document.one_of(_ROLES), ANY),
        not_after=table.one("not_after", TIME, ANY),
        pins=tuple(pins),
        min_svn=(svn[0], table.one(f"min_{svn[0]}", svn[1], NO_WORD)) if svn else None,
    )
