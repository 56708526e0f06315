"""Ways in: what carries one conversation between a person and a model."""
