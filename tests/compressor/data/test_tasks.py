"""The tasks, and what a user may change of them."""

import pytest

from compressor.data.tasks import get_task
from compressor.errors import TaskDataError


def test_unknown_task_and_metric() -> None:
    with pytest.raises(TaskDataError, match="the task must be one of demo, custom, .*, rte, .*, but got 'rtee'"):
        get_task("rtee")
    with pytest.raises(TaskDataError, match="the metric must be one of accuracy, .*, but got 'auc'"):
        get_task("rte", metric="auc")


@pytest.mark.parametrize(("task", "metric"), [("mnli", "spearman"), ("swag", "f1"), ("stsb", "accuracy")])
def test_metrics_fit_their_task(task: str, metric: str) -> None:
    with pytest.raises(TaskDataError, match="the metric of the task must be one of"):
        get_task(task, metric=metric)
