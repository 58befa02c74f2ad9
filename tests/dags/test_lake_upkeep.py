"""The task of `lake_upkeep`, in a process with an Airflow of its own, over a usage table on an S3 API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from billing.store.home import Home
from billing.store.lake_storage import ObjectStorage
from tests.steps.small_world import Shop

DAGS = Path(__file__).parents[2] / "dags"
FILES = 9
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import lake_upkeep as module
dag = module.lake_upkeep()
module.get_current_context = lambda: {"params": dag.params.dump()}
print("RETURNED", json.dumps(dag.tasks[0].python_callable()))
"""


def test_the_task_puts_small_files_together_and_tells_how_many(
    tmp_path: Path, s3_bucket: Callable[[], tuple[str, dict[str, str]]]
) -> None:
    url, given = s3_bucket()
    shop = Shop(
        home=Home.at(tmp_path / "home", None, ObjectStorage(url=url, credentials=lambda: given)), folder=tmp_path / "in"
    )
    shop.home.create()
    shop.load()
    for day in range(1, FILES + 1):
        shop.ingest(f"e{day},2026-07-{day:02d}T00:00:00Z,a1,render,65,,", now="08-02")
    (shop.home.folder / "billing.toml").write_text(f'[lake]\nlocation = "{url}"\nconnection = "lake_bucket"\n')
    connection = {
        "conn_type": "aws",
        "login": given["aws_access_key_id"],
        "password": given["aws_secret_access_key"],
        "extra": {"endpoint_url": given["aws_endpoint_url"], "region_name": given["aws_region"]},
    }
    environment = os.environ | {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_LAKE_BUCKET": json.dumps(connection),
        "BILLING_HOME": str(shop.home.folder),
    }
    command = [sys.executable, "-c", SCRIPT, str(DAGS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RETURNED ")]
    told = json.loads(line.removeprefix("RETURNED "))
    assert (told["files_before"], told["files_after"], told["deleted"]) == (FILES, 1, 0), "old files stay for a week"
    assert told["bytes_after"] < told["bytes_before"]
    assert shop.home.usage.lake.size() == (1, told["bytes_after"])
    shop.home.close()
