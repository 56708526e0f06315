"""``refusal_of``: what a person asks for -> what to say instead of helping; nothing where it may be helped with."""

from typing import Literal

from axk1.guard.unsafe import unsafe_request

_CANNOT = {
    "ko": "그 부탁은 도와드릴 수 없습니다.",
    "en": "I cannot help with that.",
}
_CARE = {
    "ko": "많이 힘드신 것 같아 걱정됩니다. 혼자 견디지 마시고 지금 자살예방 상담전화 109(24시간)로 이야기해 보세요. "
    "당장 위험하다면 119에 전화하세요.",
    "en": "I am sorry that you are going through this. Please do not bear it alone: in Korea call 109 at any hour, "
    "elsewhere findahelpline.com names someone to talk to. In immediate danger, call the emergency number.",
}


def refusal_of(text: str, language: Literal["ko", "en"]) -> str | None:
    """What to say to an unsafe request.

    Args:
        text: what a person asks for, in Korean or English; never what strangers wrote.
        language: of what is said.

    Returns:
        A sentence or two; None where nothing speaks against helping. Who wants to harm themselves gets care and a
        number to call.
    """
    verdict = unsafe_request(text)
    if not verdict.unsafe:
        return None
    return (_CARE if verdict.category == "self_harm" else _CANNOT)[language]
