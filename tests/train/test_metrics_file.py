import json

from axk1.train.metrics import MetricsFile


def test_rewinding_drops_later_lines_and_a_torn_one(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    for step in (1, 5, 10, 15):
        metrics.append({"step": step, "loss": step / 2})
    with open(metrics.path, "a") as file:
        file.write('{"step": 20, "lo')
    metrics.rewind(10)
    metrics.append({"step": 15, "loss": 0.0})
    lines = [json.loads(line) for line in metrics.path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 5, 10, 15]
    assert lines[-1]["loss"] == 0.0


def test_a_new_file_is_empty(tmp_path):
    metrics = MetricsFile(tmp_path / "run" / "metrics.jsonl")
    metrics.rewind(0)
    assert metrics.path.read_text() == ""
