"""The house's shape, checked: arrows, cycles, purity, mirrored tests, sizes."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parent.parent
APP = ROOT / "app"
MODULES = sorted(path for path in APP.rglob("*.py") if path.name != "__init__.py" or path.stat().st_size > 200)

COMPOSITION = {"main", "server", "gateway", "books_parts", "pool_parts"}
# Who may import whom; every part may import itself and core, core only itself.
ARROWS = {
    "cli": {"services", "models", "main"},
    "api": {"services", "models", "middleware"},
    "panel": {"services", "models", "middleware"},
    "middleware": {"services", "models", "api"},
    "services": {"transport", "models"},
    "transport": set(),
    "models": set(),
    "core": set(),
}
PURE = {
    "account_rules", "addresses", "affinity", "alert_conditions", "alert_formats", "alert_rules", "alert_states",
    "ask", "audit_chain", "cells", "chooser", "cleaning", "credentials", "desired_export", "desired_forms",
    "desired_state", "desired_views", "drift", "endpoints", "forecast", "gates", "import_earlier", "import_litellm",
    "import_report", "incident", "inject", "insight_plan", "insight_sheet", "judge", "key_answer", "key_fields",
    "key_names", "key_picture", "key_rules", "ledger_filter", "limit_plan", "limit_refusal", "limit_words",
    "litellm_files", "litellm_models", "log_filter", "money", "namespaces", "object_ids", "oidc_claims", "opening",
    "outliers", "password_rules", "period", "plan_diff", "plan_match", "policy", "probe_schedule", "probe_verdict",
    "reconcile_plan", "renewal_plan", "rescue", "return_path", "routes", "selection", "session_rules",
    "settle_records", "shortage", "skins", "spending", "splice", "spreadsheet", "sse", "terms", "token_form", "tools",
    "totp", "trace", "upstream_error", "upstream_words", "usage", "wire", "yaml_reading",
}  # fmt: skip
WEB_FRAMEWORKS = {"fastapi", "starlette", "jinja2", "uvicorn"}
ONLY_IN = {
    "redis": {"core/redis.py"},
    "httpx2": {"services/webhooks.py"},
    "socket": {"transport", "core/embedded.py", "core/redis.py", "server.py"},
    "aiosmtplib": {"services/email.py"},
    "httptools": {"transport", "api/server_protocol.py"},
}


def name_of(path: Path) -> str:
    return str(path.relative_to(APP))


def part_of(path: Path) -> str:
    return path.relative_to(APP).parts[0].removesuffix(".py")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """The dotted names a module imports, functions' own imports included, type-checking blocks too."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_follow_the_arrows(path: Path) -> None:
    """A part imports only the parts that stand below it."""
    part = part_of(path)
    if part in COMPOSITION:
        return
    for name in imports(path):
        if name.startswith("app.") and name.split(".")[1] != "__version__":
            other = name.split(".")[1]
            assert other == part or other == "core" or other in ARROWS[part], f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_each_outside_thing_has_one_door(path: Path) -> None:
    """Redis, HTTP clients, parsers and sockets are imported only where they belong, web frameworks never by the
    domain.
    """
    used = {name.split(".")[0] for name in imports(path)}
    for thing, doors in ONLY_IN.items():
        if thing in used:
            assert name_of(path) in doors or part_of(path) in doors, f"{name_of(path)} imports {thing}"
    if part_of(path) in {"services", "models", "transport", "core"}:
        assert not used & WEB_FRAMEWORKS


@pytest.mark.parametrize("path", [p for p in MODULES if part_of(p) == "services" and p.stem in PURE], ids=name_of)
def test_deciding_modules_are_pure(path: Path) -> None:
    """A module that decides neither waits nor knows one that acts."""
    assert not any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(tree_of(path)))
    for name in imports(path):
        if name.startswith("app."):
            pieces = name.split(".")
            if len(pieces) == 2:
                continue  # `from app.services import x`: the module itself follows
            assert pieces[1] == "models" or name.startswith("app.core.errors") or pieces[2] in PURE, name


def test_no_import_cycles() -> None:
    """Following imports never leads back."""
    known = {
        "app." + name_of(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__"): path for path in MODULES
    }
    edges = {
        module: {name for name in imports(path) if name in known and name != module} for module, path in known.items()
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for other in edges[module]:
                visit(other, (*trail, module))
            done.add(module)

    for module in edges:
        visit(module, ())


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "__init__.py"], ids=name_of)
def test_tests_mirror_modules(path: Path) -> None:
    """Each module has the test file of its name."""
    relative = path.relative_to(APP)
    folders = [f"test_{folder}" for folder in relative.parts[:-1]]
    assert (ROOT / "tests").joinpath(*folders, f"test_{path.name}").exists()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_sizes_and_first_words(path: Path) -> None:
    """A module says what it is in its first lines, and neither it nor a function of it outgrows a screen's patience."""
    assert ast.get_docstring(tree_of(path)), "no module docstring"
    assert len(path.read_text().splitlines()) <= 400
    for function in functions(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= 60, f"{function.name} has {length} lines"


def test_the_house_stays_small() -> None:
    """Most rooms are small, and so are most functions."""
    assert median(len(path.read_text().splitlines()) for path in MODULES) <= 160
    assert median((f.end_lineno or 0) - f.lineno + 1 for path in MODULES for f in functions(path)) <= 9


# Keys of the simulator, which open nothing else, are made of few signs; those of tests are drawn, or stand in tests.
_KEY = re.compile(
    r"sk-or-v1-[0-9a-f]{64}|gw_live_[0-9A-Za-z]{40,}|gwa_[0-9A-Za-z]{40,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]{60}"
)


def test_no_secret_stands_in_the_repository() -> None:
    """What looks like one is made of so few signs that nobody can take it for one."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no clone")
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if (
            not name
            or name.startswith("tests/")
            or not path.is_file()
            or path.suffix in (".png", ".mo", ".lock", ".js")
        ):
            continue
        for found in _KEY.findall(path.read_text("utf-8", "replace")):
            assert len(set(found[9:])) < 12, f"{name} holds {found[:14]}…"
