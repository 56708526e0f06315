"""The index on disk: passages with their places, found by their words and by their meaning."""
