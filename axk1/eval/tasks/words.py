"""Tasks in words: weekdays, lists, animals, siblings, squares."""

import datetime
import re
from typing import ClassVar

from reasoning_gym.arithmetic.leg_counting import ANIMALS
from reasoning_gym.logic.aiw import TaskType

from axk1.eval.tasks.task import Entry, Language, Options, Questions, Task

_WEEKDAYS: dict[Language, tuple[str, ...]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "ko": ("월요일", "화요일", "수요일", "목요일", "금요일", "토요일", "일요일"),
}


class WeekdayArithmetic(Task):
    """The day of the week some days from now or ago, day by day."""

    name = "calendar_arithmetic"
    options: ClassVar[Options] = {"tasks": ["weekday_offset"], "offset_upper_bound": 7}
    questions: ClassVar[Questions] = {
        "en": (
            "Today is {today}. What day {will_be} {when}?",
            "If today is {today}, what day of the week {will_be} {when}?",
        ),
        "ko": (
            "오늘은 {today}입니다. {when:은/는} 무슨 요일{will_be}?",
            "오늘이 {today}이라면 {when:은/는} 무슨 요일{will_be}?",
        ),
    }
    _WILL_BE: ClassVar[dict[Language, tuple[str, str]]] = {"en": ("will it be", "was it"), "ko": ("인가요", "이었나요")}

    def operands(self, entry: Entry) -> str:
        return f"{self._start(entry)}{entry['metadata']['offset_days']:+d}"

    def fields(self, entry: Entry, language: Language) -> dict[str, str]:
        offset = entry["metadata"]["offset_days"]
        days = abs(offset)
        plural = "day" if days == 1 else "days"
        return {
            "today": _WEEKDAYS[language][self._start(entry)],
            "will_be": self._WILL_BE[language][offset < 0],
            "when": {
                "en": f"in {days} {plural}" if offset > 0 else f"{days} {plural} ago",
                "ko": f"{days}일 {'뒤' if offset > 0 else '전'}",
            }[language],
        }

    def reasoning(self, entry: Entry, language: Language) -> str:
        offset = entry["metadata"]["offset_days"]
        step = 1 if offset > 0 else -1
        days = [_WEEKDAYS[language][(self._start(entry) + step * i) % 7] for i in range(1, abs(offset) + 1)]
        return ", ".join(f"{i} {day}" for i, day in enumerate(days, start=1))

    def answer(self, entry: Entry, language: Language) -> str:
        return _WEEKDAYS[language][_WEEKDAYS["en"].index(entry["answer"])]

    def to_gym(self, answer: str) -> str:
        if answer in _WEEKDAYS["ko"]:
            return _WEEKDAYS["en"][_WEEKDAYS["ko"].index(answer)]
        return answer

    def _start(self, entry: Entry) -> int:
        return datetime.date.fromisoformat(entry["metadata"]["start_date"]).weekday()


