"""The API reference at /docs: one static page made from the OpenAPI document.

No script, style or font of anybody else's, and nothing that a browser could be led to run: the service would otherwise
answer for whatever a content delivery network sends to an administrator.
"""

from collections.abc import Iterator
from html import escape
from typing import Any, Final

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "h2{font:600 16px ui-monospace,monospace;margin:2em 0 .3em;border-top:1px solid #ddd;padding-top:1em}"
    "code{font-family:ui-monospace,monospace}table{border-collapse:collapse}td{padding:.1em 1em .1em 0}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}h2{border-color:#444}}"
)
HEADERS: Final = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"cache-control", b"no-cache"),
]


def page(document: dict[str, Any]) -> bytes:
    """Return the page."""
    title = escape(document["info"]["title"])
    sections = "".join(_sections(document))
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>{escape(document['info']['description'])}</p>"
        '<p>For programs: <a href="/openapi.json">/openapi.json</a>.</p>'
        f"{sections}</html>"
    )
    return text.encode()


def _sections(document: dict[str, Any]) -> Iterator[str]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            keyed = " · API key" if operation.get("security") else ""
            yield f"<h2>{method.upper()} {escape(path)}</h2><p>{escape(operation.get('description', ''))}{keyed}</p>"
            yield f"<table>{''.join(_rows(operation))}</table>"


def _rows(operation: dict[str, Any]) -> Iterator[str]:
    for parameter in operation.get("parameters", []):
        yield _row(f"{parameter['in']} {parameter['name']}", parameter["schema"])
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        yield _row(f"body {kind}", body["schema"])
    for status, response in operation["responses"].items():
        yield f"<tr><td>{escape(status)}</td><td>{escape(response['description'])}</td></tr>"


def _row(name: str, schema: dict[str, Any]) -> str:
    kind = (
        schema.get("$ref", "").rpartition("/")[2] or schema.get("pattern") or schema.get("type") or "see the document"
    )
    return f"<tr><td>{escape(name)}</td><td><code>{escape(str(kind))}</code></td></tr>"
