import pytest

from attestd.errors import EndorsementRejected, Reason
from attestd.registry import Registry, high_water
from attestd.registry.values import Mark
from tests.registry.conftest import Opener
from tests.registry.samples import NOW

HIGHEST_CRL_NUMBER = 2**160 - 1


def observe(registry: Registry, *marks: Mark) -> None:
    registry.write(high_water.observe, marks, NOW).result()


def test_marks_rise_and_never_fall(registry: Registry) -> None:
    """Attacks C19, C34, C40."""
    assert registry.read(high_water.highest, "crl", "pck") is None
    registry.read(high_water.require, [Mark("crl", "pck", 0)])
    for value in (0, 5, 5, 255, 256, 2**64, HIGHEST_CRL_NUMBER):
        observe(registry, Mark("crl", "pck", value))
        assert registry.read(high_water.highest, "crl", "pck") == value
    for value in (0, 256, HIGHEST_CRL_NUMBER - 1):
        with pytest.raises(EndorsementRejected) as caught:
            observe(registry, Mark("crl", "pck", value))
        assert caught.value.reason is Reason.TDX_ROLLBACK
        with pytest.raises(EndorsementRejected) as caught:
            registry.read(high_water.require, [Mark("crl", "pck", value)])
        assert caught.value.reason is Reason.TDX_ROLLBACK
    assert registry.read(high_water.highest, "crl", "pck") == HIGHEST_CRL_NUMBER


def test_reason_names_what_fell(registry: Registry) -> None:
    for kind, reason in (
        ("ark_crl", Reason.SNP_CRL_ROLLBACK),
        ("gpu_rim", Reason.GPU_RIM_ROLLBACK),
        ("root_crl", Reason.TDX_ROLLBACK),
    ):
        observe(registry, Mark(kind, "name", 5))
        with pytest.raises(EndorsementRejected) as caught:
            observe(registry, Mark(kind, "name", 4))
        assert caught.value.reason is reason


def test_kinds_and_ids_are_apart(registry: Registry) -> None:
    observe(registry, Mark("crl", "pck", 9), Mark("crl", "root", 3), Mark("tcb", "pck", 1))
    observe(registry, Mark("crl", "root", 4), Mark("tcb", "pck", 1))
    assert [registry.read(high_water.highest, *mark) for mark in (("crl", "pck"), ("crl", "root"), ("tcb", "pck"))] == [
        9,
        4,
        1,
    ]


def test_one_fallen_mark_leaves_all_as_they_were(registry: Registry) -> None:
    observe(registry, Mark("tcb", "a", 5), Mark("tcb", "b", 5))
    with pytest.raises(EndorsementRejected):
        observe(registry, Mark("tcb", "a", 6), Mark("tcb", "b", 4))
    assert registry.read(high_water.highest, "tcb", "a") == 5


def test_each_mark_rises_by_itself(registry: Registry) -> None:
    def observed(*marks: Mark) -> frozenset[str]:
        return registry.write(high_water.observe_each, marks, NOW).result()

    assert observed(Mark("rim", "a", 5), Mark("rim", "b", 5)) == frozenset()
    assert observed(Mark("rim", "a", 4), Mark("rim", "b", 6), Mark("rim", "c", 0)) == {"a"}
    assert [registry.read(high_water.highest, "rim", id_) for id_ in "abc"] == [5, 6, 0]
    assert observed(Mark("rim", "a", 5), Mark("rim", "b", 6)) == frozenset()
    assert observed() == frozenset()


def test_only_a_mark_that_rose_changes_what_others_know(sqlite_url: str, opener: Opener) -> None:
    registry = opener(sqlite_url)
    observe(registry, Mark("tcb", "a", 5))
    before = registry.generation()
    observe(registry, Mark("tcb", "a", 5))
    assert registry.generation() == before
    observe(registry, Mark("tcb", "a", 6))
    assert registry.generation() != before
