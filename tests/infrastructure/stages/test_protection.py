"""Production's data is kept, whatever happens to its stacks."""

import json

from tests.infrastructure.template import Stage

KEPT = {
    "AWS::DynamoDB::Table": ("DeletionProtectionEnabled", True),
    "AWS::RDS::DBCluster": ("DeletionProtection", True),
}


def _terminable(stage: Stage) -> dict[str, bool]:
    manifest = json.loads((stage.assembly / "manifest.json").read_text())["artifacts"]
    return {
        name: not found["properties"].get("terminationProtection", False)
        for name, found in manifest.items()
        if found["type"] == "aws:cloudformation:stack"
    }


def test_only_productions_data_is_protected_from_termination(prod: Stage, local: Stage) -> None:
    assert _terminable(prod) == {
        "Fanfare-prod-Data": False,
        "Fanfare-prod-Edge": True,
        "Fanfare-prod-App": True,
    }
    assert _terminable(local) == {"Fanfare-local-Data": True, "Fanfare-local-App": True}


def test_productions_data_cannot_be_deleted_and_outlives_its_stack(prod: Stage, local: Stage) -> None:
    for type_, (name, value) in KEPT.items():
        found = [resource for resource in prod.resources.values() if resource.type == type_]
        assert found
        for resource in found:
            assert resource.properties[name] == value
            assert resource.deletion_policy in {"Retain", "Snapshot"}, resource.path
    assert all(
        resource.deletion_policy == "Delete" for resource in local.resources.values() if resource.type in KEPT
    )


def test_productions_data_can_be_restored_to_any_moment_of_two_weeks(prod: Stage) -> None:
    assert prod.resources["Database/Cluster"].properties["BackupRetentionPeriod"] == 14
    for table in prod.of_type("AWS::DynamoDB::Table").values():
        recovery = table["PointInTimeRecoverySpecification"]
        assert recovery["PointInTimeRecoveryEnabled"] is True


def test_what_holds_data_is_not_in_the_stack_that_releases_replace(prod: Stage) -> None:
    app = json.loads(prod.paths["App"].read_text())["Resources"].values()
    assert not {resource["Type"] for resource in app} & KEPT.keys()
