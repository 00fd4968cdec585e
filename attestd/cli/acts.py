"""The acts of a demonstration: each machine has its key registered, and is then refused in each way that there is."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from attestd.cli.scene import Scene, expect, heading, key_id, require, show_findings
from attestd.cli.screen import pairs, say, table
from attestd.evidence import QuoteEvidence, SnpEvidence
from attestd.simulator import (
    OLDER_SVNS,
    AmdVendor,
    Attester,
    GpuAttester,
    KeyPair,
    Platform,
    SnpAttester,
    SnpReport,
    TdReport,
    Vendor,
    answers,
    ccel,
    flip,
)
from attestd.simulator.vek import GENOA

TDX_POLICY: Final = "demo-tdx"
SNP_POLICY: Final = "demo-snp"
GPU_POLICY: Final = "demo-tdx-h100"
MODEL: Final = sha256(b"the weights of a model").digest()

_MRTD_OFFSET: Final = 48 + 136  # in a quote of version 4: behind the header, in the TD report
_MEASUREMENT_OFFSET: Final = 0x90
_OLD_SNP: Final = 22  # below all floors (policies/tables/snp-tcb-floors.toml)
_SHOWN_OF_A_KEY: Final = ("key_id", "tee", "image", "models", "provider", "valid_until", "simulated")
_SHOWN_OF_A_GPU: Final = {
    "GPU": "hwmodel",
    "driver": "x-nvidia-gpu-driver-version",
    "VBIOS": "x-nvidia-gpu-vbios-version",
    "mode": "x-nvidia-gpu-mode",
    "measurements": "measres",
}


def register_tdx(scene: Scene, attester: Attester) -> str:
    """Register the key of a machine that is in order; return its id."""
    heading("A machine with Intel TDX answers a challenge with a quote over its key and its model")
    key, registry = KeyPair.ed25519("demo"), scene.challenge()
    evidence = attester.evidence(key, registry, [MODEL], event_log=ccel())
    result = expect(scene.submit(evidence, TDX_POLICY), 201)
    require("tier", result["tier"], wanted="affirming")
    require("simulated", result["simulated"], wanted=True)
    show_findings(result)
    heading("The same evidence again gives the first result; the challenge serves no other key")
    require("result", expect(scene.submit(evidence, TDX_POLICY), 200)["id"], wanted=result["id"])
    other = KeyPair.ed25519("another")
    problem = expect(scene.submit(attester.evidence(other, registry, [MODEL]), TDX_POLICY), 409)
    require("reason", problem["reason"], wanted="challenge.used")
    scene.require_unknown(other)
    return _ask_for(scene, key)


def refuse_tdx(scene: Scene, vendor: Vendor) -> None:
    """Have refused what is not authentic, and what is and will not do."""
    heading("A quote with one bit of MRTD changed is not authentic")
    attester = Attester.of(vendor)
    key, registry = KeyPair.ed25519("forger"), scene.challenge()
    quote = attester.quote(TdReport(report_data=registry.report_data(key, [MODEL])))
    forged = QuoteEvidence(tee="tdx", quote=flip(_MRTD_OFFSET)(quote))
    evidence = replace(attester.evidence(key, registry, [MODEL]), cpu=forged)
    scene.refuse_forged(evidence, TDX_POLICY, key, "tdx.quote_signature")
    heading("An authentic quote of another image is not acceptable")
    other_image = attester.evidence(key, scene.challenge(), [MODEL], body=replace(TdReport(), rtmr2=bytes(48)))
    scene.refuse_unacceptable(other_image, TDX_POLICY, key, "image")
    heading("Nor is one of a machine whose firmware is out of date")
    old = Attester.of(vendor, Platform(tcb_components=OLDER_SVNS))
    scene.refuse_unacceptable(old.evidence(key, scene.challenge(), [MODEL]), TDX_POLICY, key, "tcb_status")


def register_snp(scene: Scene, attester: SnpAttester) -> str:
    """Register the key of a machine of the other vendor; return its id."""
    heading("A machine with AMD SEV-SNP brings a report over its key, and the certificates of its chip")
    key = KeyPair.ed25519("demo snp")
    result = expect(scene.submit(attester.evidence(key, scene.challenge(), [MODEL]), SNP_POLICY), 201)
    require("tier", result["tier"], wanted="affirming")
    show_findings(result)
    return _ask_for(scene, key)


def refuse_snp(scene: Scene, vendor: AmdVendor) -> None:
    """Have refused what is not authentic, and what is and will not do."""
    heading("A report with one bit of MEASUREMENT changed is not authentic")
    attester = SnpAttester.of(vendor)
    key, registry = KeyPair.ed25519("snp forger"), scene.challenge()
    report = attester.report(SnpReport(report_data=registry.report_data(key, [MODEL])))
    forged = SnpEvidence(report=flip(_MEASUREMENT_OFFSET)(report), certificates=attester.certificate_table())
    evidence = replace(attester.evidence(key, registry, [MODEL]), cpu=forged)
    scene.refuse_forged(evidence, SNP_POLICY, key, "snp.report_signature")
    heading("Firmware with open advisories is not acceptable")
    old = SnpAttester.of(vendor, replace(GENOA, tcb=GENOA.tcb._replace(snp=_OLD_SNP)))
    scene.refuse_unacceptable(old.evidence(key, scene.challenge(), [MODEL]), SNP_POLICY, key, "tcb_floor")


def register_gpus(scene: Scene, attester: Attester, gpus: Sequence[GpuAttester]) -> str:
    """Register the key of a machine with GPUs; return its id."""
    heading(f"A machine with {len(gpus)} GPUs asks these first, and has its quote commit to all that they answer")
    key, registry = KeyPair.ed25519("demo gpus"), scene.challenge()
    said = answers(gpus, registry.gpu_nonce(key, [MODEL]))
    result = expect(scene.submit(attester.evidence(key, registry, [MODEL], gpus=said), GPU_POLICY), 201)
    require("tier", result["tier"], wanted="affirming")
    require("GPUs", len(result["gpus"]), wanted=len(gpus))
    require("binding", result["key"]["binding"], wanted="mutual")
    _show_gpus(result["gpus"])
    show_findings(result)
    say("", "   CPU and GPUs answered for one key and challenge. That they share a machine, no evidence can show yet.")
    return _ask_for(scene, key)


def refuse_gpus(scene: Scene, attester: Attester, gpus: Sequence[GpuAttester], stranger: GpuAttester) -> None:
    """Have a GPU refused that takes the place of another after the quote; and GPUs missing."""
    heading("A genuine GPU that takes the place of another after the quote was made is refused")
    key, registry = KeyPair.ed25519("gpu forger"), scene.challenge()
    nonce = registry.gpu_nonce(key, [MODEL])
    evidence = attester.evidence(key, registry, [MODEL], gpus=answers(gpus, nonce))
    swapped = replace(evidence, gpus=(*evidence.gpus[:-1], stranger.answer(nonce).evidence))
    scene.refuse_forged(swapped, GPU_POLICY, key, "binding.report_data")
    heading("One that has answered the nonce of another key is refused though the quote commits to it")
    said = (*answers(gpus[:-1], nonce), stranger.answer(scene.challenge().gpu_nonce(key, [MODEL])))
    scene.refuse_forged(attester.evidence(key, registry, [MODEL], gpus=said), GPU_POLICY, key, "gpu.nonce")
    heading("A machine without GPUs is not acceptable where the policy wants some")
    scene.refuse_unacceptable(attester.evidence(key, registry, [MODEL]), GPU_POLICY, key, "gpu_count, gpu_grade")


def _show_gpus(gpus: Iterable[dict[str, Any]]) -> None:
    say("", *table(tuple(_SHOWN_OF_A_GPU), [[gpu[name] for name in _SHOWN_OF_A_GPU.values()] for gpu in gpus]))


def _ask_for(scene: Scene, key: KeyPair) -> str:
    heading("Anybody may ask for the key")
    trusted = expect(scene.anyone.get(f"/v1/keys/{key_id(key)}"), 200)
    require("state", trusted["state"], wanted="active")
    say("", *pairs({name: trusted[name] for name in _SHOWN_OF_A_KEY}))
    return key_id(key)
