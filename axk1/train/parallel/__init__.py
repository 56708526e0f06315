"""Many processes, one run: parallelism is applied to the model from outside, and the model knows nothing of it."""
