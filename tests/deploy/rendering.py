"""What Kubernetes would get: the objects of kustomize's directories and of the Helm chart."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "aggregation-gateway"

HELM = ("--namespace", "gateway", "--kube-version", "1.31.0")
"""Helm takes its own idea of a cluster's version where it is not told one."""

Manifest = dict[str, Any]
Objects = dict[tuple[str, str], Manifest]
"""Objects by kind and name."""


def tool(name: str) -> str:
    """Return the path of a program; skip the test where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def kustomize(folder: Path) -> Objects:
    """Return the objects of a kustomization."""
    standalone = shutil.which("kustomize")
    program = [standalone, "build"] if standalone else [tool("kubectl"), "kustomize"]
    return _objects(_output([*program, str(folder)]))


def helm(*arguments: str, release: str = "gateway") -> Objects:
    """Return the objects of a release of the chart in the namespace `gateway`."""
    return _objects(_output([tool("helm"), "template", release, str(CHART), *HELM, *arguments]))


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _objects(text: str) -> Objects:
    documents = [document for document in yaml.safe_load_all(text) if document]
    found = {(one["kind"], one["metadata"]["name"]): one for one in documents}
    assert len(found) == len(documents)
    return found


def without_hashes(objects: Objects) -> Objects:
    """Return the objects with generated names as if they had no hash."""
    text = json.dumps(list(objects.values()))
    for kind, name in objects:
        if kind in {"ConfigMap", "Secret"}:
            text = text.replace(f'"{name}"', f'"{re.sub(r"-[a-z0-9]{10}$", "", name)}"')
    return {(one["kind"], one["metadata"]["name"]): one for one in json.loads(text)}


def pod(objects: Objects, deployment: str = "gateway") -> Manifest:
    """Return the specification of a deployment's pods."""
    specification: Manifest = objects["Deployment", deployment]["spec"]["template"]["spec"]
    return specification


def variables(objects: Objects) -> dict[str, Any]:
    """Return the environment of the gateway: values, or where they come from."""
    (container,) = pod(objects)["containers"]
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}
