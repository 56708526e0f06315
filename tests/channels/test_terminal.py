"""The terminal chat: what the model is asked, and what it keeps of the conversation."""

from pathlib import Path

from axk1.channels.terminal import ChatConfig, chat


class Echo:
    """A model that answers with the number of turns it was shown, after a thought when asked to think."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def stream(self, prompt, *, max_tokens, temperature=0.0, stop=(), seed=0):
        self.prompts.append(prompt)
        if not prompt.endswith("</think>"):
            yield "let me see</think>"
        yield f"turn {prompt.count('<|im_start|>user')}"


def answer(lines, **options):
    lines = iter(lines)

    def read(_):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    model = Echo()
    chat(model, ChatConfig(Path("m"), **options), read=read)
    return model.prompts


def test_one_message(capsys):
    prompts = answer([], prompt="hello")
    assert capsys.readouterr().out == "turn 1\n"
    assert "hello" in prompts[0] and prompts[0].endswith("<think></think>")


def test_a_conversation_grows_without_old_thoughts_and_starts_anew(capsys):
    prompts = answer(["one", "/think", "two", "", "three", "/new", "/no_think", "four", "/help", "/exit", "five"])
    assert [p.count("<|im_start|>user") for p in prompts] == [1, 2, 3, 1]
    assert [p.endswith("<think></think>") for p in prompts] == [True, False, False, True]
    assert "let me see" not in prompts[2] and "turn 2" in prompts[2]
    assert "four" in prompts[3] and "one" not in prompts[3]
    assert "turn 3" in capsys.readouterr().out
