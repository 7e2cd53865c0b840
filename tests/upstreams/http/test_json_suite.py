"""nst/JSONTestSuite as an upstream's answers; runs where JSON_TEST_SUITE names its test_parsing folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.fault_server import FaultServer, answer, whole
from tests.serving import application, asked

SUITE = os.environ.get("JSON_TEST_SUITE", "")


@pytest.mark.skipif(not SUITE, reason="JSON_TEST_SUITE names no folder")
async def test_every_file_is_judged_as_the_suite_says() -> None:
    files = sorted(Path(SUITE).glob("*.json"))
    assert len(files) >= 318
    scripts = {f"/{n}": whole(answer(body=file.read_bytes())) for n, file in enumerate(files)}
    async with FaultServer(scripts) as server:
        text = f"""
        upstreams: {{a: {{base_url: "{server.url}"}}}}
        dashboards:
          d:
            path: /d/{{n}}
            parameters: {{n: {{type: integer}}}}
            sections: {{s: {{get: "a:/{{n}}"}}}}
        """
        async with asked(application(text)) as client:
            for n, file in enumerate(files):
                response = await client.get(f"/d/{n}")
                document = json.loads(response.content, parse_constant=pytest.fail)
                accepted = not document["errors"]
                assert response.status_code == 200, file.name
                assert file.name[:2] == "i_" or accepted == (file.name[:2] == "y_"), file.name
                if not accepted:
                    assert document["errors"][0]["code"] == "upstream_payload", file.name
