"""Checkpoint -> tokens: batched generation with a key-value cache, and scoring of text."""
