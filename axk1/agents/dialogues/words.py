"""Words of the tasks: people, addresses, topics, sentences, days. Each draw is one of very many.

What may be met in teaching and what is kept for the examination is decided by the word itself: of names and topics,
those whose hash falls in the last tenth are held out, whatever the seed.
"""

import hashlib
import random
from dataclasses import dataclass
from functools import partial

from axk1.agents.tool import Language

HELD_OUT_SHARE = 0.1
"""Share of the names and of the topics that no taught dialogue has."""

_FAMILY = "김 이 박 최 정 강 조 윤 장 임 한 오 서 신 권 황 안 송 류 홍 전 고 문 손 양 배 백 허 남 심 노 하".split()
_SYLLABLES = (
    "가 건 경 광 규 기 나 남 다 단 대 도 동 라 란 래 로 리 린 명 무 미 민 범 별 병 보 봄 빈 산 상 새 서 석 선 설 성 세 "
    "소 솔 수 숙 순 슬 승 시 신 아 안 애 연 영 예 온 완 용 우 욱 운 원 유 윤 율 은 의 이 인 일 재 정 제 종 주 준 중 지 "
    "진 찬 채 철 초 춘 태 하 한 해 향 현 형 혜 호 홍 화 환 효 후 훈 휘 희"
).split()
_STARTS = "Al An Be Bri Ca Chi Da De El Em Fa Fio Ga Gre Ha He Il In Ja Jo Ka Ke La Li Ma Mi Na No Ol Or Pa Pe Qui Ra Ro Sa Se Ta To Ul Va Vi Wa Wi Ya Yo Za Ze".split()  # noqa: E501
_ENDS = "bel ca da dan dra fa gan la lan lia lo ma mi mon na nan ne ni nor ra ren ria rin ro ron sa sha son ta than ti ton va vin wyn xa zo".split()  # noqa: E501
_SURNAMES = "Ab Ar Bar Bel Cor Cra Dal Dor Ellis Fen Fos Gar Gil Hal Har Hol Hux Ing Kel Kir Lan Lor Mar Mor Nor Os Par Pel Quin Rad Ros Sal Sto Tar Tor Un Vas Wal Whit York".split()  # noqa: E501
_SURNAME_ENDS = "berg bury by den der field ford gate ham land ley man mer more ner ridge son stone ter ton well wick wood worth".split()  # noqa: E501
_DOMAINS = "corp lab mail works team soft data park house point river north cloud bank press".split()
_ENDINGS = "com net org kr io co.kr".split()

_MODIFIERS = {
    "ko": "1분기 2분기 3분기 4분기 상반기 하반기 신제품 고객사 해외 국내 본사 지점 연구소 물류 채용 보안 서버 앱 홍보 교육 "
    "급여 휴가 감사 법무 품질 안전 생산 구매 재고 배송 환불 설문 행사 협력사 투자 특허 전산 회의실 주차 식당".split(),
    "en": "budget product customer overseas regional quarterly annual hiring security server mobile marketing training "
    "payroll holiday audit legal quality safety factory purchase stock delivery refund survey event partner patent "
    "network parking office travel energy research press design housing insurance garden".split(),
}
_NOUNS = {
    "ko": "보고서 계획 일정 예산 점검 회의 자료 계약 발표 결과 요청 신청 안내 정리 검토 변경 공지 평가 분석 목록 출장 면접 "
    "워크숍 설명회 교체 이전 승인 견적 통계 초안".split(),
    "en": "report plan schedule review meeting contract talk result request form notice summary change analysis list "
    "trip interview workshop briefing move approval quote draft checklist update policy call demo visit study".split(),
}
_SENTENCES = {
    "ko": (
        "{topic} 파일을 확인해 주세요.", "{topic} 건은 {day}까지 끝내겠습니다.", "{topic} 내용을 {day}에 다시 알려 드리겠습니다.",
        "{topic} 때문에 {day}에 전화 부탁드립니다.", "{topic} 준비가 모두 끝났습니다.", "{topic} 담당자가 {name} 님으로 바뀌었습니다.",
        "{day}에는 {topic} 관계로 자리를 비웁니다.", "{topic} 금액은 {number}만 원입니다.", "{topic} 수정본을 보냈습니다.",
    ),
    "en": (
        "please check the {topic}.", "we will finish the {topic} by {day}.", "I will tell you more about the {topic} on {day}.",
        "can we talk about the {topic} on {day}?", "the {topic} is ready.", "{name} is now in charge of the {topic}.",
        "I am away on {day} because of the {topic}.", "the {topic} costs {number} dollars.", "I changed the {topic} again.",
    ),
}  # fmt: skip
_DAYS = {
    "ko": "월요일 화요일 수요일 목요일 금요일 토요일 일요일".split(),
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
}
_MONTHS = "January February March April May June July August September October November December".split()
_PLACES = {
    "ko": "회의실 강당 카페 연구동 본관 별관 로비 식당 교육장 전시장".split(),
    "en": ["the hall", "the lobby", "the cafe", "the library", "the studio", "the main office", "the annex", "the lab"],
}
_FILE_ENDINGS = ("txt", "md", "csv", "docx", "pdf", "hwpx")


