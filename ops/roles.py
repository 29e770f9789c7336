"""``make roles``: write docs/roles.md, a table of the roles of ``prod`` and of the pipeline."""

import json
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

# jsii reads it at its first import.
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")

from aws_cdk import App

from cdk import pipeline, settings
from cdk.stacks import build

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "roles.md"
# Any repository: its name and ids stand in the conditions of the workflows' roles.
REPOSITORY = {"repository": "owner/name", "owner-id": "12", "repository-id": "345"}
HEAD = """# What each role may do

`make roles` writes this page from the templates of `prod` and of the pipeline, and a test holds it equal to
them. Resources are named by their construct; `*` stands where a name is not known before. After `if` are
conditions, as in the template.

Not here are the roles of [CDK's bootstrap stacks](https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html)
(`cdk-…`), which the pipeline's roles assume and with which CloudFormation deploys; nor what the policies of
resources, such as a bucket's or a queue's, allow and deny.

"""
COLUMNS = """| role | who takes it | may | on |
|---|---|---|---|
"""
TWITCH = """
## With `sign_in: "twitch"`

The roles that `prod` would have besides, or with other rights than above.

"""


def main() -> None:
    """Synthesise them, and write the page."""
    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    with tempfile.TemporaryDirectory() as folder:
        for sign_in in ("cognito", "twitch"):
            stages = {"prod": {**context["stages"]["prod"], "sign_in": sign_in}}
            values = {**context, "stages": stages, "aws:cdk:enable-path-metadata": True}
            stage = App(outdir=f"{folder}/{sign_in}", context=values)
            build(stage, settings.load({**values, "stage": "prod"}))
            stage.synth()
        workflows = App(outdir=f"{folder}/cognito/pipeline", context={"aws:cdk:enable-path-metadata": True})
        pipeline.PipelineStack(workflows, *pipeline.load({**context, **REPOSITORY}))
        workflows.synth()
        DOCUMENT.write_text(
            page(*(Path(folder, sign_in).rglob("*.template.json") for sign_in in ("cognito", "twitch")))
        )
    print(f"✓ {DOCUMENT.relative_to(ROOT)}")


def page(paths: Iterable[Path], twitch: Iterable[Path]) -> str:
    """The page for the templates at these paths, and for those of a stage with the other sign-in."""
    roles = _roles(paths)
    others = [role for role in _roles(twitch) if role not in roles]
    return "".join([HEAD, COLUMNS, *roles, TWITCH, COLUMNS, *others])


def _roles(paths: Iterable[Path]) -> list[str]:
    """The rows of each role."""
    templates = [json.loads(path.read_text()) for path in sorted(paths, key=lambda path: path.name)]
    names = {
        name: _path(name, resource)
        for template in templates
        for name, resource in template["Resources"].items()
    }
    # What one stack takes from another is named as in the other.
    names |= {
        output["Export"]["Name"]: _text(output["Value"], names)
        for template in templates
        for output in template.get("Outputs", {}).values()
        if "Export" in output
    }
    return [rows for template in templates for rows in _rows(template["Resources"], names)]


def _rows(resources: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    for name, role in resources.items():
        if role["Type"] != "AWS::IAM::Role":
            continue
        properties = role["Properties"]
        (trust,) = properties["AssumeRolePolicyDocument"]["Statement"]
        allowed: dict[str, set[str]] = defaultdict(set)
        for statement in _statements(resources, name):
            assert statement["Effect"] == "Allow"  # noqa: S101 -- nothing here denies
            for target in _listed(statement["Resource"]):
                on = f"`{_short(_text(target, names))}`{_conditions(statement, names)}"
                allowed[on] |= {*_listed(statement["Action"])}
        for managed in properties.get("ManagedPolicyArns", ()):
            policy = _text(managed, names).rpartition("/")[2]
            allowed[f"what AWS's policy `{policy}` says"] = {""}
        rows = [f" {', '.join(sorted(actions))} | {on} |\n" for on, actions in sorted(allowed.items())]
        who = _who(trust["Principal"], names) + _conditions(trust, names)
        yield f"| {names[name]} | {who} |" + "| | |".join(rows)


def _statements(resources: Mapping[str, Any], role: str) -> Iterator[dict[str, Any]]:
    for policy in resources[role]["Properties"].get("Policies", ()):
        yield from policy["PolicyDocument"]["Statement"]
    for resource in resources.values():
        if resource["Type"] == "AWS::IAM::Policy" and {"Ref": role} in resource["Properties"]["Roles"]:
            yield from resource["Properties"]["PolicyDocument"]["Statement"]


def _who(principal: Mapping[str, Any], names: Mapping[str, str]) -> str:
    ((kind, value),) = principal.items()
    return "GitHub's workflows" if kind == "Federated" else _text(value, names).removesuffix(".amazonaws.com")


def _conditions(statement: Mapping[str, Any], names: Mapping[str, str]) -> str:
    found = [
        f"`{key}` {operator} {', '.join(f'`{_text(value, names)}`' for value in _listed(values))}"
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    ]
    return f" if {' and '.join(found)}" if found else ""


def _path(name: str, resource: Mapping[str, Any]) -> str:
    path: str = resource.get("Metadata", {}).get("aws:cdk:path", f"/{name}")
    return path.partition("/")[2].removesuffix("/Resource")


def _text(value: Any, names: Mapping[str, str]) -> str:
    """A value with CloudFormation's functions written out, and resources by their construct."""
    match value:
        case str():
            return value
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), _]} | {"Fn::ImportValue": str(name)}:
            return names.get(name, name.removeprefix("AWS::"))
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(_text(part, names) for part in parts)
        case {"Fn::Sub": str(pattern)}:
            return re.sub(r"\$\{(?:AWS::)?(\w+)\}", r"\1", pattern)
    raise ValueError(f"a role's policy has a value that this page cannot show: {value}")


def _short(text: str) -> str:
    """An ARN without the part that says which account and Region."""
    return text.split(":", 5)[5] if text.startswith("arn:") else text


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


if __name__ == "__main__":
    main()
