"""``/v1/responses``: OpenAI's Responses API, as the Open Responses specification writes it down, over any service."""
