"""Documents in, validated and mixed token shards out; nothing is dropped without a reason on disk."""
