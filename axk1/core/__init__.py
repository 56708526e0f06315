"""The nouns that every room shares: artifacts, strict config, errors, progress, the language-model protocol."""
