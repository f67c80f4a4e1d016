"""The packages that are shipped, their names and their versions."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

import satm

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ["satm", "evaluation", "protocols", "registry"]


def test_exactly_our_four_packages_are_shipped() -> None:
    assert PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"] == [f"{name}*" for name in PACKAGES]
    assert set(PYPROJECT["tool"]["setuptools"]["package-data"]) == set(PACKAGES)
    for name in PACKAGES:
        assert (ROOT / name / "py.typed").exists()


def test_no_other_distribution_claims_our_names() -> None:
    owners = packages_distributions()
    for name in PACKAGES:
        assert set(owners.get(name, ["satm"])) == {"satm"}


def test_the_version_is_one() -> None:
    assert PYPROJECT["project"]["version"] == satm.__version__
    assert f"version: {satm.__version__}" in (ROOT / "CITATION.cff").read_text()


def test_the_command_is_installed() -> None:
    (script,) = (entry for entry in entry_points(group="console_scripts") if entry.name == "satm")
    assert script.value == "satm.cli:main"


def test_every_dependency_has_a_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    listed = [line for line in lines if line.strip().startswith('"') and (">=" in line or "==" in line)]
    extras = (each for extra in PYPROJECT["project"]["optional-dependencies"].values() for each in extra)
    wanted = [*PYPROJECT["project"]["dependencies"], *(each for each in extras if not each.startswith("satm["))]
    reasoned = [line for line in listed if "#" in line]
    assert len(reasoned) == len(wanted)
