"""What runs in the peer's own environment: what NVIDIA's nv-local-gpu-verifier 2.7.3 says of devices.

Nothing but the standard library and the verifier is imported. Each line of standard input is a case, its bytes in hex,
and is answered with one line: `verified`, `refused`, or `missing` and the id of the RIM that it would have fetched.

It is made for a machine with GPUs, and for now. So here the driver is an object that says what the case says; whoever
is asked for OCSP says `good`; the RIM service is not there; and OpenSSL's clock stands at the time of the case.
"""

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

_MODULES = ("verifier.cc_admin", "verifier.config", "verifier.nvml.gpu_cert_chains", "verifier.nvml.test_handle")
_ARCHITECTURES = {"HOPPER": 9, "BLACKWELL": 10}  # NVML's numbers
_OPTIONS = {
    "allow_hold_cert": False,
    "claims_version": "3.0",
    "ocsp_nonce_disabled": False,
    "ocsp_url": None,
    "rim_service_url": None,
    "service_key": None,
    "test_no_gpu": False,
    "user_mode": True,
    "verbose": False,
}


class Peer:
    """The verifier, which keeps what it finds in its classes and modules: one case at a time."""

    def __init__(self) -> None:
        """Load the verifier."""
        self._temporary = TemporaryDirectory(prefix="nv-local-gpu-verifier-")
        self._folder = Path(self._temporary.name)
        self._missing: list[str] = []
        self._at = datetime.now(UTC)
        os.chdir(self._folder)  # it writes a log where it is
        _set_clock(lambda: self._at)
        cc_admin, config, gpu_cert_chains, test_handle = map(import_module, _MODULES)
        config.shandler.setStream(StringIO())
        self._attest, self._module, self._config = cc_admin.attest, cc_admin, config
        self._chain: Callable[[bytes], Any] = lambda pem: gpu_cert_chains.GpuCertificateChains(
            test_handle.TestHandle(pem)
        )
        cc_admin.CcAdminUtils.ocsp_certificate_chain_validation = staticmethod(lambda *_: (True, "", "good", None))
        cc_admin.CcAdminUtils.fetch_rim_file = staticmethod(self._fetch)
        cc_admin.NvmlHandler.is_cc_dev_mode = staticmethod(lambda: False)

    def _fetch(self, rim_id: str) -> None:
        self._missing.append(rim_id)
        raise OSError("there is no RIM service")

    def prepare(self, case: dict[str, Any]) -> Callable[[], str]:
        """Return what verifies a case from its bytes, as often as it is called."""
        self._at = datetime.fromisoformat(case["at"])
        report, chain = bytes.fromhex(case["report"]), bytes.fromhex(case["certificates"])
        paths = {kind: self._write(kind, case[kind]) for kind in ("driver_rim", "vbios_rim")}
        number, options = _ARCHITECTURES[case["arch"]], _OPTIONS | paths
        return lambda: self._verdict(case, number, options, report, chain)

    def _write(self, name: str, raw: str | None) -> str | None:
        if raw is None:
            return None
        path = self._folder / name
        path.write_bytes(bytes.fromhex(raw))
        return str(path)

    def _verdict(self, case: dict[str, Any], number: int, options: dict[str, Any], report: bytes, chain: bytes) -> str:
        self._reset(number, options)
        self._missing.clear()
        try:
            device = self._device(case, number, report, chain)
            affirmed, _ = self._attest(options, case["nonce"], [device])
        except Exception:  # noqa: BLE001 - whatever it raises is a refusal
            affirmed = False
        if affirmed:
            return "verified"
        return f"missing {self._missing[0]}" if self._missing else "refused"

    def _device(self, case: dict[str, Any], number: int, report: bytes, chain: bytes) -> Any:
        certificates = self._chain(chain).GpuAttestationCertificateChain
        return SimpleNamespace(
            get_gpu_architecture=lambda: number,
            get_uuid=lambda: "GPU-0",
            get_driver_version=lambda: case["driver_version"],
            get_vbios_version=lambda: case["vbios_version"],
            get_attestation_report=lambda: report,
            get_attestation_cert_chain=lambda: certificates,
        )

    def _reset(self, number: int, options: dict[str, Any]) -> None:
        """Forget the last case."""
        kind = {9: self._config.HopperSettings, 10: self._config.BlackwellSettings}[number]
        kind.set_driver_rim_path(options["driver_rim"] or "")
        self._config.GPU_ARCHITECTURE_MAP[number] = kind()
        for name in (
            "hwmodel",
            "oemid",
            "ueid",
            "gpu_driver_attestation_warning_list",
            "gpu_vbios_attestation_warning_list",
        ):
            getattr(self._module, name).clear()


def _set_clock(now: Callable[[], datetime]) -> None:
    """Have OpenSSL verify every path at the time of the case; before anything else has taken the class by its name."""
    crypto = import_module("OpenSSL.crypto")
    make = crypto.X509StoreContext

    def store_context(store: Any, *arguments: Any, **named: Any) -> Any:
        store.set_time(now())
        return make(store, *arguments, **named)

    crypto.X509StoreContext = store_context  # type: ignore[attr-defined]


def main() -> None:
    # It prints.
    answers, sys.stdout = sys.stdout, sys.stderr
    peer = Peer()
    for line in sys.stdin:
        print(peer.prepare(json.loads(line))(), file=answers, flush=True)


if __name__ == "__main__":
    main()
