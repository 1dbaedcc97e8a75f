"""`prepare` on a Ray cluster: the bytes of one process, also when a part of the cluster dies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from corpus_files import contents, tokenizer_folder, write_inputs

from bertsmith.cli.main import main
from bertsmith.core.errors import DataError, MissingExtra, SystemFault
from bertsmith.corpus import assemble, blocks
from bertsmith.corpus.prepare import prepare

# On busy cores, starting Ray and its workers takes minutes.
pytestmark = pytest.mark.timeout(900)

_CLUSTER = """
import sys, threading, time
import psutil, ray
from pathlib import Path
from ray.cluster_utils import Cluster
from bertsmith.corpus import blocks
from bertsmith.corpus.prepare import prepare

source, tokenizer, out = sys.argv[1:]
blocks.BLOCK_CHARACTERS = 20_000
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
node = cluster.add_node(num_cpus=2)
cluster.wait_for_nodes()
killed = []

def kill():
    while not list(Path(out, ".parts").glob("*.part")):
        time.sleep(0.01)
    made = len(list(Path(out, ".parts").glob("*.part")))
    cluster.remove_node(node, allow_graceful=False)
    killed.append(made)

thread = threading.Thread(target=kill)
thread.start()
peak = []
manifest = prepare([source], tokenizer=tokenizer, out=Path(out), engine="ray",
                   ray_address=cluster.address, held_out=0.1)
thread.join()
print("killed after", killed[0], "parts; kept", manifest.documents_kept, flush=True)
cluster.shutdown()
"""


def test_a_cluster_makes_the_bytes_of_one_process(tmp_path: Path, ray_address, monkeypatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_CHARACTERS", 6000)
    monkeypatch.setattr(assemble, "SHARD_TOKENS", 9000)
    paths, tokenizer = write_inputs(tmp_path / "in"), tokenizer_folder(tmp_path / "tokenizer")
    prepare(paths, tokenizer=tokenizer, out=tmp_path / "one", workers=1, held_out=0.1)
    command = ["prepare", *paths, "--tokenizer", str(tokenizer), "--held-out", "0.1"]
    command += ["--engine", "ray", "--ray-address", ray_address]
    assert main([*command, "--out", str(tmp_path / "ray")]) == 0
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")

    # An error of the text is that of one process, and leaves nothing behind.
    (tmp_path / "bad.jsonl").write_text('{"text": 1}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:1"):
        prepare(
            [*paths, str(tmp_path / "bad.jsonl")],
            tokenizer=tokenizer,
            out=tmp_path / "bad",
            engine="ray",
            ray_address=ray_address,
        )
    assert not (tmp_path / "bad").exists()


def test_without_ray_or_its_cluster_nothing_is_left(tmp_path: Path, monkeypatch) -> None:
    paths, tokenizer = write_inputs(tmp_path / "in"), tokenizer_folder(tmp_path / "tokenizer")
    with pytest.raises(SystemFault, match="The Ray cluster at nonsense does not answer"):
        prepare(
            paths, tokenizer=tokenizer, out=tmp_path / "out", engine="ray", ray_address="nonsense"
        )
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'bertsmith\[cluster\]'"):
        prepare(paths, tokenizer=tokenizer, out=tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_node_costs_its_parts_only(tmp_path: Path) -> None:
    tokenizer = tokenizer_folder(tmp_path / "tokenizer")
    source = tmp_path / "text.txt"
    words = (f"word{number} is the number {number * 7}." for number in range(60_000))
    source.write_text("\n\n".join(f"{word} {word[::-1]} {word}" for word in words))
    out = tmp_path / "ray"
    found = subprocess.run(
        [sys.executable, "-c", _CLUSTER, str(source), str(tokenizer), str(out)],
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_gcs_server_port_wait_time_s": "300"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=800,
    ).stdout
    made = int(found.rpartition("killed after")[2].split()[0])
    blocks_made = len(list(blocks._cut([blocks.look_at(str(source))], _plan(), 0)))
    assert 0 < made < blocks_made
    with pytest.MonkeyPatch.context() as changes:
        changes.setattr(blocks, "BLOCK_CHARACTERS", 20_000)
        prepare([str(source)], tokenizer=tokenizer, out=tmp_path / "one", workers=1, held_out=0.1)
    assert contents(out) == contents(tmp_path / "one")


def _plan() -> blocks.Plan:
    return blocks.Plan(
        version=1,
        tokenizer="",
        language="auto",
        segmenter="none",
        text_field="text",
        held_out=0.1,
        block_characters=20_000,
        inputs=[],
    )
