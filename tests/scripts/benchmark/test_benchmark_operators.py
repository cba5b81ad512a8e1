"""scripts/benchmark/operators.py prints a table; the sides that it times compute the same."""

from scripts.benchmark import operators


def test_a_row_for_each_case(run_command):
    done = run_command("python", "scripts/benchmark/operators.py", "--cases", "loss", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if "cross entropy" in line]
    assert len(rows) == len(operators.LOSSES) and all(len(row.split("|")) == 7 for row in rows)


def test_the_faster_layout_is_compared():
    calls = []
    runs = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    results = operators.measure(runs, 2)
    assert calls == ["a", "a", "b", "b"] * 2 and all(len(pair) == 2 for pair in results.values())
