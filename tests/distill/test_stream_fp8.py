"""A checkpoint in block-scaled fp8, streamed: the same rows as from its weights in memory."""

import numpy as np
import pytest
import torch
from distill_world import VOCABULARY, random_samples

from axk1.distill.records import TokenRanks, TopKRecords
from axk1.distill.scoring import Scorer
from axk1.distill.stream.plan import StreamPlan, options_of
from axk1.distill.stream.scorer import StreamScorer
from axk1.distill.teachers import OwnTeacher
from axk1.model.checkpoint import save_model
from axk1.model.config import ModelConfig
from axk1.model.tensor_files import TensorFiles
from axk1.model.transformer import Transformer

CONFIG = ModelConfig(
    vocab_size=VOCABULARY, hidden_size=40, num_hidden_layers=3, num_attention_heads=4, intermediate_size=56,
    max_position_embeddings=64, initializer_range=0.3, kv_lora_rank=16, q_lora_rank=24, qk_nope_head_dim=8,
    qk_rope_head_dim=8, v_head_dim=8, n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=72,
)  # fmt: skip


@pytest.mark.parametrize("memory", ["400KB", "1GiB"])
def test_fp8_streams_as_it_opens(tmp_path, memory):
    torch.manual_seed(0)
    folder, cpu = tmp_path / "teacher", torch.device("cpu")
    folder.mkdir()
    save_model(Transformer(CONFIG), folder, fp8_block=(16, 16), shard_bytes=20_000)
    files = TensorFiles(folder)
    assert files["model.layers.2.mlp.experts.7.down_proj.weight"].dtype == torch.float8_e4m3fn
    samples = [sample for sample in random_samples(12, seed=5) if len(sample) > 1]
    lengths = np.array([len(sample) - 1 for sample in samples])
    keys = np.arange(16 * len(samples), dtype=np.uint8).reshape(-1, 16)
    records = TopKRecords(8, 0, VOCABULARY, TokenRanks(np.arange(VOCABULARY)))
    options = options_of(memory, None, batch_tokens=64, pass_tokens=None, hardware="h200-nvme")
    plan = StreamPlan(folder, records, lengths, tmp_path, options, chunk=64, device=cpu, precision="fp32")
    assert (plan.room.experts < 8) == (memory == "400KB")
    streamed = dict(StreamScorer(plan, tmp_path / "pass", teacher_hash="x", temperature=1.0).score(samples, keys))
    teacher = OwnTeacher(folder, vocab_size=VOCABULARY, device=cpu, precision="fp32")
    in_memory = dict(Scorer(teacher, records, temperature=1.0, batch_tokens=64).score(samples, keys))
    assert streamed.keys() == in_memory.keys() == set(range(len(samples)))
    for number, rows in in_memory.items():
        np.testing.assert_allclose(streamed[number].log_probs_RK, rows.log_probs_RK, atol=1e-4)
