"""The alert rules: promtool accepts them, each fires for its cause, and only then."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.deploy.metrics import unknown
from tests.deploy.rendering import ROOT, tool

if TYPE_CHECKING:
    from pathlib import Path

FILE = ROOT / "k8s" / "components" / "monitoring" / "alerts.yaml"
CASES = ROOT / "tests" / "deploy" / "alerts.yaml"
GROUPS = yaml.safe_load(FILE.read_text())["spec"]
RULES = [rule for group in GROUPS["groups"] for rule in group["rules"]]


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [tool("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_use_documented_metrics_and_say_what_happened(rule: dict[str, object]) -> None:
    assert unknown(str(rule["expr"])) == set()
    assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert isinstance(rule["annotations"], dict)
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["labels"] in ({"severity": "warning"}, {"severity": "critical"})


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"]
             for case in test["alert_rule_test"]]  # fmt: skip
    for fires in (True, False):
        named = {case["alertname"] for case in cases if bool(case["exp_alerts"]) == fires}
        assert named == {rule["alert"] for rule in RULES}


def test_promtool_accepts_the_rules_and_they_fire_for_their_causes(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(GROUPS))
    shutil.copy(CASES, tmp_path)
    promtool("check", "rules", str(rules))
    promtool("test", "rules", str(tmp_path / CASES.name))
