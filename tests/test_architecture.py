"""Imports run one way, one heavy library has one home (docs/architecture.md), and functions are short."""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from registry import Registry
from tests.registry.helpers import result
from tests.registry.test_groups import condensed

ROOT = Path(__file__).parent.parent
LEAVES = {
    "errors",
    "types",
    "examples",
    "rng",
    "progress",
    "names",
    "home",
    "kept",
    "preprocessing",
    "canonical",
    "printable",
    "references",
    "config",
    "functional",
    "parametrisation",
    "schedule",
    "statistics",
}
BASE = LEAVES | {"machine", "synthetic", "training"}
PIECES = {"engine", "augment", "networks", "data"}
# For each part of `satm`: the other parts that it may import.
ALLOWED = {
    **dict.fromkeys(LEAVES, LEAVES),
    "synthetic": LEAVES,
    "machine": LEAVES,
    "training": LEAVES | {"machine"},
    **dict.fromkeys(PIECES, BASE),
    "matching": BASE | PIECES,
    "experts": BASE | PIECES,
    "teachers": BASE | PIECES,
    "methods": BASE | PIECES | {"matching", "experts", "teachers"},
    "presets": BASE | PIECES | {"matching", "experts", "teachers", "methods"},
    "report": BASE,
    "loggers": LEAVES,
    # a study names things of these tables; it computes nothing
    "studies": BASE | {"data", "networks", "methods", "presets"},
    # `exchange` reads and writes other people's layouts. It decodes with `data`, and the field's ConvNet depth is in
    # `networks`. It knows no registry and no configuration of a method; `workflow` joins it to those.
    "exchange": BASE | {"data", "networks"},
}
OUTSIDE = {
    "evaluation": BASE | {"data", "augment", "networks", "teachers"},
    "protocols": BASE | {"data", "augment", "networks", "matching", "teachers"},
    "registry": LEAVES | {"synthetic"},
}
HOMES = {
    "avalanche": "protocols",
    "sqlite_utils": "registry",
    "timm": "satm/networks",
    "typer": "satm/cli",
    "rich": "satm/cli",
    "matplotlib": "satm/report",
    "jinja2": "satm/report",
    "markupsafe": "satm/report",
    "higher": "satm/engine",
    "ray": "satm/workflow/fan_out",
    "optuna": "satm/workflow/tune",
    "tensorboard": "satm/loggers",
    "mlflow": "satm/loggers",
    "wandb": "satm/loggers",
    "sqlalchemy": "satm/workflow/tune",
    "datasette": "satm/workflow/serve",
    "uvicorn": "satm/workflow/serve",
}


LONGEST = 60  # lines of a function
OPTIONS = "a command: each option is a parameter on lines of its own"
LONG = {  # longer functions, with the reason
    "evaluation/cross_arch.py evaluate": "the docstring of a public function says every argument",
    "registry/migrations.py m001_tables": "one list of tables, and an old migration never changes",
    "satm/cli/architectures.py evaluate_architectures": OPTIONS,
    "satm/cli/condense.py condense": OPTIONS,
    "satm/cli/condense.py experts": OPTIONS,
    "satm/cli/exchange.py import_set": OPTIONS,
    "satm/cli/incremental.py evaluate_incremental": OPTIONS,
    "satm/cli/tune.py tune": OPTIONS,
    "satm/workflow/condense/run.py condense": "the docstring of a public function says every argument",
    "satm/workflow/evaluate/in_domain.py evaluate": "the docstring of a public function says every argument",
    "satm/workflow/incremental/run.py evaluate_incremental": "a public function: each argument is on a line of its own",
    "satm/workflow/tune/run.py tune": "the docstring of a public function says every argument",
}


