"""A server as the teacher: prompts go over HTTP, the log-probabilities of their best next tokens come back.

The wire is vLLM's: ``POST /v1/completions`` with ``prompt`` (lists of token ids) and ``prompt_logprobs = K``. Each
choice then has ``prompt_logprobs``: nothing for the first token, and for each other ``{id: {"logprob", "rank"}}`` with
the K best and the token that was sent. A server is tried on some samples before it is believed, and every answer is
checked for what can be checked.
"""

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import requests

from axk1.core.errors import AXK1Error
from axk1.distill.config import ServerSource
from axk1.distill.records import Distributions, TopKRecords

_PROBE_TOKENS = 48
"""Tokens of a sample with which a server is tried."""
_ROUNDING = 2e-3
"""By how much probabilities may exceed one: they come rounded."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
"""Seconds."""


class ServerScorer:
    """Turns samples into records by asking a server.

    Args:
        source: which server.
        records: the format of the records; without draws, which a server cannot make.
    """

    rows_at_once = 0

    def __init__(self, source: ServerSource, records: TopKRecords) -> None:
        self.source, self.records = source, records
        self._session = requests.Session()
        if source.api_key_variable is not None:
            self._session.headers["Authorization"] = f"Bearer {os.environ.get(source.api_key_variable, '')}"

    def score(self, samples: Sequence[np.ndarray], keys: np.ndarray) -> Iterator[tuple[int, Distributions]]:
        """Yields the number of a sample and its rows, one for each token but the first, in order.

        Raises:
            AXK1Error: the server cannot be reached, or what it says cannot be.
        """
        for start in range(0, len(samples), self.source.batch):
            batch = samples[start : start + self.source.batch]
            yield from enumerate(self.ask(batch), start)

    def ask(self, samples: Sequence[np.ndarray]) -> list[Distributions]:
        """The rows of some samples, by one request."""
        answer = self._post([np.asarray(sample).tolist() for sample in samples])
        choices = answer.get("choices")
        if not isinstance(choices, list) or len(choices) != len(samples):
            raise self._refused(f"it gave {len(choices or ())} answers to {len(samples)} prompts")
        try:
            ordered = sorted(choices, key=lambda choice: choice["index"])
            return [self._rows(choice, sample) for choice, sample in zip(ordered, samples, strict=True)]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._refused(f"its answer has another form than vLLM's ({error!r})") from None

    def check(self, samples: Sequence[np.ndarray]) -> None:
        """Tries the server: what it says of a prompt must not depend on other prompts or on what follows.

        Raises:
            AXK1Error: it contradicts itself, or what it says cannot be.
        """
        probes = [np.asarray(sample)[:_PROBE_TOKENS] for sample in samples]
        together, alone = self.ask(probes), [self.ask([probe])[0] for probe in probes]
        halves = self.ask([probe[: max(len(probe) // 2, 2)] for probe in probes])
        for first, second, half in zip(together, alone, halves, strict=True):
            self._compare(first, second, "alone and among others")
            self._compare(first, half, "with and without what follows")

    def _compare(self, one: Distributions, other: Distributions, when: str) -> None:
        rows = min(len(one.ids_RK), len(other.ids_RK))
        off = max(_distance(one, other, rows), _distance(other, one, rows))
        if off > self.source.tolerance:
            raise self._refused(f"the same prompt differs by {off:.3g} nat {when}")

    def _rows(self, choice: dict[str, Any], sample: np.ndarray) -> Distributions:
        """One choice as rows; the position of token i + 1 is row i."""
        given, K = choice["prompt_logprobs"], self.records.top_k
        sent = np.asarray(sample).tolist()
        returned = choice.get("prompt_token_ids")
        if len(given) != len(sent) or given[0] is not None or (returned is not None and list(returned) != sent):
            raise self._refused("the tokens that it scored are not those that were sent")
        ids, log_probs = [], []
        for token, entry in zip(sent[1:], given[1:], strict=True):
            if str(token) not in entry:
                raise self._refused(f"it says nothing of token {token}, which was sent")
            best = sorted(((float(one["logprob"]), int(name)) for name, one in entry.items()), reverse=True)
            if len(best) < K:
                raise self._refused(f"it gave {len(best)} tokens where {K} were asked for")
            ids.append([name for _, name in best[:K]])
            log_probs.append([value for value, _ in best[:K]])
        return self._checked(np.array(ids, np.int64), np.array(log_probs, np.float64))

    def _checked(self, ids_RK: np.ndarray, log_probs_RK: np.ndarray) -> Distributions:
        mass_R = np.exp(log_probs_RK).sum(1)
        if not ((log_probs_RK <= _ROUNDING) & (mass_R[:, None] <= 1 + _ROUNDING)).all():  # NaN fails as well
            raise self._refused(f"its probabilities sum to {np.max(mass_R):.4g}, which is above one or no number")
        if ids_RK.min() < 0 or ids_RK.max() >= self.records.vocab_size:
            raise self._refused(f"it names token {ids_RK.max()}, but the vocabulary has {self.records.vocab_size}")
        tail_R = np.maximum(1 - mass_R, 1e-12)
        log_probs_RK = np.minimum(log_probs_RK, 0)
        # Of the tail only the mass is known: the entropy counts it as one token. It is read only with draws.
        entropy_R = -(np.exp(log_probs_RK) * np.maximum(log_probs_RK, -700)).sum(1) - tail_R * np.log(tail_R)
        return Distributions(ids_RK, log_probs_RK, np.log(tail_R), np.zeros((len(ids_RK), 0), np.int64), entropy_R)

    def _post(self, prompts: list[list[int]]) -> dict[str, Any]:
        """Sends a request until it is answered. Raises AXK1Error when it is refused, or failed too often."""
        body = {"model": self.source.model, "prompt": prompts, "max_tokens": 1, "temperature": 0}
        body |= {"prompt_logprobs": self.records.top_k, "return_token_ids": True}
        address, failure = f"{str(self.source.base_url).rstrip('/')}/completions", ""
        for attempt in range(self.source.retries + 1):
            if attempt:
                time.sleep(min(_FIRST_WAIT * 2 ** (attempt - 1), _LONGEST_WAIT))
            try:
                response = self._session.post(address, json=body, timeout=self.source.timeout)
                if response.status_code == 200:
                    return response.json()
                failure = f"{response.status_code} {response.text[:300]}"
                if response.status_code < 500 and response.status_code not in (408, 429):
                    break
            except (requests.RequestException, ValueError) as error:
                failure = str(error)
        raise AXK1Error(f"the server at {address} does not answer: {failure}", repair=f"curl {address}")

    def _refused(self, why: str) -> AXK1Error:
        return AXK1Error(
            f"the server {self.source.base_url} cannot be a teacher: {why}",
            repair="serve the model with vLLM and prompt_logprobs, and try again; or name the teacher's folder alone",
        )


def _distance(one: Distributions, other: Distributions, rows: int) -> float:
    """The largest difference in log-probability of ``one``'s tokens; those that ``other`` lacks lie below its last."""
    same_RKK = one.ids_RK[:rows, :, None] == other.ids_RK[:rows, None, :]
    found_RK, last_R1 = same_RKK.any(2), other.log_probs_RK[:rows, -1:]
    place_RK = same_RKK.argmax(2)
    matched_RK = np.take_along_axis(other.log_probs_RK[:rows], place_RK, 1)
    log_probs_RK = one.log_probs_RK[:rows]
    off_RK = np.where(found_RK, np.abs(log_probs_RK - matched_RK), np.maximum(log_probs_RK - last_R1, 0))
    return float(off_RK.max(initial=0))
