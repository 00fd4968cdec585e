"""What the configuration promises about the house: one core everywhere, locks that pin, a wheel that is complete."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = PYPROJECT["tool"]["importlinter"]["contracts"]


def core_layers() -> set[str]:
    """Name the modules from `verifier` down, as the layers have it."""
    rows = [re.findall(r"\w+", row) for row in CONTRACTS[0]["layers"]]
    return {module for row in rows[rows.index(["verifier"]) :] for module in row}


def pins(lock: str) -> dict[str, tuple[str, int]]:
    """Read a lock file: per distribution its version and the number of its hashes."""
    requirements = (ROOT / lock).read_text().replace("\\\n", "").splitlines()
    parsed = {}
    for line in requirements:
        if not line.startswith("#"):
            requirement, *hashes = line.split(" --hash=sha256:")
            name, version = requirement.split(";")[0].strip().split("==")
            parsed[name] = (version, sum(bool(re.fullmatch(r"[0-9a-f]{64}\s*", digest)) for digest in hashes))
    return parsed


def test_every_core_module_is_held_to_purity() -> None:
    pure = next(contract for contract in CONTRACTS if "asyncio" in contract.get("forbidden_modules", ()))
    assert {module.removeprefix("attestd.") for module in pure["source_modules"]} == core_layers()


def test_every_core_module_is_held_to_full_coverage() -> None:
    core = re.search(r"^CORE := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert core is not None
    assert {re.sub(r"attestd/|\.py|/\*", "", path) for path in core[1].split(",")} == core_layers()


# What stands for a check that has passed, and the one module that makes it: nothing else can claim to have checked.
MAKERS = {
    "RevocationList": "x509/crl.py",
    "PckChain": "tdx/pck.py",
    "Collateral": "tdx/collateral.py",
    "AttestationKey": "tdx/qe.py",
    "TdxClaims": "tdx/verify.py",
    "SgxClaims": "tdx/verify.py",
    "Vek": "snp/vek.py",
    "SnpClaims": "snp/verify.py",
    "GpuDevice": "nvgpu/device.py",
    "SignedDocument": "nvgpu/xmldsig.py",
    "Rim": "nvgpu/rim.py",
    "OcspStatus": "nvgpu/ocsp.py",
    "GpuClaims": "nvgpu/verify.py",
    "VtpmClaims": "snp/vtpm.py",
    "EventLogClaims": "tdx/eventlog.py",
    "Bound": "binding/verify.py",
    "Appraisal": "policy/appraisal.py",
    "Verified": "verifier.py",
    "AttestationResult": "verifier.py",
}


def constructions(tree: ast.Module) -> set[str]:
    """Name what a module calls, also by another module's attribute, copies with changes, or under another name."""
    renamed = {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    called = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = (name for func in called for name in (getattr(func, "id", ""), *attributes(func)))
    return {renamed.get(name, name) for name in names}


def attributes(func: ast.expr) -> Iterator[str]:
    """Name the attribute that is called, and what it is called on: `module.Name(…)` as well as `Name._make(…)`."""
    if isinstance(func, ast.Attribute):
        yield func.attr
        yield getattr(func.value, "id", "")


def test_each_verified_value_has_one_maker() -> None:
    package = ROOT / "attestd"
    found: dict[str, set[str]] = {name: set() for name in MAKERS}
    for path in package.rglob("*.py"):
        for name in constructions(ast.parse(path.read_text())) & MAKERS.keys():
            found[name].add(path.relative_to(package).as_posix())
    assert found == {name: {maker} for name, maker in MAKERS.items()}


@pytest.mark.parametrize(("name", "maker"), MAKERS.items())
def test_verified_values_are_immutable(name: str, maker: str) -> None:
    value = getattr(importlib.import_module("attestd." + maker.removesuffix(".py").replace("/", ".")), name)
    assert issubclass(value, tuple) or value.__dataclass_params__.frozen


def test_the_core_copies_no_verified_value_with_changes() -> None:
    """A copy is made without the maker; the core copies the parts of a TCB Info alone, before anything is verified."""
    package = ROOT / "attestd"
    core = [path for layer in core_layers() for path in (package / f"{layer}.py", *(package / layer).rglob("*.py"))]
    copying = {
        path.relative_to(package).as_posix()
        for path in core
        if path.is_file()
        and re.search(r"from dataclasses import .*\breplace\b|dataclasses\.replace|\._replace\(", path.read_text())
    }
    assert copying == {"tdx/collateral.py"}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_lock_pins_by_hash_and_names_no_index(lock: str) -> None:
    assert all(hashes > 0 for _, hashes in pins(lock).values())
    assert not re.search(r"://|^-", (ROOT / lock).read_text(), re.MULTILINE)


def test_locks_agree_and_hold_every_direct_dependency() -> None:
    runtime, development = pins("requirements.lock"), pins("requirements-dev.lock")
    assert runtime.items() <= development.items()
    declared = {
        **dict.fromkeys(PYPROJECT["project"]["dependencies"], runtime),
        **dict.fromkeys(PYPROJECT["dependency-groups"]["dev"], development),
        **dict.fromkeys(chain(*PYPROJECT["project"]["optional-dependencies"].values()), development),
    }
    for text, lock in declared.items():
        requirement = Requirement(text)
        version, _ = lock[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), text


def test_wheel_carries_policies_and_trust_anchors(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"attestd"}
    for folder in ("policies", "certs"):
        shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert shipped
        assert {f"attestd/_data/{name}" for name in shipped} <= names
