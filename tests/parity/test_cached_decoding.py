"""Decoding with a cache against transformers without one: latent attention then works on the latents themselves."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import FAMILIES, FEW, configs, tokens
from test_logits import both


class GrowingCache:
    """The plainest cache that fits the protocol: it appends, and new tokens see all that came before them."""

    def __init__(self) -> None:
        self.layers: dict[int, torch.Tensor] = {}

    def attend(self, layer, query, entries, attend):
        held = self.layers[layer] = torch.cat((self.layers.get(layer, entries[:, :0]), entries), dim=1)
        new, all_ = entries.shape[1], held.shape[1]
        visible = torch.ones(new, all_, dtype=torch.bool).tril(all_ - new)
        mask = None if new == all_ else torch.zeros(new, all_).masked_fill(~visible, -torch.inf)[None, None]
        return attend(query, held, mask)


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
    assert cache.layers[0].shape[2] == model.config.cache_width
    if family == "AXK1ForCausalLM":
        assert model.config.cache_width == model.config.kv_lora_rank + model.config.qk_rope_head_dim
