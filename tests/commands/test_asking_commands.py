"""`check`, `explain`, `probe`, `schema` and `openapi`, run inside this process."""

from __future__ import annotations

import gc
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import respx
from typer.testing import CliRunner

from gateway import cli
from gateway.cli import app
from gateway.cli import main as gateway_main
from gateway.config import markdown
from gateway.config.schema import json_schema
from gateway.plan.load import document_model
from tests.commands.processes import gateway, running
from tests.ports import refused, reserved_port

SHIPPED = str(Path(__file__).parents[2] / "config" / "gateway.yaml")
RUNNER = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})


def run(*arguments: str) -> tuple[int, str]:
    result = RUNNER.invoke(app(), arguments)
    return result.exit_code, result.output


def test_help_teaches_every_command() -> None:
    code, text = run("--help")
    assert code == 0
    for command in ("demo", "run", "mock", "check", "explain", "probe", "purge", "schema",
                    "openapi"):  # fmt: skip
        assert command in text
        assert run(command, "--help")[0] == 0


def test_check_says_ok_and_tells_mistakes(tmp_path: Path) -> None:
    code, text = run("check", SHIPPED)
    assert code == 0
    assert text.endswith("ok, 4 upstreams, 5 dashboards, 12 sections\n")
    assert json.loads(run("check", SHIPPED, "--format", "json")[1]) == {
        "ok": True,
        "diagnostics": [],
        "warnings": [],
    }
    bad = tmp_path / "bad.yaml"
    bad.write_text("upstreams:\n  a: {base_url: nope}\ndashboards: 5\n")
    code, text = run("check", str(bad))
    assert code == 1
    assert [line.split(": ")[0] for line in text.splitlines()] == [f"{bad}:2:17", f"{bad}:3:13"]
    code, text = run("check", str(bad), "--format", "json")
    diagnostics = json.loads(text)["diagnostics"]
    assert (code, [(f["line"], f["column"]) for f in diagnostics]) == (1, [(2, 17), (3, 13)])


def test_explain_shows_the_graph() -> None:
    code, text = run("explain", "/dashboard/7", "--config", SHIPPED)
    assert code == 0
    for words in ("user_dashboard", "user_id = 7", "deadline 3 s", "profile, posts", "after profile",
                  "users /users/7", "at most 8 upstream calls"):  # fmt: skip
        assert words in text
    code, text = run("explain", "/weather", "--config", SHIPPED, "--format", "json")
    assert json.loads(text)["waves"] == [["places"], ["weather"]]
    assert run("explain", "/nope", "--config", SHIPPED)[0] == 1
    assert run("explain", "/dashboard/abc", "--config", SHIPPED)[0] == 1


def test_the_collector_waits_while_commands_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    collecting: list[bool] = []

    def watched(name: str) -> Any:
        collecting.append(gc.isenabled())
        return importlib.import_module(name)

    monkeypatch.setattr(cli, "import_module", watched)
    app("check")
    assert collecting == [False]
    assert gc.isenabled()

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(cli, "import_module", missing)
    with pytest.raises(ImportError):
        app("check")
    assert gc.isenabled()


def test_schema_and_openapi_are_printed() -> None:
    assert json.loads(run("schema")[1]) == json_schema(document_model())
    assert run("schema", "--format", "markdown")[1] == markdown.configuration(document_model())
    assert run("schema", "--format", "settings")[1] == markdown.settings()
    document = json.loads(run("openapi", "--config", SHIPPED)[1])
    assert set(document["paths"]) >= {"/dashboard/{user_id}", "/weather/fastest"}


PROBED = """
upstreams:
  users: {{base_url: "{url}"}}
  weather: {{base_url: "{url}"}}
  unused: {{base_url: "{url}"}}
  gone: {{base_url: "http://127.0.0.1:{gone}"}}
dashboards:
  d:
    path: /d/{{id}}
    parameters:
      id: {{type: integer, minimum: 3}}
      city: {{type: array, default: [London]}}
    sections:
      user: {{get: "users:/users/{{id}}"}}
      later: {{get: "users:/users/{{user.id}}"}}
      place: {{for_each: "{{city}}", get: "weather:/v1/search?name={{item}}"}}
      lost: {{get: "gone:/"}}
"""


