"""The house rules, read from the imports: which room may know which."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for room in ("service", "training") for path in (ROOT / room).rglob("*.py")}


def imported(module: str) -> Iterator[str]:
    """Name what a module imports, wherever in it: `from service import problems` is service.problems."""
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by dots: write the name out"
            assert node.module
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield node.module if node.module in FILES and inner not in FILES else inner


IMPORTS = {module: set(imported(module)) for module in FILES}


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def importers(package: str) -> set[str]:
    return {module for module, names in IMPORTS.items() if any(is_in(name, package) for name in names)}


def room(name: str) -> set[str]:
    return {module for module in FILES if is_in(module, name)}


def test_the_imports_are_read_at_all() -> None:
    assert {"service.app", "service.routes.prediction", "training.__main__"} <= set(FILES)
    assert "service.errors" in IMPORTS["service.batching"]
    assert "training.export" in IMPORTS["training.run"], "`from training import export` is that module"


def test_the_two_packages_share_the_artefact_and_nothing_else() -> None:
    assert not importers("training") & room("service")
    assert not importers("service") & room("training")


def test_the_service_needs_no_torchvision() -> None:
    assert not importers("torchvision") & room("service")


@pytest.mark.parametrize(("package", "home"), [("service", "service.model"), ("training", "training.export")])
def test_one_file_on_each_side_names_torch_jit(package: str, home: str) -> None:
    def names_it(module: str) -> bool:
        tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
        chains = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        return "torch.jit" in chains or module in importers("torch.jit")

    assert {module for module in room(package) if names_it(module)} == {home}


@pytest.mark.parametrize(
    ("module", "may_know"), [("service.errors", set()), ("service.batching", {"service.errors"})]
)
def test_the_lowest_rooms_know_the_standard_library_alone(module: str, may_know: set[str]) -> None:
    others = {name for name in IMPORTS[module] if name.partition(".")[0] not in sys.stdlib_module_names}
    assert others == may_know


def test_nothing_is_above_the_app_but_the_command_line() -> None:
    assert importers("service.app") <= {"service.__main__", "service.cluster"}
    assert not importers("service.cluster")
    assert not importers("service.__main__")
    assert not importers("training.__main__")


def test_ray_is_known_in_one_place_and_needed_nowhere() -> None:
    assert importers("ray") == {"service.cluster"}


def test_nothing_is_above_the_routes_but_the_app() -> None:
    assert importers("service.routes") <= {"service.app"} | room("service.routes")


def test_what_is_below_http_does_not_know_it() -> None:
    """The queue, the model and the mathematics could be served by anything."""
    below = room("service.arithmetic") | {
        f"service.{module}" for module in ("batching", "model", "images", "workers", "errors")
    }
    assert below <= set(FILES)
    assert len(below) > 10
    for web in ("fastapi", "starlette", "uvicorn"):
        assert not importers(web) & below


def test_the_arithmetic_knows_no_bodies_and_no_models() -> None:
    for above in ("service.matrices", "service.model", "service.serving", "torch"):
        assert not importers(above) & room("service.arithmetic")


@pytest.mark.parametrize("package", ["service", "training"])
def test_arrows_never_go_round_in_a_circle(package: str) -> None:
    own = room(package)
    TopologicalSorter({module: IMPORTS[module] & own for module in own}).prepare()  # raises CycleError


def test_a_running_service_has_loaded_neither_torchvision_nor_training() -> None:
    """What the imports of imports bring, which the files do not show."""
    code = "import sys, service.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "service" in loaded
    assert not loaded & {"torchvision", "training", "rich", "ray"}


def test_what_stands_before_a_proxy_loads_no_torch() -> None:
    code = "import sys, service.ingress; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "ray"} & set(done.stdout.split())
