"""The manifests: what they promise about replicas, configuration, secrets, networks and versions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from tests.deploy.rendering import CHART, ROOT, Manifest, kustomize, pod, variables, without_hashes
from tests.ports import reserved_port
from tests.redis_server import binary
from tests.waiting import until_blocking

K8S = ROOT / "k8s"
BASE = K8S / "base"
DEV = K8S / "overlays" / "dev"
PRODUCTION = K8S / "overlays" / "production"
FOLDERS = pytest.mark.parametrize("folder", [BASE, DEV, PRODUCTION], ids=lambda one: one.name)
FILES = sorted(file for file in K8S.rglob("*.yaml") if file.name != "kustomization.yaml")


def read(file: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(file.read_text()))


def written(file: Path, kind: str) -> Manifest:
    (found,) = (one for one in read(file) if one["kind"] == kind)
    return found


def container(file: Path) -> Manifest:
    deployment = next(one for one in read(file) if one["kind"] in {"Deployment", "Job"})
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(only)


def policies() -> dict[str, Manifest]:
    files = (BASE / "network-policies.yaml", K8S / "components" / "redis" / "network-policies.yaml")
    return {one["metadata"]["name"]: one["spec"] for file in files for one in read(file)}


def test_the_autoscaler_alone_decides_on_the_number_of_replicas() -> None:
    deployment = written(BASE / "deployment.yaml", "Deployment")
    scaled = written(BASE / "autoscaler.yaml", "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert scaled["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]


@FOLDERS
def test_no_patch_adds_replicas_to_what_is_scaled(folder: Path) -> None:
    assert "replicas" not in kustomize(folder)["Deployment", "gateway"]["spec"]


def test_the_pod_lives_longer_than_the_gateway_drains() -> None:
    deployment = written(BASE / "deployment.yaml", "Deployment")
    specification = deployment["spec"]["template"]["spec"]
    gateway = container(BASE / "deployment.yaml")
    assert "lifecycle" not in gateway  # the gateway itself waits for load balancers
    environment = {one["name"]: one.get("value") for one in gateway["env"]}
    drain = [float(environment[f"GATEWAY_DRAIN_{name}"]) for name in ("DELAY", "SECONDS")]
    assert specification["terminationGracePeriodSeconds"] >= sum(drain) + 5


def test_liveness_waits_for_the_start_and_for_nothing_else() -> None:
    gateway = container(BASE / "deployment.yaml")
    assert {
        name: gateway[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")
    } == {
        "startup": {"path": "/healthz", "port": "http"},
        "liveness": {"path": "/healthz", "port": "http"},
        "readiness": {"path": "/readyz", "port": "http"},
    }


def test_replicas_are_spread_over_zones_and_hosts() -> None:
    deployment = written(BASE / "deployment.yaml", "Deployment")
    spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in spread] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]


def test_the_public_service_does_not_have_the_admin_port() -> None:
    public, admin = read(BASE / "service.yaml")
    assert [port["targetPort"] for port in public["spec"]["ports"]] == ["http"]
    assert [port["targetPort"] for port in admin["spec"]["ports"]] == ["admin"]
    route = written(K8S / "components" / "http-route" / "http-route.yaml", "HTTPRoute")
    (backend,) = route["spec"]["rules"][0]["backendRefs"]
    assert backend["name"] == public["metadata"]["name"]


def test_everything_is_denied_that_no_policy_allows() -> None:
    denied = policies()["default-deny"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_admin_port_is_for_prometheus_and_for_purges() -> None:
    public, admin = policies()["gateway"]["ingress"]
    assert public == {"ports": [{"port": "http", "protocol": "TCP"}]}
    assert [port["port"] for port in admin["ports"]] == ["admin"]
    assert admin["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
        {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway-purge"}}},
    ]
    purge = written(K8S / "examples" / "purge.yaml", "Job")
    labels = purge["spec"]["template"]["metadata"]["labels"]
    assert policies()["gateway-purge"]["podSelector"]["matchLabels"] == labels
    assert labels == {"app.kubernetes.io/name": "gateway-purge"}


def test_redis_answers_the_gateway_only_and_calls_no_one() -> None:
    own, gateway = policies()["redis"], policies()["gateway-redis"]
    assert own["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in own
    labels = {"app.kubernetes.io/name": "gateway"}
    assert [rule["from"] for rule in own["ingress"]] == [[{"podSelector": {"matchLabels": labels}}]]
    assert gateway["podSelector"]["matchLabels"] == labels


@FOLDERS
def test_only_the_overlay_for_a_try_contains_a_password(folder: Path) -> None:
    secrets = [name for kind, name in without_hashes(kustomize(folder)) if kind == "Secret"]
    assert secrets == (["gateway-redis"] if folder == DEV else [])


def test_production_does_not_start_without_its_redis() -> None:
    def source(folder: Path) -> Any:
        return variables(without_hashes(kustomize(folder)))["GATEWAY_REDIS_URL"]["secretKeyRef"]

    assert source(BASE) == {"name": "gateway-redis", "key": "url", "optional": True}
    assert source(PRODUCTION) == {"name": "gateway-redis", "key": "url", "optional": False}
    assert ("Deployment", "redis") not in kustomize(PRODUCTION)


def test_the_base_needs_no_addition_to_a_cluster() -> None:
    groups = {one["apiVersion"].rpartition("/")[0] for one in kustomize(BASE).values()}
    assert groups == {"", "apps", "autoscaling", "policy", "networking.k8s.io"}


def test_the_root_is_the_overlay_for_a_try() -> None:
    assert kustomize(K8S) == kustomize(DEV)


def test_a_changed_configuration_has_another_name(tmp_path: Path) -> None:
    def name() -> str:
        objects = kustomize(tmp_path / "k8s" / "base")
        (volume,) = pod(objects)["volumes"]
        mounted: str = volume["configMap"]["name"]
        assert objects["ConfigMap", mounted]["data"] == {"gateway.yaml": file.read_text()}
        return mounted

    for folder in ("k8s", "config"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    file = tmp_path / "config" / "gateway.yaml"
    before = name()
    file.write_text(file.read_text() + "# changed\n")
    assert name() != before


def test_the_versions_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (image,) = yaml.safe_load((PRODUCTION / "kustomization.yaml").read_text())["images"]
    assert {chart["version"], chart["appVersion"], image["newTag"]} == {version}
    for file in (BASE / "deployment.yaml", K8S / "examples" / "purge.yaml"):
        assert container(file)["image"] == f"aggregation-gateway:{version}"
    guide = (ROOT / "docs" / "how-to" / "deploy-on-kubernetes.md").read_text()
    assert set(re.findall(r"aggregation-gateway:(\d[\w.]*)", guide)) == {version}


def test_redis_wants_its_password_and_does_not_show_it(tmp_path: Path) -> None:
    (tmp_path / "valkey-server").symlink_to(binary())
    password, port = "hard to guess $HOME", reserved_port()
    only = container(K8S / "components" / "redis" / "redis.yaml")
    (script,) = only["args"]
    assert [one["name"] for one in only["env"]] == ["REDISCLI_AUTH"]
    with subprocess.Popen(
        [*only["command"], script.replace('save ""', f'save ""\nport {port}\nbind 127.0.0.1')],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "REDISCLI_AUTH": password},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            client: Any = redis.Redis(port=port, password=password)
            until_blocking(lambda: _answers(client))
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(port=port).ping()
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
            assert client.config_get("save") == {"save": ""}
            shown = Path(f"/proc/{process.pid}/cmdline")
            if shown.exists():
                assert password.encode() not in shown.read_bytes()
            client.close()
        finally:
            process.kill()


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(K8S)))
def test_every_pod_may_do_nothing_but_run(file: Path) -> None:
    for one in read(file):
        template = one.get("spec", {}).get("template")
        if template is None or file.parent == PRODUCTION:  # a patch of what is checked here
            continue
        specification = template["spec"]
        assert specification["automountServiceAccountToken"] is False
        assert specification["enableServiceLinks"] is False
        assert specification["securityContext"]["runAsNonRoot"] is True
        assert specification["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in specification["containers"]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"requests", "limits"} <= each["resources"].keys()
