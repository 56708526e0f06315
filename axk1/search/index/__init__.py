<<<<<<< HEAD
"""The hybrid index on disk: passages in SQLite, their words in tantivy, their vectors in usearch."""
=======
"""The index on disk: passages with their places, found by their words and by their meaning."""
>>>>>>> main
