"""``ServerEncoder``: any server of OpenAI's ``/v1/embeddings`` (vLLM, SGLang, ``axk1 serve``) as an ``Encoder``."""

import time
from collections.abc import Sequence
from typing import Any, Literal

import httpx
import numpy as np

from axk1.core.asking import Asking, read_object
from axk1.core.errors import AXK1Error


class ServerEncoder:
    """A model of embeddings behind an address. It is asked for one vector when it is opened, to learn their length.

    Args:
        url: where the API begins, such as ``http://host:8000/v1``.
        model: its name there; nothing for the first that ``/v1/models`` lists.
        api_key: what the server asks for.
        batch: most texts in one request.
        timeout_seconds: silence after which a request is given up.

    Raises:
        AXK1Error: the server cannot be reached, or has no embeddings.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        batch: int = 64,
        timeout_seconds: float = 120,
    ) -> None:
        self._url, self._batch = url.rstrip("/"), batch
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(headers=headers, timeout=httpx.Timeout(timeout_seconds, connect=10))
        self._model = model or self._first_model()
        self.name = f"server:{self._model}"
        self.dimensions = len(self._vectors(["dimensions"])[0])

    def encode(self, texts: Sequence[str], *, kind: Literal["query", "passage"] = "passage") -> np.ndarray:
        """As ``Encoder.encode``; questions and passages go as they are."""
        found = np.zeros((len(texts), self.dimensions), np.float32)
        for first in range(0, len(texts), self._batch):
            vectors = self._vectors([text or " " for text in texts[first : first + self._batch]])  # empty: refused
            if vectors.shape[1:] != (self.dimensions,):
                raise AXK1Error(f"{self._url} sent vectors of {vectors.shape[1:]}, before of {self.dimensions}")
            found[first : first + len(vectors)] = vectors
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    def _vectors(self, texts: list[str]) -> np.ndarray:
        body = {"model": self._model, "input": texts, "encoding_format": "float"}
        answer = self._ask("POST", "/embeddings", body)
        try:
            rows = sorted(answer["data"], key=lambda row: row["index"])
            vectors = np.array([row["embedding"] for row in rows], np.float32)
        except (KeyError, TypeError, ValueError):
            raise AXK1Error(f"{self._url}/embeddings did not answer in OpenAI's form") from None
        if len(vectors) != len(texts) or vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise AXK1Error(f"{self._url}/embeddings sent {vectors.shape} numbers for {len(texts)} texts")
        return vectors

    def _first_model(self) -> str:
        cards = self._ask("GET", "/models").get("data") or []
        if not cards:
            raise AXK1Error(f"{self._url} lists no models", repair=f"name the model: {self._url}#NAME")
        return cards[0]["id"]

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a request; a server that is busy or away is asked again a few times."""
        asking = Asking(f"the server of embeddings at {self._url}")
        for pause in asking.pauses():
            time.sleep(pause)
            try:
                answer = self._http.request(method, self._url + path, json=body)
            except httpx.HTTPError as error:
                asking.failed(error)
                continue
            if not asking.is_busy(answer):
                return read_object(answer)
        raise asking.error
