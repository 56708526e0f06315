"""The network: config.json + weights <-> one ``Transformer``, written for one device."""
