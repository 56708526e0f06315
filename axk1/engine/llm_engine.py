"""``LLMEngine``: requests in, pieces of text out, one pass of the network per ``step``. It knows no threads."""

import time
from dataclasses import dataclass

from llguidance import LLMatcher

from axk1.core.config import require
from axk1.core.errors import ConfigError, TokenizerMismatch
from axk1.engine.block_manager import BlockManager
from axk1.engine.config import EngineConfig
from axk1.engine.detokenizer import Detokenizer
from axk1.engine.draft_model import ModelDrafter, load_draft_model
from axk1.engine.grammar import Grammars
from axk1.engine.guide import Guide
from axk1.engine.model_runner import ModelRunner, Verified
from axk1.engine.multi_token import MultiTokenDrafter
from axk1.engine.ngram import NgramDrafter
from axk1.engine.quantised.applying import with_weights
from axk1.engine.sampling_params import SamplingParams
from axk1.engine.scheduler import Scheduler
from axk1.engine.sequence import Sequence, TokenLogprobs
from axk1.engine.speculation import Drafter, Speculator
from axk1.model.transformer import Transformer
from axk1.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class SequenceOutput:
    """One token that a step added to one sequence; with speculation a step may add several to the same."""

    sequence: Sequence
    """The sequence; its tokens and times go on changing while it is written."""
    text: str
    """New text in whole characters; empty while a character or a possible stop string is incomplete."""
    token_id: int | None
    """The new token, the one that ends the text included; None where no token was wanted."""
    logprobs: TokenLogprobs | None
    """Its log-probabilities, if asked for."""
    finish_reason: str | None
    """Why the text ended; None while it goes on."""
    seconds: float
    """Time since the sequence's last token, or since its arrival."""


