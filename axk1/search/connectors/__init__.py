"""Searches elsewhere as a ``Retriever``: the live web through SearXNG."""
