"""Decoding with a cache against transformers without one: latent attention then works on the latents themselves."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import FAMILIES, FEW, configs, tokens
from test_logits import both


class GrowingCache:
    """The plainest cache that fits the protocol: it appends and returns everything."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.seen: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(self, layer, first, second):
        self.layers[layer] = appended(self.layers.get(layer), (first, second))
        return self.layers[layer]

    def extend(self, positions_BT, segments_BT):
        self.seen = appended(self.seen, (positions_BT, segments_BT))
        return self.seen


def appended(old, new):
    return new if old is None else tuple(torch.cat(pair, dim=1) for pair in zip(old, new, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@settings(FEW, max_examples=6)
@given(data=st.data(), seed=st.integers(0, 999), prompt=st.integers(1, 6), stride=st.integers(1, 3))
def test_decoding_with_a_cache_gives_the_logits_of_the_whole_text(family, data, seed, prompt, stride):
    reference, model = both(data.draw(configs(family)), seed)
    ids = tokens(seed)
    cache, logits = GrowingCache(), []
    with torch.no_grad():
        for start, stop in [(0, prompt), *((s, min(s + stride, 11)) for s in range(prompt, 11, stride))]:
            positions = torch.arange(start, stop).expand(2, -1)
            logits.append(model(ids[:, start:stop], positions, cache=cache))
        torch.testing.assert_close(torch.cat(logits, dim=1), reference(ids).logits, atol=1e-4, rtol=0)
    if family == "AXK1ForCausalLM":
        config = model.config
        held = sum(t[0, 0].numel() for t in cache.layers[0])
        assert held == config.kv_lora_rank + config.qk_rope_head_dim