class LLMEngine:
    """Continuous batching over one model.

    Attributes:
        model, tokenizer, config: what it was made from.
        max_model_len: longest sequence in tokens.
        grammars: compiles the forms that texts must have; any thread may use it.
        blocks, scheduler: the blocks of its cache and the order of its work, to be looked at.
        speculator: drafts tokens and counts how many were right; None without speculation.
        prompt_tokens, generation_tokens: prompt tokens put through, tokens written.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer, config: EngineConfig) -> None:
        """Raises ConfigError or TokenizerMismatch where the three do not fit together."""
        if tokenizer.vocab_size > model.config.vocab_size:
            raise TokenizerMismatch(
                f"the tokenizer has {tokenizer.vocab_size} entries, the model's embedding {model.config.vocab_size}"
            )
        model = with_weights(model, config.weights)
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self.max_model_len = config.length_limit(model.config)
        draft = load_draft_model(config.speculative_config, model, tokenizer)
        draft = draft and with_weights(draft, config.weights)
        value_bytes = model.norm.weight.element_size()
        num_blocks = config.num_blocks(model.config, value_bytes, draft=draft and draft.config)
        self.blocks = BlockManager(num_blocks, config.block_size, enable_prefix_caching=config.enable_prefix_caching)
        self.scheduler = Scheduler(config, self.blocks)
        extra_layers = config.speculative_config.extra_layers
        self._runner = ModelRunner(
            model,
            num_blocks,
            config.block_size,
            tokenizer.vocab_size,
            extra_layers=extra_layers,
            enforce_eager=config.enforce_eager,
        )
        self.grammars = Grammars(tokenizer)
        self.speculator = self._speculator(draft)
        self._requests: dict[str, list[Sequence]] = {}
        self.prompt_tokens = self.generation_tokens = 0

    def _speculator(self, draft: Transformer | None) -> Speculator | None:
        """What drafts, by the config."""
        drafter: Drafter
        match self.config.speculative_config.method:
            case "ngram":
                drafter = NgramDrafter(self.config.speculative_config)
            case "draft_model":
                assert draft is not None
                drafter = ModelDrafter(draft, self.config, self.blocks.num_blocks, self.tokenizer.vocab_size)
            case "mtp":
                modules = self.model.config.num_nextn_predict_layers
                require(modules > 0, "method", "mtp", "ngram, draft_model: the checkpoint has no such module")
                drafter = MultiTokenDrafter(self.model, self._runner, self.tokenizer.vocab_size)
            case _:
                return None
        return Speculator(self.config, self.blocks, drafter)

    def most_new_tokens(self, prompt_tokens: int, params: SamplingParams) -> int:
        """How many tokens a request may get, after checks that it can run at all.

        Raises:
            ConfigError: the prompt is empty or too long, by how much, or the cache cannot hold the request alone.
        """
        require(prompt_tokens > 0, "prompt", "0 tokens", "at least one token")
        capacity, length = self.blocks.num_blocks * self.blocks.block_size, self.max_model_len
        needed = prompt_tokens + (params.max_tokens != 0)
        if needed > length:
            raise ConfigError(
                f"the prompt has {prompt_tokens} tokens, {needed - length} more than fit into the context of "
                f"{length} tokens" + (" with one token to write" if params.max_tokens != 0 else "")
            )
        room = length - prompt_tokens
        wanted = room if params.max_tokens is None else min(params.max_tokens, room)
        if params.max_tokens is None:  # the last token needs no entry
            wanted = max(1, min(wanted, capacity + 1 - prompt_tokens))
        entries = prompt_tokens + max(wanted - 1, 0)
        if entries > capacity:
            raise ConfigError(
                f"the request needs room for {entries} tokens, but kv_cache_memory = "
                f"{self.config.kv_cache_memory} GiB holds {capacity}",
                repair=f"--kv-cache-memory {1.01 * self.config.kv_cache_memory * entries / capacity:.2g}",
            )
        return wanted

    def check(self, prompt_token_ids: list[int], params: SamplingParams) -> None:
        """Raises ConfigError for what ``add_request`` would refuse. Changes nothing, so any thread may call it."""
        self.most_new_tokens(len(prompt_token_ids), params)
        size = self.tokenizer.vocab_size
        for name, tokens in (("prompt", prompt_token_ids), ("logit_bias", params.logit_bias)):
            wrong = next((token for token in tokens if not 0 <= token < size), None)
            require(wrong is None, f"a token of {name}", wrong, f"0 to {size - 1}")

    def add_request(
        self,
        request_id: str,
        prompt_token_ids: list[int],
        params: SamplingParams,
        grammar: LLMatcher | None = None,
    ) -> list[Sequence]:
        """Queues a request; returns its ``n`` sequences. Raises ConfigError for a request that can never run.

        Args:
            request_id, prompt_token_ids, params: the request.
            grammar: ``grammars.compile(params.structured_outputs)``, where somebody has done that already.
        """
        if params.structured_outputs is not None and grammar is None:
            grammar = self.grammars.compile(params.structured_outputs)
        self.check(prompt_token_ids, params)
        require(request_id not in self._requests, "request_id", request_id, "one that is not in use")
        most = self.most_new_tokens(len(prompt_token_ids), params)
        sequences = []
        for index in range(params.n):
            text = Detokenizer(self.tokenizer, params.stop, skip_special=params.skip_special_tokens)
            guide = self._guide(prompt_token_ids, params, grammar)
            sequences.append(Sequence(request_id, index, prompt_token_ids, params, text, most, guide))
            self.scheduler.add(sequences[-1])
        self._requests[request_id] = sequences
        return list(sequences)

    def _guide(self, prompt: list[int], params: SamplingParams, grammar: LLMatcher | None) -> Guide | None:
        if grammar is None and params.thinking_token_budget is None:
            return None
        own = None if grammar is None else grammar.deep_copy()
        return Guide(self.tokenizer, prompt, params.thinking_token_budget, own)

    def abort_request(self, request_id: str) -> None:
        """Ends a request and frees its blocks. Does nothing for one that has ended."""
        for sequence in self._requests.pop(request_id, []):
            if sequence.finish_reason is None:
                self._end(sequence, "abort")

    def abort_all(self) -> None:
        """Ends all requests and forgets what the cache holds; for the time after a pass that failed."""
        for request_id in list(self._requests):
            self.abort_request(request_id)
        self.blocks.reset()
        if self.speculator is not None:
            self.speculator.reset()

    def has_unfinished_requests(self) -> bool:
        """Whether ``step`` has anything to do."""
        return bool(self._requests)

    def step(self) -> list[SequenceOutput]:
        """One pass of the network; returns what it added to each sequence that it brought to its end, in order."""
        scheduled = self.scheduler.schedule()
        try:
            if self.speculator is not None:
                scheduled = self.speculator.extend(scheduled)
            verified = self._runner.run(scheduled)
        except BaseException:  # even Ctrl-C: blocks that the pass should have filled are known as full already
            self.abort_all()
            raise
        for part in scheduled:
            sequence = part.sequence
            fresh = sequence.num_prompt_tokens - sequence.num_computed_tokens
            self.prompt_tokens += max(0, min(part.own_tokens, fresh))
            sequence.num_computed_tokens += part.own_tokens
        outputs = [output for each in verified for output in self._accept(each)]
        if self.speculator is not None:
            self.speculator.learn(verified)
        return outputs

    def _accept(self, verified: Verified) -> list[SequenceOutput]:
        """Appends a sequence's new tokens; what was drafted behind its end is dropped."""
        sequence, outputs = verified.part.sequence, []
        for place, token in enumerate(verified.token_ids):
            if place:  # the token before this one was drafted, so the pass has made its entry
                self.blocks.publish(sequence, sequence.num_computed_tokens + 1)
                sequence.num_computed_tokens += 1
            outputs.append(self._append(sequence, token))
            if sequence.finish_reason is not None:
                break
        del sequence.logprobs[sequence.num_output_tokens :]
        return outputs

    def _append(self, sequence: Sequence, token: int) -> SequenceOutput:
        times, now = sequence.times, time.monotonic()
        seconds = now - (times.last_token or times.arrival)
        times.last_token, times.first_token = now, times.first_token or now
        if sequence.max_tokens == 0:
            sequence.logprobs.clear()
            self._finish(sequence, "length")
            return SequenceOutput(sequence, "", None, None, "length", seconds)
        sequence.token_ids.append(token)
        self.generation_tokens += 1
        text, reason = self._read(sequence, token)
        if reason is not None:
            text += sequence.detokenizer.finish()
            self._finish(sequence, reason)
        logprobs = sequence.logprobs[sequence.num_output_tokens - 1] if sequence.logprobs else None
        return SequenceOutput(sequence, text, token, logprobs, reason, seconds)

    def _read(self, sequence: Sequence, token: int) -> tuple[str, str | None]:
        """The text that a token adds, and why it ends the sequence, if it does."""
        params, guide = sequence.params, sequence.guide
        if guide is not None:
            guide.accept(token)
            if guide.error is not None:
                sequence.stop_reason = guide.error
                return "", "error"
        complete = guide is not None and guide.finished
        if token in params.stop_token_ids:
            sequence.stop_reason = token
            return "", "stop"
        if token in self.tokenizer.stop_ids and (complete or not params.ignore_eos):
            return "", "stop"
        text = sequence.detokenizer.add(token)
        if sequence.detokenizer.stopped_by is not None:
            sequence.stop_reason = sequence.detokenizer.stopped_by
            return text, "stop"
        if complete:
            return text, "stop"
        return text, "length" if sequence.num_output_tokens >= sequence.max_tokens else None

    def _finish(self, sequence: Sequence, reason: str) -> None:
        self._end(sequence, reason)
        if all(each.finish_reason for each in self._requests[sequence.request_id]):
            del self._requests[sequence.request_id]

    def _end(self, sequence: Sequence, reason: str) -> None:
        sequence.finish_reason = reason
        self.scheduler.remove(sequence)
        if self.speculator is not None:
            self.speculator.forget(sequence)