def test_probe_calls_each_upstream_once(tmp_path: Path) -> None:
    port = reserved_port()
    url = f"http://127.0.0.1:{port}"
    config = tmp_path / "probed.yaml"
    with refused() as gone, running(f"{url}/healthz", "mock", "--port", str(port)):
        config.write_text(PROBED.format(url=url, gone=gone))
        code, text = run("probe", "--config", str(config))
        rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
        assert code == 1
        assert rows["users"][1:4] == ["GET", "/users/3", "200"]
        assert rows["weather"][1:4] == ["GET", "/v1/search?name=London", "200"]
        assert rows["unused"][1:4] == ["GET", "/", "200"]
        assert rows["gone"][3] == "upstream_unreachable:"
        whole = config.read_text().replace('      lost: {get: "gone:/"}\n', "")
        config.write_text("\n".join(line for line in whole.splitlines() if "gone:" not in line))
        assert run("probe", "--config", str(config))[0] == 0


def test_a_broken_configuration_ends_with_its_findings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("x: 1")
    monkeypatch.setattr("sys.argv", ["gateway", "explain", "/", "--config", str(bad)])
    with pytest.raises(SystemExit) as ended:
        gateway_main()
    assert ended.value.code == 1
    assert f"{bad}:1:1: unknown key x" in capsys.readouterr().err


@pytest.mark.no_cover
def test_check_is_a_process_without_a_web_framework_and_a_server() -> None:
    assert "lowercase" not in run("--help")[1]
    ended = gateway("check", SHIPPED, PYTHONPROFILEIMPORTTIME="1")
    assert ended.returncode == 0
    assert ": ok, " in ended.stdout
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "gateway.plan.load" in imported
    assert not {"fastapi", "starlette", "uvicorn"} & imported


BRACKETS = """
upstreams:
  a: {base_url: "http://127.0.0.1:1", cache: {ttl: 1m}}
dashboards:
  d:
    path: /d
    parameters: {word: {type: string, default: "[b]"}}
    sections:
      profile: {get: "a:/me"}
      posts:
        get: "a:/posts?filter[author]={profile.id}&page[size]=10&at=:100:"
        when: "profile.tags[?name == 'x']"
"""


def test_explain_prints_brackets_and_colons_as_they_are(tmp_path: Path) -> None:
    config = tmp_path / "brackets[a].yaml"
    config.write_text(BRACKETS)
    code, text = run("explain", "/d", "--config", str(config))
    assert code == 0
    for words in ("GET /d", "word = '[b]'", "only when profile.tags[?name == 'x']",
                  "a /posts?filter[author]={profile.id}&page[size]=10&at=:100:"):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("path", ["/x[/y]", "/x[red]y"])
def test_explain_tells_a_path_with_brackets_as_it_is(path: str) -> None:
    code, text = run("explain", path, "--config", SHIPPED)
    assert code == 1
    assert text.startswith(f"no dashboard has the path {path}")


def test_probe_prints_colons_as_they_are(tmp_path: Path) -> None:
    config = tmp_path / "colons.yaml"
    config.write_text(BRACKETS.replace("a:/me", "a:/me?at=:100:"))
    code, text = run("probe", "--config", str(config))
    assert code == 1
    assert "/me?at=:100:" in text


UNREADABLE = """
upstreams:
  a:
    base_url: https://a.test
    tls: {ca_file: /no/such.pem}
dashboards: {d: {path: /d, sections: {x: {get: "a:/"}}}}
"""


def test_check_tells_of_a_file_that_run_would_die_on(tmp_path: Path) -> None:
    config = tmp_path / "tls.yaml"
    config.write_text(UNREADABLE)
    code, text = run("check", str(config))
    said = "ca_file cannot be read: No such file or directory"
    assert (code, text) == (1, f"{config}:5:20: {said}\n")


@respx.mock
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("<html>", 200, "answers there, with status 200"),
        ("[]", 200, "answers there, with status 200"),
        ("{}", 404, "answers there, with status 404"),
        ('{"detail": "no"}', 401, "no"),
    ],
)
def test_purge_tells_an_answer_that_is_none(
    monkeypatch: pytest.MonkeyPatch, body: str, status: int, said: str
) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", "t")
    respx.post("http://gw.test/admin/purge").respond(status, text=body)
    code, text = run("purge", "--url", "http://gw.test", "--everything")
    assert (code, said in text) == (1, True)
    assert run("purge", "--url", "http://[", "--everything")[0] == 1


def test_check_warns_of_a_name_that_goes_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(
        'upstreams: {a: {base_url: "http://a.test"}}\n'
        'dashboards: {d: {path: /d, sections: {x: {get: "a:/", answer: {}}}}}\n'
    )
    code, text = run("check", str(file))
    assert code == 0
    first, second = text.splitlines()
    assert first == (
        f"{file}:2:55: warning: `answer` is called `schema` now; rename it before the next release"
    )
    assert second.endswith("1 upstreams, 1 dashboards, 1 sections")
    code, text = run("check", str(file), "--format", "json")
    assert code == 0
    assert json.loads(text)["warnings"][0]["line"] == 2