class NumberFiltering(Task):
    """Three digits, of which those above or below a limit stay or go."""

    name = "number_filtering"
    options: ClassVar[Options] = {
        "min_numbers": 3,
        "max_numbers": 3,
        "min_decimals": 0,
        "max_decimals": 0,
        "min_value": 1,
        "max_value": 9,
    }
    questions: ClassVar[Questions] = {
        "en": (
            "{action} numbers {comparison} than {limit}: {numbers}",
            "In {numbers}, {action_inside} numbers {comparison} than {limit}.",
        ),
        "ko": ("{limit}보다 {comparison} 수{action}: {numbers}", "{numbers}에서 {limit}보다 {comparison} 수{action}."),
    }
    _WORDS: ClassVar[dict[Language, dict[str, str]]] = {
        "en": {"keep": "Keep only", "remove": "Remove", "larger": "larger", "smaller": "smaller"},
        "ko": {"keep": "만 남기세요", "remove": "를 빼세요", "larger": "큰", "smaller": "작은"},
    }
    _STAYS: ClassVar[dict[Language, tuple[str, str]]] = {"en": ("drop", "keep"), "ko": ("뺌", "남김")}

    def operands(self, entry: Entry) -> str:
        metadata = entry["metadata"]
        return f"{metadata['operation']},{metadata['filter_value']},{'/'.join(metadata['original_numbers'])}"

    def fields(self, entry: Entry, language: Language) -> dict[str, str]:
        metadata, words = entry["metadata"], self._WORDS[language]
        action, comparison = metadata["operation"].split("_")
        return {
            "action": words[action],
            "action_inside": words[action].lower(),
            "comparison": words[comparison],
            "limit": metadata["filter_value"],
            "numbers": str(metadata["original_numbers"]),
        }

    def reasoning(self, entry: Entry, language: Language) -> str:
        metadata = entry["metadata"]
        limit = int(metadata["filter_value"])
        kept, steps = set(metadata["result"]), []
        for number in metadata["original_numbers"]:
            sign = "<" if int(number) < limit else ">" if int(number) > limit else "="
            steps.append(f"{number}{sign}{limit} {self._STAYS[language][number in kept]}")
        return ", ".join(steps)


class LegCounting(Task):
    """The legs of some animals of one kind."""

    name = "leg_counting"
    options: ClassVar[Options] = {"min_animals": 1, "max_animals": 1, "min_instances": 1, "max_instances": 9}
    questions: ClassVar[Questions] = {
        "en": ("How many legs {do} {animals} have?", "Count the legs of {animals}."),
        "ko": ("{animals}의 다리는 모두 몇 개인가요?", "{animals:이/가} 있습니다. 다리는 모두 몇 개인가요?"),
    }

    def operands(self, entry: Entry) -> str:
        return "{1} {0}".format(*self._animal(entry))

    def fields(self, entry: Entry, language: Language) -> dict[str, str]:
        animal, count = self._animal(entry)
        return {"animals": counted(animal, count, language), "do": "does" if count == 1 else "do"}

    def reasoning(self, entry: Entry, language: Language) -> str:
        animal, count = self._animal(entry)
        return f"{counted(animal, 1, language)} {ANIMALS[animal]}, {count}*{ANIMALS[animal]}={entry['answer']}"

    def _animal(self, entry: Entry) -> tuple[str, int]:
        ((animal, count),) = entry["metadata"]["animals"].items()
        return animal, count


class AliceInWonderland(Task):
    """The brother of a girl with some sisters has one sister more."""

    name = "aiw"
    options: ClassVar[Options] = {
        "task_types": [TaskType.SIBLINGS],
        "task_type_weights": [1.0],
        "max_entities": 9,
    }
    questions: ClassVar[Questions] = {
        "en": (
            "{name} has {brothers} and {sisters}. How many sisters does {name}'s brother have?",
            "{name} has {sisters} and {brothers}. How many sisters does her brother have?",
        ),
        "ko": (
            "{name:은/는} 남자 형제가 {males}명, 여자 형제가 {females}명입니다. 남자 형제에게 여자 형제는 몇 명인가요?",
            "{name:은/는} 여자 형제가 {females}명, 남자 형제가 {males}명입니다. 남자 형제에게 여자 형제는 몇 명인가요?",
        ),
    }

    def operands(self, entry: Entry) -> str:
        _, males, females = self._people(entry)
        return f"{males},{females}"

    def fields(self, entry: Entry, language: Language) -> dict[str, str | int]:
        name, males, females = self._people(entry)
        return {
            "name": _NAMES[name] if language == "ko" else name,
            "males": males,
            "females": females,
            "brothers": f"{males} brother{'' if males == 1 else 's'}",
            "sisters": f"{females} sister{'' if females == 1 else 's'}",
        }

    def reasoning(self, entry: Entry, language: Language) -> str:
        _, _, females = self._people(entry)
        return f"{females}+1={entry['answer']}"

    def _people(self, entry: Entry) -> tuple[str, int, int]:
        """The woman's name, how many brothers and how many sisters she has."""
        question = entry["question"]
        males = re.search(r"(\d+) brothers", question)[1]
        females = re.search(r"(\d+) sisters", question)[1]
        return question.split()[0], int(males), int(females)


