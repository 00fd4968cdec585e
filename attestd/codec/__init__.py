"""Strict loaders: a bounds-checked reader, JSON, CBOR, base64, hex, PEM, DER, digests and RFC 3339 times.

One loader per encoding for the whole program. Each takes bytes of unknown origin and returns a value or raises
`Malformed` with a stable reason; none echoes what it was given. No cryptography here.
"""

from attestd.codec.cbor import MAX_CBOR_DEPTH, MAX_CBOR_ITEMS, load_cbor
from attestd.codec.der import (
    MAX_DER_DEPTH,
    DerElement,
    dump_oid,
    load_der_sequence,
    load_der_time,
    load_der_unsigned,
    require_der,
)
from attestd.codec.fields import MAX_ENTRY_CHARACTERS, CborFields, Fields
from attestd.codec.reader import Reader
from attestd.codec.strict_json import MAX_JSON_DEPTH, MAX_JSON_MEMBERS, Json, Member, load_json, load_json_members
from attestd.codec.text import (
    MAX_PEM_CERTIFICATES,
    dump_base64,
    dump_base64url,
    dump_digest,
    dump_pem,
    dump_time,
    load_base64,
    load_base64url,
    load_digest,
    load_hex,
    load_pem,
    load_time,
)

__all__ = [
    "MAX_CBOR_DEPTH",
    "MAX_CBOR_ITEMS",
    "MAX_DER_DEPTH",
    "MAX_ENTRY_CHARACTERS",
    "MAX_JSON_DEPTH",
    "MAX_JSON_MEMBERS",
    "MAX_PEM_CERTIFICATES",
    "CborFields",
    "DerElement",
    "Fields",
    "Json",
    "Member",
    "Reader",
    "dump_base64",
    "dump_base64url",
    "dump_digest",
    "dump_oid",
    "dump_pem",
    "dump_time",
    "load_base64",
    "load_base64url",
    "load_cbor",
    "load_der_sequence",
    "load_der_time",
    "load_der_unsigned",
    "load_digest",
    "load_hex",
    "load_json",
    "load_json_members",
    "load_pem",
    "load_time",
    "require_der",
]
