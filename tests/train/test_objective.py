import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.train.objective import CrossEntropy, TorchBatch

ROWS, LENGTH, VOCABULARY = 4, 12, 50
CONFIG = ModelConfig(
    vocab_size=VOCABULARY,
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=32,
    kv_lora_rank=8,
    qk_nope_head_dim=4,
    qk_rope_head_dim=4,
    v_head_dim=4,
    n_routed_experts=4,
    num_experts_per_tok=2,
    moe_intermediate_size=8,
    max_position_embeddings=32,
    initializer_range=0.2,
)


@pytest.fixture
def batch() -> TorchBatch:
    """Rows of two samples, of different lengths in each row, and padding; some tokens are no targets."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(VOCABULARY, (ROWS, LENGTH), generator=generator)
    segments, positions = torch.zeros_like(tokens), torch.zeros_like(tokens)
    targets = torch.full_like(tokens, -100)
    for row in range(ROWS):
        first, end = 4 + row, LENGTH - row
        for number, (begin, stop) in enumerate(((0, first), (first, end)), 1):
            segments[row, begin:stop] = number
            positions[row, begin:stop] = torch.arange(stop - begin)
            targets[row, begin : stop - 1] = tokens[row, begin + 1 : stop]
    targets[0, :3] = -100
    samples = np.zeros(0, [("row", "i4")])
    return TorchBatch(
        0, tokens, targets, positions, segments, samples, int((targets >= 0).sum()), targets.numel(), ROWS
    )


def model_of(**changes: object) -> Transformer:
    torch.manual_seed(1)
    return Transformer(dataclasses.replace(CONFIG, **changes))


def rows_of(batch: TorchBatch, begin: int, end: int) -> TorchBatch:
    names = ("tokens_BT", "targets_BT", "positions_BT", "segments_BT")
    return dataclasses.replace(batch, **{name: getattr(batch, name)[begin:end] for name in names})


def test_it_is_the_mean_cross_entropy_over_targets(batch):
    model = model_of()
    loss = CrossEntropy()(model, batch)
    logits = model(batch.tokens_BT, batch.positions_BT, batch.segments_BT)
    expected = F.cross_entropy(logits.flatten(0, 1), batch.targets_BT.flatten(), ignore_index=-100)
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(loss.metrics["cross_entropy"], expected.detach())


def test_a_sample_does_not_see_its_neighbours(batch):
    """The loss of packed samples is that of the same samples one by one."""
    model, total, count = model_of(), 0.0, 0
    for row in range(ROWS):
        for segment in (1, 2):
            here = batch.segments_BT[row] == segment
            logits = model(batch.tokens_BT[row, here].unsqueeze(0))
            targets = batch.targets_BT[row, here]
            total += F.cross_entropy(logits[0], targets, ignore_index=-100, reduction="sum").item()
            count += int((targets >= 0).sum())
    assert CrossEntropy()(model, batch).total.item() == pytest.approx(total / count, rel=1e-5)


def test_the_balance_loss_and_the_load_are_those_of_the_layers(batch):
    model = model_of()
    routing = model.hidden(batch.tokens_BT, batch.positions_BT, batch.segments_BT).routing
    plain, balanced = CrossEntropy()(model, batch), CrossEntropy(balance_loss_weight=0.5)(model, batch)
    losses = torch.stack([layer.balance_loss for layer in routing]).detach()
    assert len(losses) == 2
    torch.testing.assert_close((balanced.total - plain.total).detach(), 0.5 * losses.sum())
    torch.testing.assert_close(plain.metrics["balance_loss"], losses.mean())
    torch.testing.assert_close(plain.metrics["expert_load"].sum(dim=1), torch.ones(2))


def test_multi_token_prediction_looks_two_tokens_ahead_within_a_sample(batch):
    model = model_of(num_nextn_predict_layers=1)
    plain, with_second = CrossEntropy()(model, batch), CrossEntropy(mtp_loss_weight=0.3)(model, batch)
    hidden = model.hidden(batch.tokens_BT, batch.positions_BT, batch.segments_BT)
    next_ids = batch.tokens_BT.roll(-1, 1)
    states = model.predict_second(hidden, next_ids, batch.positions_BT, batch.segments_BT)
    logits = (states @ model.output_weight.T).detach()
    expected = 0.0
    for row in range(ROWS):
        for at in range(LENGTH - 2):
            same = batch.segments_BT[row, at] == batch.segments_BT[row, at + 1]
            target = batch.targets_BT[row, at + 1]
            if same and target >= 0:
                expected += F.cross_entropy(logits[row, at], target).item()
    second = with_second.metrics["mtp_cross_entropy"].item()
    assert second == pytest.approx(expected / batch.n_targets, rel=1e-5)
    assert (with_second.total - plain.total).item() == pytest.approx(0.3 * second, rel=1e-4)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_add_up_to_the_batch(batch, parts):
    objective = CrossEntropy(balance_loss_weight=0.1, mtp_loss_weight=0.3)
    whole, cut = model_of(num_nextn_predict_layers=1), model_of(num_nextn_predict_layers=1)
    loss = objective(whole, batch)
    loss.total.backward()
    size, metrics = ROWS // parts, {}
    for begin in range(0, ROWS, size):
        part = objective(cut, rows_of(batch, begin, begin + size))
        part.total.backward()
        metrics = {name: metrics.get(name, 0) + value for name, value in part.metrics.items()}
    for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-6)
    for name, value in loss.metrics.items():
        torch.testing.assert_close(metrics[name], value, rtol=0, atol=1e-6)


def test_a_dense_model_has_no_routing_to_report(batch):
    loss = CrossEntropy(balance_loss_weight=0.1)(model_of(n_routed_experts=0), batch)
    assert set(loss.metrics) == {"cross_entropy"}
    torch.testing.assert_close(loss.total.detach(), loss.metrics["cross_entropy"])
