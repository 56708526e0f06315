"""A goal -> tool calls -> a finished piece of work, asking a person where something is missing."""
