"""Function packages: what is imported and nothing else, for the target, built once."""

import ast
import json
import marshal
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from cdk import packaging
from cdk.packaging import PackagingError, function_package, import_closure, locked_requirements
from tests.infrastructure.functions import FUNCTIONS
from tests.infrastructure.template import Stage

TAG = sys.implementation.cache_tag


def _distributions(package: Path) -> set[str]:
    return {path.name.partition("-")[0] for path in package.glob("*.dist-info")}


@pytest.mark.parametrize("job", FUNCTIONS)
def test_a_package_holds_its_handler_its_capability_and_common_only(prod: Stage, job: str) -> None:
    package, capability = prod.package(job), FUNCTIONS[job].capability
    modules = {path.relative_to(package).parts[1] for path in (package / "lambdas").rglob("*.py")}
    # Who ends an overlay's key closes its connections.
    others = {"live"} if job == "overlay" else set()
    assert modules - {capability} == {"__init__.py", "common", "handlers"} | others
    handlers = {path.name for path in (package / "lambdas" / "handlers").glob("*.py")}
    assert handlers == {"__init__.py", f"{job}.py"}


@pytest.mark.parametrize("job", FUNCTIONS)
def test_every_module_in_a_package_is_imported_from_the_handler(prod: Stage, job: str) -> None:
    package = prod.package(job)
    sources, _ = import_closure(f"lambdas.handlers.{job}")
    assert {path.relative_to(package) for path in (package / "lambdas").rglob("*.py")} == {
        path.relative_to(packaging.ROOT) for path in sources
    }


@pytest.mark.parametrize("job", ["watch", "overlay", "reconciler", "notices"])
def test_a_package_that_reads_the_subscription_types_holds_them(prod: Stage, job: str) -> None:
    table = Path("lambdas", "subscription_types.json")
    assert (prod.package(job) / table).read_bytes() == (packaging.ROOT / table).read_bytes()


def test_the_site_is_built_anew_when_the_subscription_types_change() -> None:
    inputs = packaging.site_inputs(packaging.ROOT / "frontend")
    assert inputs["lambdas/subscription_types.json"] == packaging.SUBSCRIPTION_TYPES.read_bytes()
    assert "frontend/src/events/sentences.ts" in inputs


@pytest.mark.parametrize("job", FUNCTIONS)
def test_a_package_holds_the_distributions_that_are_imported(prod: Stage, job: str) -> None:
    assert _distributions(prod.package(job)) == FUNCTIONS[job].distributions


def test_the_bill_of_materials_lists_what_the_packages_hold(prod: Stage) -> None:
    subprocess.run(["make", "sbom"], cwd=packaging.ROOT, check=True)
    bom = json.loads((packaging.ROOT / ".artifacts" / "sbom" / "functions.json").read_text())
    listed = {f"{part['name'].replace('-', '_')}-{part['version']}.dist-info" for part in bom["components"]}
    held = {path.name for job in FUNCTIONS for path in prod.package(job).glob("*.dist-info")}
    # The lock has it for Windows.
    assert {name for name in listed if not name.startswith("tzdata-")} == held


@pytest.mark.parametrize("job", ["recorder", "query"])
def test_packages_for_aws_hold_arm_wheels_for_python_3_14(prod: Stage, job: str) -> None:
    extensions = [path.name for path in prod.package(job).rglob("*.cpython-*.so")]
    assert extensions
    assert all(name.endswith(".cpython-314-aarch64-linux-gnu.so") for name in extensions)


