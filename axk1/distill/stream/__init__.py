"""A teacher larger than memory: its checkpoint is streamed layer by layer over a large batch of tokens."""
