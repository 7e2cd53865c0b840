"""No test judges how long something took: the machine that runs it may be busy with anything."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time"}
# Their bounds end what would hang, and are far from what anything takes.
HELPERS = {"waiting.py", "redis_server.py", "commands/processes.py"}


def test_no_test_reads_a_clock_that_measures() -> None:
    found = [
        f"{name}:{node.lineno}"
        for file in sorted(ROOT.rglob("*.py"))
        if (name := str(file.relative_to(ROOT))) not in HELPERS
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in CLOCKS)
        or (isinstance(node, ast.ImportFrom) and CLOCKS & {a.name for a in node.names})
    ]
    assert found == []
