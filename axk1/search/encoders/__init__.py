"""Who turns texts into vectors: a model pack, any server of embeddings, or a small model of our own."""
