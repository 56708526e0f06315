"""The hybrid index on disk: passages in SQLite, their words in tantivy, their vectors in usearch."""