def modules() -> list[Path]:
    return [p for name in ("satm", "evaluation", "protocols", "registry") for p in sorted((ROOT / name).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a module imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part(path: Path) -> str:
    relative = path.relative_to(ROOT / "satm")
    return relative.parts[0].removesuffix(".py")


def satm_parts(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("satm.")}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    top = path.relative_to(ROOT).parts[0]
    others = {name.split(".")[0] for name in imported(path)} & {"evaluation", "protocols", "registry"} - {top}
    if top == "satm":
        here = part(path)
        if here in ("workflow", "cli"):
            assert here == "cli" or "cli" not in satm_parts(path)
            return
        if here == "__init__":
            return
        assert not others, f"{path} imports {others}"
        assert satm_parts(path) - {here} <= ALLOWED[here], f"{path} reaches up"
    else:
        assert others <= ({"evaluation"} if top == "protocols" else set())
        assert satm_parts(path) <= OUTSIDE[top]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_libraries_have_one_home(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    for name in imported(path):
        home = HOMES.get(name.split(".")[0])
        assert home is None or place.startswith(home + "/"), f"{place} imports {name}, whose home is {home}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_are_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines, name = node.end_lineno - node.lineno + 1, f"{path.relative_to(ROOT).as_posix()} {node.name}"
            assert lines <= LONGEST or name in LONG, f"{name} has {lines} lines, expected at most {LONGEST}"


def test_the_allowed_table_names_every_part() -> None:
    parts = {part(path) for path in modules() if path.is_relative_to(ROOT / "satm")}
    assert parts - {"__init__", "workflow", "cli"} == set(ALLOWED)


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint('\\n'.join(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


LISTING = "from satm.names import registered_in; assert 'alexnet' in registered_in('satm.networks')"


@pytest.mark.parametrize("code", ["import satm", "import satm.cli", "import registry", "import protocols", LISTING])
def test_start_up_loads_nothing_heavy(code: str) -> None:
    assert not loaded_after(code) & {
        "torch",
        "avalanche",
        "timm",
        "higher",
        "matplotlib",
        "sklearn",
        "pyarrow",
        "scipy",
    }


READING = ["results", "results --metric accuracy", "sets list", "sets show", "query 'select * from sets'", "--help"]
READING += [f"results --format {form}" for form in ("csv", "json", "markdown")]


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with a group of two sets, five results each."""
    path: Path = tmp_path_factory.mktemp("registry") / "satm.db"
    with Registry.open(path) as registry:
        recipe = registry.add_recipe("smoke", {})
        for seed in range(2):
            record = registry.add_set(condensed(seed), run=None)
            given = {"metric": "accuracy", "detail": {"policy": "learned"}}
            registry.add_results([result(record.id, recipe, repeat=r, value=0.5 + r / 10, **given) for r in range(5)])
    return path


@pytest.mark.parametrize("command", READING)
def test_commands_that_read_load_nothing_heavy(command: str, two_sets: Path) -> None:
    arguments = [*shlex.split(command), *([] if command == "--help" else ["--registry", str(two_sets)])]
    program = f"from satm.cli import run; assert run({arguments!r}) == 0; print()"
    loaded = loaded_after(program)
    assert not loaded & {"torch", "scipy", "numpy", "pandas", "sqlite_utils", "safetensors"}
    assert not loaded & {"pydantic", "rich", "email"}  # of typer, and of importlib.metadata
    assert ("typer" in loaded) == (command != "--help")


def test_one_place_prints() -> None:
    """`satm.cli._output.say` escapes what controls a terminal, so no command prints by itself."""
    for path in (ROOT / "satm" / "cli").glob("*.py"):
        if path.name not in ("_output.py", "_progress.py", "reference.py"):
            assert not {"print", "echo"} & {
                getattr(node.func, "attr", getattr(node.func, "id", ""))
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Call)
            }, f"{path.name} prints; use say"


def test_our_tests_package_is_the_one_imported() -> None:
    # avalanche-lib installs a top-level package `tests` too.
    import tests

    assert tests.__file__ is not None
    assert Path(tests.__file__).parent == ROOT / "tests"
    for folder in (path.parent for path in (ROOT / "tests").rglob("*.py")):
        assert (folder / "__init__.py").exists(), f"{folder} needs an __init__.py"
