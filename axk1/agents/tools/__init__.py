"""Real tools: each module a family, ``built_in`` all of them."""
