"""Signed notes: who has signed what, and everything that is no note."""

from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.signature import ed25519_public_key, ed25519_signing_key
from attestd.transparency.note import (
    NoteKey,
    TreeHead,
    dump_checkpoint_body,
    load_checkpoint_body,
    load_note_key,
    open_head,
    open_note,
    sign,
)
from tests.refusals import malformed, not_authentic

NAME = "attestd.example/log"
SIGNING = ed25519_signing_key(bytes(range(32)))
OTHER = ed25519_signing_key(bytes(32))
KEY = NoteKey(NAME, ed25519_public_key(SIGNING))
WITNESS = NoteKey("witness.example", ed25519_public_key(OTHER))
BODY = dump_checkpoint_body(NAME, 1234067, bytes(range(32)))
NOTE = sign(BODY, NAME, SIGNING).encode()
WITNESSED = NOTE + sign(BODY, WITNESS.name, OTHER).encode().split(b"\n\n")[1]


def test_known_note() -> None:
    """The example of golang.org/x/mod/sumdb/note, key and signature."""
    key = load_note_key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    assert (key.name, key.key_id.hex()) == ("PeterNeumann", "c74f20a3")
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    assert open_note(f"{text}\n\u2014 PeterNeumann {signature}\n".encode(), [key]) == text


def test_by_hand() -> None:
    lines = NOTE.decode().split("\n")
    assert lines[:2] == [NAME, "1234067"]
    assert lines[3] == ""
    assert lines[4].startswith(f"\u2014 {NAME} ")
    assert open_note(NOTE, [KEY]) == BODY
    assert load_checkpoint_body(BODY) == TreeHead(NAME, 1234067, bytes(range(32)))


def test_several_signatures() -> None:
    assert open_note(WITNESSED, [KEY]) == BODY
    assert open_note(WITNESSED, [WITNESS]) == BODY
    assert open_note(WITNESSED, [WITNESS, KEY]) == BODY
    assert open_note(NOTE, [WITNESS, KEY]) == BODY


def test_not_signed() -> None:
    renamed = NoteKey("attestd.example/other", KEY.public_key)
    another = NoteKey(NAME, WITNESS.public_key)
    for keys in ([], [WITNESS], [renamed], [another]):
        with not_authentic(Reason.NOTE_SIGNATURE):
            open_note(NOTE, keys)


def test_r08_a_key_of_the_log_that_was_replaced() -> None:
    """The name stays, the key does not: who knows the new one alone takes nothing that the former has signed."""
    new = NoteKey(NAME, ed25519_public_key(OTHER))
    both = sign(BODY, NAME, OTHER).encode()
    with not_authentic(Reason.NOTE_SIGNATURE):
        open_note(NOTE, [new])
    with not_authentic(Reason.NOTE_SIGNATURE):
        open_note(both, [KEY])
    assert open_note(both, [new]) == BODY


def test_another_text() -> None:
    with not_authentic(Reason.NOTE_SIGNATURE):
        open_note(NOTE.replace(b"1234067", b"1234068"), [KEY])


def test_a_wrong_signature_beside_a_right_one() -> None:
    """A known key that has signed something else spoils the note, whoever else has signed it."""
    lines = WITNESSED.decode().split("\n")
    other = sign(BODY.replace("1234067", "1"), WITNESS.name, OTHER).split("\n")[-2]
    spoilt = "\n".join([*lines[:-2], other, ""]).encode()
    assert open_note(spoilt, [KEY]) == BODY
    with not_authentic(Reason.NOTE_SIGNATURE):
        open_note(spoilt, [KEY, WITNESS])


def test_every_bit() -> None:
    for bit in range(8 * len(NOTE)):
        wrong = bytearray(NOTE)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises((Malformed, NotAuthentic)):
            open_note(bytes(wrong), [KEY])


def filler(size: int) -> bytes:
    """Return the signature line of somebody else, whose name makes it so many bytes."""
    return f"\u2014 {'n' * (size - 14)} AAAAAAAA\n".encode()


SIGNATURE = NOTE.split(b"\n\n")[1]
NO_NOTES: dict[str, bytes] = {
    "nothing": b"",
    "text alone": BODY.encode(),
    "a signature alone": SIGNATURE,
    "no text": b"\n\n" + SIGNATURE,
    "no line break at the end": NOTE[:-1],
    "an empty line at the end": NOTE + b"\n",
    "no signature": BODY.encode() + b"\n",
    "another dash": NOTE.replace("\u2014".encode(), b"-"),
    "no base64": NOTE[:-3] + b"=A\n",
    "a signature without a key id": BODY.encode() + "\n\u2014 name AAAAAA==\n".encode(),
    "a line that is no signature": NOTE + b"more\n",
    "a name with a space": NOTE + "\u2014 a b AAAAAAAA\n".encode(),
    "no UTF-8": b"\xff" + NOTE,
    "a control character": b"\0" + NOTE,
    "carriage returns": NOTE.replace(b"\n", b"\r\n"),
    "too many signatures": BODY.encode() + b"\n" + SIGNATURE * 101,
    "too long": NOTE + filler(64 * 1024 + 1 - len(NOTE)),
}


