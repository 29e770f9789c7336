"""A stage's templates in a readable form: resources by construct path, references as ``{path}``."""

import dataclasses
import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

# jsii reads it at its first import.
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")

from aws_cdk import App

from cdk.packaging import ROOT
from cdk.settings import load
from cdk.stacks import build
from local.deployment import settings as local_settings
from local.ports import Ports
from tests.infrastructure.functions import ALL_FUNCTIONS

# The application's comes last.
STACKS = ("Data", "Edge", "App")
LOCAL_SETTINGS = local_settings(Ports(emulator=14566, twitch=14567, database=15432), {})

Properties = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Resource:
    """One resource: its type, its properties with references rendered, and what it waits for."""

    path: str
    type: str
    properties: Properties
    depends_on: frozenset[str]
    deletion_policy: str | None


class Stage:
    """The synthesised stacks of ``app``; ``region`` is the Region that they are for, if they know it."""

    def __init__(self, app: App, assembly: Path, stage: str, region: str | None = None) -> None:
        self.app = app
        self.assembly = assembly
        self.paths = {
            stack: path
            for stack in STACKS
            if (path := assembly / f"Fanfare-{stage}-{stack}.template.json").is_file()
        }
        self.texts = [path.read_text() for path in self.paths.values()]
        self._region = region
        self._templates = [json.loads(text) for text in self.texts]
        self._paths = {
            logical_id: _path(resource) or logical_id
            for template in self._templates
            for logical_id, resource in template["Resources"].items()
        }
        self._published = {
            name: output["Value"]
            for template in self._templates
            for name, output in template.get("Outputs", {}).items()
        }
        self._exports = {
            output["Export"]["Name"]: output["Value"]
            for template in self._templates
            for output in template.get("Outputs", {}).values()
            if "Export" in output
        }

    @cached_property
    def resources(self) -> dict[str, Resource]:
        """Every resource of all stacks by its construct path."""
        found = {}
        for template in self._templates:
            for logical_id, resource in template["Resources"].items():
                path = self._paths[logical_id]
                assert path not in found, f"two resources at {path}"
                found[path] = Resource(
                    path=path,
                    type=resource["Type"],
                    properties=self.render(resource.get("Properties", {})),
                    depends_on=frozenset(self._paths[other] for other in _listed(resource.get("DependsOn"))),
                    deletion_policy=resource.get("DeletionPolicy"),
                )
        return found

    @cached_property
    def outputs(self) -> dict[str, str]:
        """The outputs of the application's stack."""
        return {name: self.render(output["Value"]) for name, output in self._templates[-1]["Outputs"].items()}

    @cached_property
    def needs(self) -> dict[str, set[str]]:
        """What each resource refers to or waits for in its own stack, by construct path."""
        return {
            self._paths[logical_id]: {
                self._paths[other] for other in _references(resource) if other in self._paths
            }
            for template in self._templates
            for logical_id, resource in template["Resources"].items()
        }

    def of_type(self, type_: str) -> dict[str, Properties]:
        """The properties of every resource of a type, by construct path."""
        return {path: found.properties for path, found in self.resources.items() if found.type == type_}

    def function(self, job: str) -> Properties:
        """The function of a job, e.g. ``webhook``."""
        return self.resources[ALL_FUNCTIONS[job].construct].properties

    def package(self, job: str) -> Path:
        """The directory that is uploaded as the function's package."""
        return self.asset(str(self.function(job)["Code"]["S3Key"]).removesuffix(".zip"))

    def asset(self, digest: str) -> Path:
        """The directory of the asset with this digest."""
        for manifest in self.assembly.glob("*.assets.json"):
            files = json.loads(manifest.read_text())["files"]
            if digest in files:
                return self.assembly / str(files[digest]["source"]["path"])
        raise LookupError(digest)

    def grants(self, role: str) -> list[str]:
        """What the policies of the role at this path allow, each as ``action on resource``."""
        granted = []
        for properties in self.of_type("AWS::IAM::Policy").values():
            if f"{{{role}}}" not in properties["Roles"]:
                continue
            for statement in properties["PolicyDocument"]["Statement"]:
                assert statement["Effect"] == "Allow"
                granted += [
                    f"{action} on {resource}"
                    for action in _listed(statement["Action"])
                    for resource in _listed(statement["Resource"])
                ]
        return sorted(granted)

    def render(self, value: Any) -> Any:
        """``value`` with CloudFormation's functions written out as text, and the Region as ``{Region}``."""
        if isinstance(value, list):
            return [self.render(item) for item in value]
        if isinstance(value, str) and self._region:
            # A stack that knows its Region knows its partition, too.
            return value.replace(self._region, "{Region}").replace("arn:aws:", "arn:{Partition}:")
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._call(function.removeprefix("Fn::"), argument)
        return {key: self.render(item) for key, item in value.items()}

    def _call(self, function: str, argument: Any) -> Any:
        match function, argument:
            case "Ref", name:
                text = "{" + self._paths.get(name, name.removeprefix("AWS::")) + "}"
            case "GetAtt", [logical_id, attribute]:
                text = "{" + self._paths[logical_id] + "." + attribute + "}"
            case "ImportValue", export:
                text = self.render(self._exports[export])
            case "GetStackOutput", reference:
                text = self.render(self._published[reference["OutputName"]])
            case "Join", [separator, parts]:
                text = separator.join(str(self.render(part)) for part in parts)
            case "Select", [index, values]:
                text = f"{self.render(values)}[{index}]"
            case "Split", [separator, joined]:
                text = f"{self.render(joined)}.split({separator!r})"
            case "Sub", template:
                text = str(self.render(template)).replace("${AWS::", "{")
            case _:
                text = {f"Fn::{function}": self.render(argument)}
        return text


def synthesise(stage: str, directory: Path, **context: Any) -> Stage:
    """Synthesise a stage as the CDK command line does."""
    defaults = json.loads((ROOT / "cdk.json").read_text())["context"]
    if stage == "local":
        file = directory.with_suffix(".settings.json")
        file.write_text(json.dumps(LOCAL_SETTINGS))
        context = {"settings-file": str(file), **context}
    context = {**defaults, "stage": stage, "aws:cdk:enable-path-metadata": True, **context}
    app = App(outdir=str(directory), context=context)
    settings = load(context)
    build(app, settings)
    app.synth()
    return Stage(app, directory, stage, settings.region)


def _path(resource: dict[str, Any]) -> str | None:
    path = resource.get("Metadata", {}).get("aws:cdk:path")
    return path.partition("/")[2].removesuffix("/Resource") if path else None


def _references(value: Any) -> set[str]:
    """Every logical id that ``value`` names by ``Ref``, ``Fn::GetAtt`` or ``DependsOn``."""
    if isinstance(value, list):
        return {found for item in value for found in _references(item)}
    if not isinstance(value, dict):
        return set()
    found = {name for name in (value.get("Ref"), value.get("Fn::GetAtt", [None])[0]) if isinstance(name, str)}
    return found.union(_listed(value.get("DependsOn")), *(_references(item) for item in value.values()))


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