def is_held_out(word: str) -> bool:
    """Whether a name or a topic is kept for the examination."""
    first = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
    return first < HELD_OUT_SHARE * 2**32


@dataclass(frozen=True)
class Words:
    """Draws words of one language.

    Args:
        rng: where the draws come from.
        language: of the words.
        held_out: whether names and topics come from those that are kept for the examination, or from the others.
    """

    rng: random.Random
    language: Language
    held_out: bool = False

    def name(self) -> str:
        """A person."""
        return self._kept(self._korean_name if self.language == "ko" else self._english_name)

    def address(self) -> str:
        """A mail address."""
        return self._kept(self._address)

    def topic(self) -> str:
        """What a mail, a meeting or a document is about."""
        return self._kept(self._topic)

    def sentence(self) -> str:
        """A sentence that somebody wants to have written."""
        form = self.rng.choice(_SENTENCES[self.language])
        number = self.rng.randint(2, 999)
        return form.format(topic=self.topic(), day=self.day(), name=self.name(), number=number)

    def day(self) -> str:
        """A day of the week."""
        return self.rng.choice(_DAYS[self.language])

    def place(self) -> str:
        """Where something takes place."""
        place = self.rng.choice(_PLACES[self.language])
        return f"{self.rng.randint(1, 30)}층 {place}" if self.language == "ko" else place

    def moment(self) -> str:
        """A day and a time, as people say them."""
        return f"{self.date()} {self.time()}"

    def date(self) -> str:
        """A day, as people say it."""
        pick = self.rng.randrange(4)
        month, day = self.rng.randint(1, 12), self.rng.randint(1, 28)
        if self.language == "ko":
            near = self.rng.choice(("내일", "모레", "오늘"))
            return (
                near,
                f"다음 주 {self.day()}",
                f"{month}월 {day}일",
                f"이번 주 {self.rng.choice(('토요일', '일요일'))}",
            )[pick]
        near = self.rng.choice(("tomorrow", "today", "the day after tomorrow"))
        return (near, f"next {self.day()}", f"{_MONTHS[month - 1]} {day}", f"on {_MONTHS[month - 1]} {day}")[pick]

    def time(self) -> str:
        """A time of day, as people say it."""
        hour, half = self.rng.randint(1, 11), self.rng.random() < 0.3
        if self.language == "ko":
            return f"{self.rng.choice(('오전', '오후'))} {hour}시{' 30분' if half else ''}"
        return f"at {hour}{':30' if half else ''}{self.rng.choice(('am', 'pm'))}"

    def path(self, *endings: str) -> str:
        """The name of a file."""
        stem = self._kept(self._stem)
        return f"{stem}.{self.rng.choice(endings or _FILE_ENDINGS)}"

    def url(self) -> str:
        """The address of a page."""
        host = f"{self._kept(self._stem)}.{self.rng.choice(_ENDINGS)}"
        return f"https://{host}/{self.rng.choice(_DOMAINS)}"

    def _kept(self, draw) -> str:  # noqa: ANN001 - any draw of this class
        while is_held_out(word := draw()) != self.held_out:
            pass
        return word

    def _korean_name(self) -> str:
        pick = self.rng.choice
        return pick(_FAMILY) + pick(_SYLLABLES) + pick(_SYLLABLES)

    def _english_name(self) -> str:
        return f"{self._given()} {self._surname()}"

    def _given(self) -> str:
        return self.rng.choice(_STARTS) + self.rng.choice(_ENDS)

    def _surname(self) -> str:
        return self.rng.choice(_SURNAMES) + self.rng.choice(_SURNAME_ENDS)

    def _address(self) -> str:
        pick = self.rng.choice
        local = pick((self._given, self._surname, self._english_name))().lower().replace(" ", pick((".", "_", "")))
        number = self.rng.randint(1, 99) if self.rng.random() < 0.3 else ""
        return f"{local}{number}@{pick(_STARTS).lower()}{pick(_DOMAINS)}.{pick(_ENDINGS)}"

    def _topic(self) -> str:
        pick = partial(self.rng.choice)
        return f"{pick(_MODIFIERS[self.language])} {pick(_NOUNS[self.language])}"

    def _stem(self) -> str:
        pick = self.rng.choice
        first, second = pick(_MODIFIERS["en"]), pick(_NOUNS["en"])
        return pick((f"{first}-{second}", f"{first}_{self.rng.randint(1, 99)}", f"{self._surname().lower()}-{second}"))
