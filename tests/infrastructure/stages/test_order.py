"""CloudFormation can find an order in which to make everything."""

import graphlib

from tests.infrastructure.template import Stage


def test_nothing_waits_for_itself(prod: Stage, local: Stage) -> None:
    for stage in (prod, local):
        order = list(graphlib.TopologicalSorter(stage.needs).static_order())
        assert order.index("History/Migrator") < order.index("History/Recorder")


def test_the_data_stands_by_itself_and_the_application_upon_it(prod: Stage) -> None:
    data, edge, app = prod.texts
    assert "Fn::ImportValue" not in data + edge
    assert "Fn::ImportValue" in app
