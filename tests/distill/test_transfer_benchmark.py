"""The ways to teach and the figures of ``benchmarks/transfer.py`` that are not the package's, against autograd."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from axk1.distill.loss import fused_linear_distillation
from axk1.distill.targets import TopKTargets

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from transfer_heldout import calibration_error
from transfer_objectives import cut_targets, hard_targets, next_tokens, renormalised_kl

N, V, K, H = 7, 23, 5, 4


@pytest.fixture
def teacher():
    """A teacher's whole distributions [N, V] in float64, and their top K with the tail's mass."""
    torch.manual_seed(0)
    log_p_NV = torch.log_softmax(2 * torch.randn(N, V, dtype=torch.float64), 1)
    log_probs_NK, ids_NK = log_p_NV.topk(K, 1)
    log_tail_N = torch.log1p(-log_probs_NK.exp().sum(1))
    nothing_NS = torch.empty(N, 0, dtype=torch.long)
    return log_p_NV, TopKTargets(ids_NK, log_probs_NK, log_tail_N, nothing_NS, torch.zeros(N), V)


def student():
    torch.manual_seed(1)
    return (torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((N, H), (V, H)))


def gradient_of(targets):
    states_NH, weight_VH = student()
    loss = fused_linear_distillation(
        states_NH, weight_VH, torch.zeros(N, dtype=torch.long), targets, kl_weight=1.0, ce_weight=0.0
    )
    loss.total.backward()
    return weight_VH.grad


def dense_gradient(p_NV):
    """Of KL(p || student) over the whole vocabulary."""
    states_NH, weight_VH = student()
    (-(p_NV * torch.log_softmax(states_NH @ weight_VH.T, 1)).sum()).backward()
    return weight_VH.grad


def test_hard_labels_are_the_cross_entropy_with_the_teachers_best_token(teacher):
    log_p_NV, stored = teacher
    best_NV = torch.nn.functional.one_hot(log_p_NV.argmax(1), V).double()
    torch.testing.assert_close(gradient_of(hard_targets(stored)), dense_gradient(best_NV))


def test_cut_targets_take_what_is_not_stored_as_impossible(teacher):
    log_p_NV, stored = teacher
    kept_NV = torch.zeros_like(log_p_NV).scatter_(1, stored.ids_NK, stored.log_probs_NK.exp())
    torch.testing.assert_close(gradient_of(cut_targets(stored)), dense_gradient(kept_NV / kept_NV.sum(1, keepdim=True)))


def test_renormalising_both_sides_leaves_the_rest_without_a_gradient(teacher):
    log_p_NV, stored = teacher
    logits_NV = torch.randn(N, V, dtype=torch.float64, requires_grad=True)
    renormalised_kl(logits_NV, stored).backward()
    inside_NV = torch.zeros(N, V, dtype=bool).scatter_(1, stored.ids_NK, True)
    assert (logits_NV.grad[~inside_NV] == 0).all()
    q_NK, p_NK = (torch.softmax(x.gather(1, stored.ids_NK), 1) for x in (logits_NV.detach(), log_p_NV))
    torch.testing.assert_close(logits_NV.grad.gather(1, stored.ids_NK), q_NK - p_NK)


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.55, 1.0])
    right = np.array([1.0, 0.0, 1.0, 1.0, 1.0])
    expected = (abs(0.95 + 0.95 + 1.0 - 2) + abs(1.1 - 2)) / 5  # 0.95 and 1.0 share the last of 15 bins
    assert calibration_error(confidence, right) == pytest.approx(expected)


def test_a_sure_forecaster_that_is_right_is_calibrated():
    assert calibration_error(np.ones(10), np.ones(10)) == 0


def test_the_next_token_never_belongs_to_another_sample():
    batch = SimpleNamespace(
        tokens_BT=torch.tensor([[5, 6, 7, 8, 9, 0]]), segments_BT=torch.tensor([[1, 1, 2, 2, 2, 0]])
    )
    assert next_tokens(batch).tolist() == [[6, -100, 8, 9, -100, -100]]
