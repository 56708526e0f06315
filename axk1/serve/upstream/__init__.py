"""Models that run elsewhere: vLLM, SGLang or any server of OpenAI's API, behind the same front."""