@pytest.mark.parametrize("name", NO_NOTES)
def test_no_note(name: str) -> None:
    with malformed(Reason.NOTE_MALFORMED):
        open_note(NO_NOTES[name], [KEY])


def test_as_much_as_allowed() -> None:
    assert open_note(BODY.encode() + b"\n" + SIGNATURE * 100, [KEY]) == BODY
    assert open_note(NOTE + filler(64 * 1024 - len(NOTE)), [KEY]) == BODY
    body = "a" * (32 * 1024 - 1) + "\n"
    assert open_note(sign(body, NAME, SIGNING).encode(), [KEY]) == body


@pytest.mark.parametrize(
    ("body", "name"), [("text", NAME), ("a" * 32 * 1024 + "\n", NAME), ("a\rb\n", NAME), (BODY, "a b"), (BODY, "")]
)
def test_what_cannot_be_signed(body: str, name: str) -> None:
    with malformed(Reason.NOTE_MALFORMED):
        sign(body, name, SIGNING)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_has_32_bytes(size: int) -> None:
    with malformed(Reason.NOTE_MALFORMED):
        NoteKey(NAME, bytes(size))


def test_keys_as_text() -> None:
    text = str(KEY)
    assert text.startswith(f"{NAME}+")
    assert load_note_key(text) == KEY
    name, key_id, encoded = text.split("+", 2)
    wrong = [
        "",
        name,
        f"{name}+{key_id}",
        f"{name}+00000000+{encoded}",
        f"{name}+ffffffff+{encoded}",
        f"{name}+{key_id[:-2]}+{encoded}",
        f"{name} +{key_id}+{encoded}",
        f"+{key_id}+{encoded}",
        f"{name}+{key_id}+{encoded[:-4]}",
        f"{name}+{key_id}+{b64encode(bytes((2,)) + KEY.public_key).decode()}",
        f"other+{key_id}+{encoded}",
        f"{name}+{key_id}+{encoded}\n",
        f"{name}+\u00e9+{encoded}",
    ]
    for other in wrong:
        with malformed(Reason.NOTE_MALFORMED):
            load_note_key(other)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "\n",
        f"{NAME}\n1\n",
        BODY.replace("1234067", "01"),
        BODY.replace("1234067", "-1"),
        BODY.replace("1234067", "1" * 21),
        BODY.replace("1234067", "\u0661"),
        BODY.replace("1234067", ""),
        BODY.replace(NAME, ""),
        f"{NAME}\n1\nAAAA\n",
        f"{NAME}\n1\n{b64encode(bytes(33)).decode()}\n",
        f"{NAME}\n1\n?\n",
        BODY + "\nextension\n",
    ],
)
def test_no_checkpoint(body: str) -> None:
    with malformed(Reason.NOTE_MALFORMED):
        load_checkpoint_body(body)


def test_extensions_are_passed_over() -> None:
    assert load_checkpoint_body(BODY + "more\n") == load_checkpoint_body(BODY)


def test_the_head_of_this_log_alone() -> None:
    assert open_head(NOTE, KEY) == TreeHead(NAME, 1234067, bytes(range(32)))
    other = dump_checkpoint_body("attestd.example/another", 1234067, bytes(range(32)))
    with not_authentic(Reason.NOTE_SIGNATURE):
        open_head(sign(other, NAME, SIGNING).encode(), KEY)
    with not_authentic(Reason.NOTE_SIGNATURE):
        open_head(WITNESSED, NoteKey(NAME, WITNESS.public_key))


@given(st.binary(max_size=60), st.binary(max_size=200))
def test_whatever_the_bytes_are(text: bytes, signatures: bytes) -> None:
    for note in (text, text + b"\n\n" + "\u2014 ".encode() + signatures + b"\n", NOTE[: len(text)] + signatures):
        with suppress(Malformed, NotAuthentic):
            open_note(note, [KEY])


@given(st.text(max_size=120))
def test_whatever_the_text_is(text: str) -> None:
    with suppress(Malformed):
        load_checkpoint_body(text)
    with suppress(Malformed):
        load_note_key(text)
    with suppress(Malformed):
        sign(text + "\n", NAME, SIGNING)
