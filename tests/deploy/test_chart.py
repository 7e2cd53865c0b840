"""The Helm chart is what kustomize makes, object by object."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.rendering import (
    CHART,
    HELM,
    ROOT,
    Manifest,
    Objects,
    helm,
    kustomize,
    tool,
    without_hashes,
)

PAIRS = {
    "k8s/base": (),
    "k8s/overlays/dev": ("--values", str(CHART / "values-dev.yaml")),
    "k8s/overlays/production": ("--values", str(CHART / "values-production.yaml")),
}


def comparable(objects: Objects) -> Objects:
    """Return the objects with the variables of containers by name: their order means nothing."""
    plain = without_hashes(objects)
    for (kind, _), one in plain.items():
        if kind == "Deployment":
            for container in one["spec"]["template"]["spec"]["containers"]:
                container["env"].sort(key=lambda variable: variable["name"])
    return plain


def paths(one: Any, where: str = "") -> dict[str, Any]:
    """Return the leaves of an object by their path: pytest then names what differs."""
    if isinstance(one, dict) and one:
        return {p: v for k, value in one.items() for p, v in paths(value, f"{where}/{k}").items()}
    if isinstance(one, list) and one:
        return {
            p: v for i, value in enumerate(one) for p, v in paths(value, f"{where}/{i}").items()
        }
    return {where: one}


@pytest.mark.parametrize("folder", PAIRS)
def test_the_chart_is_what_kustomize_makes(folder: str) -> None:
    expected = comparable(kustomize(ROOT / folder))
    # A release is stored in its namespace, so Helm cannot make it: `--create-namespace` does.
    del expected["Namespace", "gateway"]
    made = comparable(helm(*PAIRS[folder]))
    assert sorted(made) == sorted(expected)
    for name, one in expected.items():
        assert paths(made[name]) == paths(one), name


@pytest.mark.parametrize("folder", PAIRS)
def test_helm_has_nothing_to_say_about_the_chart(folder: str) -> None:
    done = subprocess.run(
        [tool("helm"), "lint", "--strict", "--quiet", *HELM, *PAIRS[folder], str(CHART)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_releases_share_a_namespace() -> None:
    def selected(objects: Objects, release: str) -> list[Manifest]:
        return [one["spec"]["selector"] for (kind, name), one in objects.items()
                if kind == "Service" and name.startswith(release)]  # fmt: skip

    assert selected(helm(), "gateway") == [{"app.kubernetes.io/name": "gateway"}] * 2
    other = helm("--set", "networkPolicies.defaultDeny=false", release="other")
    assert selected(other, "other") == [{"app.kubernetes.io/name": "other"}] * 2
    assert not other.keys() & helm().keys()


def test_a_configuration_of_its_own_replaces_the_shipped_one(tmp_path: Path) -> None:
    own = tmp_path / "gateway.yaml"
    own.write_text('dashboards: {}  # "{{ not a template }}"\n')
    objects = helm("--set-file", f"config={own}")
    (name,) = (name for kind, name in objects if kind == "ConfigMap")
    assert objects["ConfigMap", name]["data"]["gateway.yaml"] == own.read_text()
    assert name not in {name for kind, name in helm() if kind == "ConfigMap"}
    assert objects["Deployment", "gateway"]["spec"]["template"]["spec"]["volumes"] == [
        {"name": "config", "configMap": {"name": name}}
    ]


def test_an_image_is_named_by_tag_or_digest() -> None:
    def image(*arguments: str) -> str:
        deployment = helm(*arguments)["Deployment", "gateway"]
        name: str = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        return name

    assert image("--set", "image.tag=7") == "aggregation-gateway:7"
    digest = f"sha256:{'0' * 64}"
    assert image("--set", f"image.digest={digest}") == f"aggregation-gateway@{digest}"
