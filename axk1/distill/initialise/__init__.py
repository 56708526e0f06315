"""Students that start from their teacher's weights instead of from chance."""
