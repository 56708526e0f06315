"""A chat page in a browser, which talks to OpenAI's API of the server that it came from."""
