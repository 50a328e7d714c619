"""`data` templates: run here, from a directory and from a real S3 server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Runner
    from tests.servers.seaweedfs import SeaweedFS


def template(source: dict, *expressions: str) -> dict:
    steps = [{"expression": one} for one in expressions]
    return {"data": {"source": {"artifactPaths": {"name": "src"} | source}, "transformation": steps}}


def test_a_directory_is_listed_and_transformed(runner: Runner):
    for name in ("a/main.log", "b/main.log", "b/other"):
        path = runner.directory / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    source = {"fsspec": {"url": f"file://{runner.directory}/src"}}
    result = runner.run(template(source, 'filter(data, {# endsWith "main.log"})', 'map(data, split(#, "/")[-2])'))

    assert json.loads(result["outputs"]["result"]) == ["a", "b"]
    assert [phase["phase"] for phase in result["lifecycle"]] == ["listing", "transforming", "annotating"]


def test_an_expression_that_is_wrong_is_bad_input_and_nothing_is_written(runner: Runner):
    source = {"fsspec": {"url": f"file://{runner.directory}"}}
    program = runner.start(template(source, "filter(data, {# endsWith})")).end(2)

    wanted = "$.spec.templates[0].data.transformation[0].expression: column 25: unexpected '}'"
    assert wanted in program.stderr
    assert not (runner.directory / ".argoexec").exists()


@pytest.mark.server("seaweedfs")
def test_ten_thousand_keys_of_a_bucket_are_listed_and_filtered(runner: Runner, weed: SeaweedFS):
    from concurrent.futures import ThreadPoolExecutor

    client = weed.client()
    keys = [
        f"ten-thousand/{number % 100:02}/{number:05}.{'log' if number % 10 else 'main.log'}" for number in range(10_000)
    ]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=weed.bucket, Key=key, Body=b""), keys))
    secret = runner.directory / "secrets/s3"
    secret.mkdir(parents=True)
    (secret / "access").write_text(weed.access_key)
    (secret / "secret").write_text(weed.secret_key)
    source = {
        "s3": {
            "endpoint": weed.endpoint,
            "bucket": weed.bucket,
            "insecure": True,
            "key": "ten-thousand",
            "accessKeySecret": {"name": "s3", "key": "access"},
            "secretKeySecret": {"name": "s3", "key": "secret"},
        }
    }
    result = runner.run(
        template(source, 'filter(data, {# endsWith "main.log"})', "data[:3] | concat([string(len(data))])"),
        "--secrets",
        secret.parent,
    )

    wanted = sorted(key for key in keys if key.endswith("main.log"))
    assert json.loads(result["outputs"]["result"]) == [*wanted[:3], "1000"]
