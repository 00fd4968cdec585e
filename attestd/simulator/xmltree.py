"""XML as it is written, and the canonical form of it that is signed; no more of either than a RIM needs.

Source: Canonical XML 1.1 (W3C), 2.3 and 4.6: as long as there are no `xml:` attributes it does not differ from 1.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Attribute = tuple[str, str]  # name with its prefix, value; namespace declarations are attributes

_TEXT: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"})
_VALUE: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"},
)


@dataclass(frozen=True)
class Element:
    """An element with what stands in it, in order. Nothing checks that prefixes are declared."""

    name: str  # with its prefix
    attributes: tuple[Attribute, ...] = ()
    content: tuple["Element | str", ...] = ()

    def write(self) -> str:
        """Return the element as NVIDIA writes it: attributes as they come, `<a/>` where there is nothing in it."""
        inner = "".join(part.translate(_TEXT) if isinstance(part, str) else part.write() for part in self.content)
        start = self.name + _attributes(self.attributes)
        return f"<{start}>{inner}</{self.name}>" if self.content else f"<{start}/>"

    def canonical(self, scope: Mapping[str, str] | None = None) -> str:
        """Return the canonical form; `scope` has the namespaces, by prefix, that are declared around the element."""
        return self._canonical(scope or {}, {})

    def _canonical(self, declared: Mapping[str, str], rendered: Mapping[str, str]) -> str:
        scope = {**declared, **dict(map(_declaration, filter(_declares, self.attributes)))}
        namespaces = [
            (f"xmlns:{prefix}" if prefix else "xmlns", uri)
            for prefix, uri in sorted(scope.items())
            if rendered.get(prefix) != uri
        ]
        others = sorted(
            (attribute for attribute in self.attributes if not _declares(attribute)),
            key=lambda attribute: _expanded(attribute[0], scope),
        )
        inner = "".join(
            part.translate(_TEXT) if isinstance(part, str) else part._canonical(scope, scope)  # noqa: SLF001 - recursion
            for part in self.content
        )
        return f"<{self.name}{_attributes((*namespaces, *others))}>{inner}</{self.name}>"


def _attributes(attributes: tuple[Attribute, ...]) -> str:
    return "".join(f' {name}="{value.translate(_VALUE)}"' for name, value in attributes)


def _declares(attribute: Attribute) -> bool:
    return attribute[0] == "xmlns" or attribute[0].startswith("xmlns:")


def _declaration(attribute: Attribute) -> Attribute:
    return attribute[0].partition(":")[2], attribute[1]


def _expanded(name: str, scope: Mapping[str, str]) -> Attribute:
    """Return namespace and local name; the default namespace is not one of attributes."""
    prefix, colon, local = name.rpartition(":")
    return (scope.get(prefix, ""), local) if colon else ("", local)