def test_packages_for_the_host_can_be_imported_here(local: Stage) -> None:
    code = "import psycopg, pydantic; print(psycopg.pq.__impl__)"
    command = [sys.executable, "-S", "-c", code]
    run = subprocess.run(command, cwd=local.package("query"), capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "binary"


def bytecode(package: Path) -> dict[str, bytes]:
    """The compiled modules of a package by their path."""
    return {str(path.relative_to(package)): path.read_bytes() for path in sorted(package.rglob("*.pyc"))}


def test_every_module_is_compiled_for_the_python_that_runs_it(local: Stage) -> None:
    package = local.package("query")
    modules = [path.relative_to(package) for path in package.rglob("*.py")]
    compiled = bytecode(package)
    assert {str(path.parent / "__pycache__" / f"{path.stem}.{TAG}.pyc") for path in modules} == {*compiled}
    for content in compiled.values():
        # Not checked against the source, whose time a zip does not keep:
        # https://peps.python.org/pep-0552/#specification
        assert content[:8] == MAGIC_NUMBER + (1).to_bytes(4, "little")
    code = marshal.loads(compiled[f"lambdas/handlers/__pycache__/query.{TAG}.pyc"][16:])  # noqa: S302 -- just built
    assert code.co_filename == "/var/task/lambdas/handlers/query.py"


def test_two_builds_are_the_same_byte_for_byte(local: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    package = local.package("webhook")
    with tempfile.TemporaryDirectory(dir=packaging.BUILD) as folder:
        copy = shutil.copytree(package, Path(folder, "contents"))
        for path in copy.rglob("__pycache__"):
            shutil.rmtree(path)
        monkeypatch.setenv("PYTHONHASHSEED", "7")
        monkeypatch.setenv("PYTHONPYCACHEPREFIX", folder)
        packaging._compile(copy, sys.executable)
        assert bytecode(copy) == bytecode(package)


def test_packages_for_aws_are_compiled_by_the_runtimes_python_if_it_is_here(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = {}
    # A Python that is not here, a shim that starts none, and the runtime's.
    for name, content in {
        "missing": None,
        "shim": "exit 127",
        "there": f'exec {sys.executable} "$@"',
    }.items():
        programs = project / name
        programs.mkdir()
        if content:
            (programs / "python3.14").write_text(f"#!/bin/sh\n{content}\n")
            (programs / "python3.14").chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
        packaging._compiler.cache_clear()
        packages[name] = function_package("lambdas.greet.hello.handler", "lambda")
        assert ("no python3.14 on the PATH" in capsys.readouterr().err) == (name != "there")
    packaging._compiler.cache_clear()
    assert packages["missing"] == packages["shim"] != packages["there"]
    assert [bool(bytecode(package.path)) for package in packages.values()] == [False, False, True]


def test_only_the_functions_of_history_carry_sql(prod: Stage) -> None:
    for job, function in FUNCTIONS.items():
        assert {path.parent.name for path in prod.package(job).rglob("*.sql")} == function.sql


@pytest.mark.parametrize("job", FUNCTIONS)
def test_a_package_is_small_enough_to_load_quickly(prod: Stage, job: str) -> None:
    size = sum(path.stat().st_size for path in prod.package(job).rglob("*") if path.is_file())
    assert size < 40 * 1024 * 1024


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one function, whose packages are built from nothing but its own source."""
    module = tmp_path / "lambdas" / "greet"
    module.mkdir(parents=True)
    for package in (module.parent, module):
        (package / "__init__.py").touch()
    (module / "hello.py").write_text("import json\nfrom lambdas.greet import words\n")
    (module / "words.py").write_text("HELLO = 'hello'\n")
    (module / "unused.py").write_text("HELLO = 'unused'\n")
    monkeypatch.setattr(packaging, "ROOT", tmp_path)
    monkeypatch.setattr(packaging, "BUILD", tmp_path / ".build")
    return tmp_path


def test_an_unchanged_package_is_not_built_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = function_package("lambdas.greet.hello.handler", "host")
    assert "building" in capsys.readouterr().err
    assert function_package("lambdas.greet.hello.handler", "host") == first
    assert capsys.readouterr().err == ""


def test_a_module_that_is_not_imported_changes_nothing(project: Path) -> None:
    before = function_package("lambdas.greet.hello.handler", "host")
    (project / "lambdas" / "greet" / "unused.py").write_text("HELLO = 'changed'\n")
    assert function_package("lambdas.greet.hello.handler", "host") == before
    assert not (before.path / "lambdas" / "greet" / "unused.py").exists()


def test_a_module_that_is_imported_makes_a_new_package(project: Path) -> None:
    before = function_package("lambdas.greet.hello.handler", "host")
    (project / "lambdas" / "greet" / "words.py").write_text("HELLO = 'good day'\n")
    after = function_package("lambdas.greet.hello.handler", "host")
    assert after.digest != before.digest
    assert "good day" in (after.path / "lambdas" / "greet" / "words.py").read_text()


def test_former_packages_are_removed_once_nobody_asked_for_them_in_a_day(project: Path) -> None:
    handler, words = "lambdas.greet.hello.handler", project / "lambdas" / "greet" / "words.py"
    packages = []
    for greeting, age_hours in (("hello", 25), ("good day", 23)):
        words.write_text(f"HELLO = {greeting!r}\n")
        packages.append(function_package(handler, "host").path)
        last_asked_for = time.time() - age_hours * 3600
        os.utime(packages[-1], (last_asked_for, last_asked_for))
    words.write_text("HELLO = 'welcome'\n")
    assert function_package(handler, "host").path.is_dir()
    assert [path.is_dir() for path in packages] == [False, True]


def test_the_target_and_further_files_are_part_of_what_a_package_is(project: Path) -> None:
    handler = "lambdas.greet.hello.handler"
    packages = [
        function_package(handler, "host"),
        function_package(handler, "lambda"),
        function_package(handler, "host", {"data/greeting.txt": b"hello"}),
    ]
    assert len({package.digest for package in packages}) == 3
    assert (packages[2].path / "data" / "greeting.txt").read_bytes() == b"hello"


def test_a_failed_build_leaves_nothing_that_looks_finished(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PackagingError("no network")

    monkeypatch.setattr(packaging, "_write", fail)
    with pytest.raises(PackagingError, match="no network"):
        function_package("lambdas.greet.hello.handler", "host")
    monkeypatch.undo()
    assert not list((project / ".build").glob("packages/*"))
    assert not list((project / ".build").glob("new-*"))


def test_a_missing_handler_is_named(project: Path) -> None:
    with pytest.raises(PackagingError, match=r"lambdas\.greet\.bye"):
        function_package("lambdas.greet.bye.handler", "host")


def test_an_import_that_is_not_locked_is_named() -> None:
    with pytest.raises(PackagingError, match="'httpx'"):
        locked_requirements({"httpx"}, "lambda")


def test_relative_imports_and_modules_imported_by_name_are_followed(project: Path) -> None:
    (project / "lambdas" / "greet" / "hello.py").write_text(
        "from . import words\nfrom .unused import HELLO\n"
    )
    sources, others = import_closure("lambdas.greet.hello")
    assert {path.name for path in sources} == {"__init__.py", "hello.py", "words.py", "unused.py"}
    assert others == set()


def test_the_aws_sdk_comes_from_the_runtime(prod: Stage) -> None:
    imports = {
        alias.name
        for node in ast.walk(
            ast.parse((prod.package("archiver") / "lambdas/handlers/archiver.py").read_text())
        )
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert "boto3" in imports
    assert not list(prod.package("archiver").glob("boto*"))