class RotateMatrix(Task):
    """A square of four digits, turned clockwise; read around first."""

    name = "rotate_matrix"
    options: ClassVar[Options] = {"min_n": 2, "max_n": 2, "min_rotations": 1, "max_rotations": 3}
    questions: ClassVar[Questions] = {
        "en": ("Rotate by {degrees} degrees clockwise:\n{matrix}", "Turn this clockwise by {degrees}°:\n{matrix}"),
        "ko": (
            "시계 방향으로 {degrees}도 돌리세요:\n{matrix}",
            "다음을 시계 방향으로 {degrees}° 회전하세요:\n{matrix}",
        ),
    }

    def operands(self, entry: Entry) -> str:
        metadata = entry["metadata"]
        return f"{metadata['num_rotations'] % 4},{metadata['matrix']}"

    def fields(self, entry: Entry, language: Language) -> dict[str, str]:
        metadata = entry["metadata"]
        rows = [" ".join(map(str, row)) for row in metadata["matrix"]]
        return {"degrees": str(90 * metadata["num_rotations"]), "matrix": "\n".join(rows)}

    def reasoning(self, entry: Entry, language: Language) -> str:
        (a, b), (c, d) = entry["metadata"]["matrix"]
        return f"{a} {b} {d} {c}"


def counted(animal: str, count: int, language: Language) -> str:
    """A number of animals in words: ``3 ants``, ``개미 3마리``."""
    if language == "ko":
        return f"{_KOREAN[animal]} {count}{'명' if animal == 'human' else '마리'}"
    return f"{count} {animal if count == 1 else _PLURALS.get(animal, animal + 's')}"


_PLURALS: dict[str, str] = {
    "jellyfish": "jellyfish",
    "leech": "leeches",
    "deer": "deer",
    "sheep": "sheep",
    "starfish": "starfish",
    "butterfly": "butterflies",
    "cockroach": "cockroaches",
    "praying mantis": "praying mantises",
    "firefly": "fireflies",
    "shrimp": "shrimp",
    "woodlouse": "woodlice",
}
_KOREAN: dict[str, str] = {
    "snake": "뱀",
    "sea slug": "바다달팽이",
    "jellyfish": "해파리",
    "flatworm": "납작벌레",
    "leech": "거머리",
    "chicken": "닭",
    "bird": "새",
    "human": "사람",
    "duck": "오리",
    "dog": "개",
    "cat": "고양이",
    "cow": "소",
    "horse": "말",
    "lion": "사자",
    "elephant": "코끼리",
    "giraffe": "기린",
    "tiger": "호랑이",
    "deer": "사슴",
    "sheep": "양",
    "starfish": "불가사리",
    "insect": "곤충",
    "ant": "개미",
    "butterfly": "나비",
    "beetle": "딱정벌레",
    "bee": "벌",
    "wasp": "말벌",
    "grasshopper": "메뚜기",
    "cricket": "귀뚜라미",
    "cockroach": "바퀴벌레",
    "praying mantis": "사마귀",
    "firefly": "반딧불이",
    "spider": "거미",
    "scorpion": "전갈",
    "crab": "게",
    "lobster": "바닷가재",
    "shrimp": "새우",
    "woodlouse": "쥐며느리",
}
_NAMES: dict[str, str] = {
    "Mary": "메리",
    "Patricia": "퍼트리샤",
    "Jennifer": "제니퍼",
    "Linda": "린다",
    "Elizabeth": "엘리자베스",
    "Barbara": "바버라",
    "Susan": "수전",
    "Jessica": "제시카",
    "Sarah": "세라",
    "Margaret": "마거릿",
    "Alice": "앨리스",
}
