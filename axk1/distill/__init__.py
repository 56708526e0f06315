"""A teacher's knowledge, written to disk once, and the students that learn from it."""
