"""``axk1 distill verify``: agreement is found and told, disagreement is an error; and the lock of an output."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from distill_world import bigram_table, cache_config, save_bigram_teacher

from axk1.core.errors import ArtifactError
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.verifying import VerifyConfig, verify_cache


@pytest.fixture(scope="module")
def caches(world, tmp_path_factory):
    """A cache of each kind, and a teacher that differs a little."""
    folder = tmp_path_factory.mktemp("caches")
    for kind in ("topk", "sampled", "hidden"):
        build_cache(cache_config(world, output=folder / kind, kind=kind))
    table = bigram_table()
    table = torch.log_softmax(table + 0.3 * torch.randn(table.shape, generator=torch.Generator().manual_seed(9)), -1)
    save_bigram_teacher(folder / "other", table)
    return folder


@pytest.mark.parametrize("kind", ["topk", "sampled", "hidden"])
def test_the_teacher_agrees_within_the_rounding_and_another_does_not(world, caches, capsys, kind):
    summary = verify_cache(VerifyConfig(cache=caches / kind, teacher=world / "teacher", samples=40))
    assert summary["max error"] <= summary["rounding"] + 1e-3 and abs(summary["KL"]) < 0.2
    printed = capsys.readouterr().out
    assert "all checksums match" in printed and "KL(teacher || stored)" in printed
    with pytest.raises(ArtifactError, match="is not what") as raised:
        verify_cache(VerifyConfig(cache=caches / kind, teacher=caches / "other", samples=40))
    assert raised.value.exit_code == 2


def test_the_numbers_are_those_of_the_whole_softmax(world, caches):
    summary = verify_cache(VerifyConfig(cache=caches / "topk", teacher=world / "teacher", samples=1000))
    cache, table = KnowledgeCache.open(caches / "topk"), bigram_table().numpy()
    assert summary["rows"] == cache.rows
    tail = [np.exp(np.sort(row)[:-6]).sum() for row in table]
    assert min(tail) < summary["tail mass"] < max(tail)


def test_damage_and_missing_shards_are_told(world, caches, tmp_path):
    shutil.copytree(caches / "sampled", tmp_path / "cache")
    config = VerifyConfig(cache=tmp_path / "cache")
    assert verify_cache(config) == {}
    with pytest.raises(ArtifactError, match="does not exist"):
        verify_cache(VerifyConfig(cache=caches / "topk", teacher=world / "teacher", shards=(tmp_path / "none",)))
    path = tmp_path / "cache" / "token_order.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    with pytest.raises(ArtifactError, match=r"token_order\.bin"):
        verify_cache(config)


HOLDER = """
import sys, time
from pathlib import Path
from axk1.core.lock import locked
with locked(Path(sys.argv[1]), "writing it"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_two_cannot_write_one_output_and_a_kill_frees_it(world, tmp_path):
    command = [sys.executable, "-c", HOLDER, tmp_path / ".cache.lock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(ArtifactError, match=rf"process {holder.pid} on .* is writing .*cache"):
                build_cache(cache_config(world, output=tmp_path / "cache"))
            assert not (tmp_path / "cache").exists() and not (tmp_path / "cache.state").exists()
        finally:
            holder.kill()
    build_cache(cache_config(world, output=tmp_path / "cache"))
    KnowledgeCache.open(tmp_path / "cache").verify()
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
