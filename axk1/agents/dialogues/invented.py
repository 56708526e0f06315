"""Words of tools that exist nowhere: what they do, to what, and what they are told; in English and in Korean."""

VERBS = {
    "open": "열어줘", "close": "닫아줘", "start": "시작해줘", "stop": "멈춰줘", "lock": "잠가줘",
    "check": "점검해줘", "reserve": "예약해줘", "print": "출력해줘", "record": "기록해줘",
    "reset": "초기화해줘", "repair": "수리해줘", "measure": "측정해줘",
}  # fmt: skip
THINGS = {
    "door": "문", "window": "창문", "printer": "프린터", "camera": "카메라", "room": "방",
    "seat": "좌석", "lamp": "조명", "ticket": "표", "badge": "출입증", "heater": "난방기",
    "pump": "펌프", "robot": "로봇", "screen": "화면", "engine": "엔진",
}  # fmt: skip
LOOKED_UP = {
    "price": "가격", "menu": "식단", "weather": "날씨", "news": "소식", "profile": "소개", "log": "기록",
    "recipe": "조리법", "score": "점수", "route": "경로", "article": "기사", "status": "상태", "manual": "설명서",
    "rule": "규칙", "letter": "편지", "poem": "시", "entry": "항목",
}  # fmt: skip
LOOKING = ("get", "show", "find", "open", "load", "view")
PARAMETERS = ("number", "code", "name", "label", "key", "target")
