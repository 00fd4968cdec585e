"""Event logs: what is changed in an event shows in the log, and in the registers where it is measured."""

import json
from dataclasses import replace
from hashlib import sha384

from attestd.simulator import BOOT, DSTACK_BOOT, Event, TdReport, ccel, dstack_log
from attestd.simulator import replay as registers
from attestd.simulator.eventlogs import EV_NO_ACTION
from attestd.tdx.eventlog import replay

ALTERED = (replace(BOOT[0], payload=b"another", digest=BOOT[0].measured), *BOOT[1:])


def test_both_forms_replay_to_the_registers_of_the_events() -> None:
    assert replay(ccel()).registers == registers(BOOT)
    assert replay(dstack_log()).registers == registers(DSTACK_BOOT)
    assert registers(BOOT)[:3] == registers(DSTACK_BOOT)[:3]
    assert registers(BOOT)[3] == bytes(48) != registers(DSTACK_BOOT)[3]


def test_the_usual_report_is_of_the_usual_boot() -> None:
    report = TdReport().booted(DSTACK_BOOT)
    assert (report.rtmr0, report.rtmr1, report.rtmr2, report.rtmr3) == registers(DSTACK_BOOT)
    assert TdReport() == TdReport().booted(BOOT)


def test_text_may_differ_from_its_digest() -> None:
    assert registers(ALTERED) == registers(BOOT)
    assert b"another" in ccel(ALTERED)
    assert json.loads(dstack_log(ALTERED))[0]["event_payload"] == b"another".hex()


def test_what_is_not_measured() -> None:
    more = (*BOOT, Event(0, EV_NO_ACTION, b"note"), Event(-1, 1, b"MRTD"))
    assert registers(more) == registers(BOOT) == replay(ccel(more)).registers
    assert ccel(more, padding=b"").endswith(b"MRTD")


def test_order_and_number_matter() -> None:
    changed = [registers(BOOT[1:]), registers((*BOOT[:2], *BOOT[:2])), registers((BOOT[1], BOOT[0], *BOOT[2:]))]
    assert len({*changed, registers(BOOT)}) == 4


def test_digests() -> None:
    event = Event(3, 0x08000001, b"\1\2", "app-id")
    assert event.measured == sha384(b"\x01\x00\x00\x08:app-id:\1\2").digest()
    assert replace(event, event_type=4).measured == sha384(b"\1\2").digest()


def test_algorithm_of_the_header() -> None:
    assert ccel(algorithm=0x000B) != ccel()
    assert len(ccel(algorithm=0x000B)) == len(ccel())
