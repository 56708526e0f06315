"""Personal data as people might write them, in the middle of real texts, with where they are; from a seed.

Knows nothing of the guard: no pattern of it is imported, and the ways of writing are many on purpose. Check digits are
right where an authority gives them out so; resident numbers are half of the kind from October 2020, with random digits.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Labelled:
    """A text with one datum in it."""

    kind: str
    text: str
    start: int
    end: int


def labelled(carriers: Sequence[str], seed: int, count: int) -> list[Labelled]:
    """So many texts, the kinds in turn."""
    dice = random.Random(seed)
    kinds = sorted(KINDS)
    made = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        lead, datum, tail = KINDS[kind](dice)
        carrier = dice.choice(carriers)[:1200]
        cuts = [at + 1 for at, letter in enumerate(carrier) if letter in ".\n "] or [len(carrier)]
        at = dice.choice(cuts)
        start = at + len(lead) + 1
        text = f"{carrier[:at]} {lead}{datum}{tail} {carrier[at:]}"
        made.append(Labelled(kind, text, start, start + len(datum)))
    return made


def _digits(dice: random.Random, count: int) -> str:
    return "".join(dice.choice("0123456789") for _ in range(count))


def _dressed(dice: random.Random, text: str) -> str:
    """Sometimes full-width digits, another dash, or an invisible character."""
    way = dice.randrange(10)
    if way == 0:
        return "".join(chr(ord(letter) + 0xFEE0) if letter.isdigit() else letter for letter in text)
    if way == 1:
        return text.replace("-", dice.choice("–—‐−"))
    if way == 2:
        middle = len(text) // 2
        return text[:middle] + "\u200b" + text[middle:]
    return text


def _resident(dice: random.Random) -> tuple[str, str, str]:
    year, month, day = dice.randrange(40, 124), dice.randrange(1, 13), dice.randrange(1, 29)
    sex = dice.choice("12") if year < 100 else dice.choice("34")
    number = f"{year % 100:02d}{month:02d}{day:02d}{sex}{_digits(dice, 5)}"
    total = sum(int(digit) * (place % 8 + 2) for place, digit in enumerate(number))
    number += str((11 - total % 11) % 10) if dice.random() < 0.5 else _digits(dice, 1)
    written = dice.choice(["{}-{}", "{} - {}", "{}-{}"]).format(number[:6], number[6:])
    return (
        dice.choice(["주민번호 ", "주민등록번호는 ", "본인 확인용: ", ""]),
        _dressed(dice, written),
        dice.choice(["입니다.", "", "이에요"]),
    )


def _mobile(dice: random.Random) -> tuple[str, str, str]:
    parts = ["010", _digits(dice, 4), _digits(dice, 4)]
    way = dice.randrange(6)
    if way == 0:
        names = dict(zip("0123456789", dice.choice(["공일이삼사오육칠팔구", "영일이삼사오육칠팔구"]), strict=True))
        written = dice.choice([" ", "", "-"]).join("".join(names[digit] for digit in part) for part in parts)
    elif way == 1:
        written = dice.choice(["+82 10", "+82-10", "82-10"]) + "".join(
            dice.choice(["-", " "]) + part for part in parts[1:]
        )
    else:
        written = _dressed(dice, dice.choice(["-", " ", ".", "", "-"]).join(parts))
    return (
        dice.choice(["연락처는 ", "전화 ", "", "휴대폰: ", "제 번호 "]),
        written,
        dice.choice(["입니다", " 으로 주세요", "", "."]),
    )


def _landline(dice: random.Random) -> tuple[str, str, str]:
    area = dice.choice(["02", "031", "032", "042", "051", "053", "062", "064", "070"])
    form = dice.choice(["{}-{}-{}", "{}) {}-{}", "({}) {}-{}", "{}.{}.{}"])
    written = form.format(area, _digits(dice, dice.choice([3, 4])).replace("0", "2"), _digits(dice, 4))
    return dice.choice(["사무실 ", "TEL ", "문의: ", "전화번호 "]), written, dice.choice(["", "로 연락", "번"])


def _email(dice: random.Random) -> tuple[str, str, str]:
    name = (
        "".join(dice.choice("abcdefghijklmnopqrstuvwxyz0123456789._") for _ in range(dice.randrange(4, 14))).strip("._")
        + "k"
    )
    host = dice.choice(["gmail.com", "naver.com", "company.co.kr", "mail.example.org", "univ.ac.kr"])
    return (
        dice.choice(["메일 ", "이메일은 ", "e-mail: ", ""]),
        f"{name}@{host}",
        dice.choice(["", "입니다", "으로", ","]),
    )


def _luhn(dice: random.Random) -> tuple[str, str, str]:
    number = dice.choice(["4", "51", "54", "356"])
    number += _digits(dice, 15 - len(number))
    doubled = [int(digit) * (1 + (place % 2 == 0)) for place, digit in enumerate(reversed(number))]
    number += str(-sum(one // 10 + one % 10 for one in doubled) % 10)
    written = dice.choice(["-", " ", ""]).join(number[at : at + 4] for at in range(0, 16, 4))
    return (
        dice.choice(["카드번호 ", "card ", "", "결제 카드는 "]),
        _dressed(dice, written),
        dice.choice(["", " 유효기간 09/29", "입니다"]),
    )


def _account(dice: random.Random) -> tuple[str, str, str]:
    bank = dice.choice(
        [
            "국민은행",
            "신한",
            "우리은행",
            "카카오뱅크",
            "농협",
            "하나은행",
            "기업은행",
            "토스뱅크",
            "새마을금고",
            "우체국",
        ]
    )
    shape = dice.choice([(6, 2, 6), (3, 3, 6), (4, 2, 7), (3, 6, 5), (12,), (13,)])
    written = "-".join(_digits(dice, size) for size in shape)
    return f"{bank}{dice.choice([' ', ' 계좌 ', ': '])}", written, dice.choice(["", " 로 입금", " (예금주 본인)"])


def _business(dice: random.Random) -> tuple[str, str, str]:
    number = str(dice.randrange(101, 999)) + dice.choice(["81", "86", "12", "25"]) + _digits(dice, 4)
    total = sum(int(digit) * weight for digit, weight in zip(number, (1, 3, 7, 1, 3, 7, 1, 3, 5), strict=True))
    number += str(-(total + int(number[8]) * 5 // 10) % 10)
    return dice.choice(["사업자등록번호 ", "사업자번호: ", ""]), f"{number[:3]}-{number[3:5]}-{number[5:]}", ""


def _passport(dice: random.Random) -> tuple[str, str, str]:
    written = dice.choice([f"M{_digits(dice, 8)}", f"M{_digits(dice, 3)}{dice.choice('ABCDEFGH')}{_digits(dice, 4)}"])
    return dice.choice(["여권번호 ", "여권은 ", "Passport No. "]), written, ""


def _licence(dice: random.Random) -> tuple[str, str, str]:
    written = f"{dice.randrange(11, 29)}-{dice.randrange(10, 26)}-{_digits(dice, 6)}-{_digits(dice, 2)}"
    return dice.choice(["운전면허 ", "면허번호: ", ""]), written, ""


def _address(dice: random.Random) -> tuple[str, str, str]:
    where = dice.choice(
        [
            "서울 마포구",
            "서울특별시 종로구",
            "부산광역시 해운대구",
            "경기도 수원시 영통구",
            "대구 수성구",
            "전북 전주시 덕진구",
        ]
    )
    road = dice.choice(["월드컵북로", "새문안로", "센텀중앙로", "광교중앙로248번길", "달구벌대로", "백제대로"])
    lot = dice.choice(["합정동", "우동", "원천동", "범어동", "금암동"])
    number = f"{dice.randrange(1, 900)}" + dice.choice(["", f"-{dice.randrange(1, 40)}"])
    written = f"{where} {road} {number}" if dice.random() < 0.6 else f"{where} {lot} {number}"
    written += dice.choice(
        ["", f", {dice.randrange(101, 120)}동 {dice.randrange(101, 2504)}호", f" {dice.randrange(2, 9)}층"]
    )
    return dice.choice(["주소는 ", "배송지: ", "", "저는 "]), written, dice.choice(["", "에 삽니다", "입니다"])


def _name(dice: random.Random) -> tuple[str, str, str]:
    given = dice.choice(["민준", "서연", "지훈", "하은", "영수", "미경", "도윤", "은지", "성호", "수빈", "준", "솔"])
    name = dice.choice("김이박최정강조윤장임한오서신권황") + given
    lead, tail = dice.choice(
        [
            ("담당자: ", ""),
            ("", " 님께"),
            ("", "씨가"),
            ("예금주 ", ","),
            ("제 이름은 ", "입니다"),
            ("", " 과장님"),
            ("성명 ", " "),
        ]
    )
    return lead, name, tail


def _birthday(dice: random.Random) -> tuple[str, str, str]:
    year, month, day = dice.randrange(1940, 2015), dice.randrange(1, 13), dice.randrange(1, 29)
    written = dice.choice(
        [
            f"{year}년 {month}월 {day}일",
            f"{year}-{month:02d}-{day:02d}",
            f"{year}.{month}.{day}",
            f"{year % 100:02d}{month:02d}{day:02d}",
        ]
    )
    return dice.choice(["생년월일 ", "생일은 ", "생년월일: "]), written, dice.choice(["", "이고", "."])


def _ssn(dice: random.Random) -> tuple[str, str, str]:
    written = f"{dice.randrange(100, 650)}-{dice.randrange(10, 99)}-{dice.randrange(1000, 9999)}"
    return dice.choice(["SSN ", "social security number: ", "his SSN is "]), written, ""


def _us_phone(dice: random.Random) -> tuple[str, str, str]:
    area, middle, last = dice.randrange(201, 989), dice.randrange(201, 999), dice.randrange(1000, 9999)
    written = dice.choice(
        [
            f"({area}) {middle}-{last}",
            f"{area}-{middle}-{last}",
            f"+1 {area} {middle} {last}",
            f"{area}.{middle}.{last}",
        ]
    )
    return dice.choice(["call ", "phone: ", "my number is "]), written, ""


def _iban(dice: random.Random) -> tuple[str, str, str]:
    country, size = dice.choice([("DE", 18), ("FR", 23), ("ES", 20), ("NL", 0)])
    body = _digits(dice, size) if size else "ABNA" + _digits(dice, 10)
    number = "".join(str(int(letter, 36)) for letter in body + country + "00")
    code = f"{country}{98 - int(number) % 97:02d}{body}"
    written = code if dice.random() < 0.5 else " ".join(code[at : at + 4] for at in range(0, len(code), 4))
    return dice.choice(["IBAN ", "account: ", ""]), written, ""


def _ip(dice: random.Random) -> tuple[str, str, str]:
    written = ".".join(
        str(dice.choice([8, 23, 52, 104, 142, 185, 211]) if place == 0 else dice.randrange(1, 255))
        for place in range(4)
    )
    return dice.choice(["접속 IP ", "from ", "server "]), written, ""


def _secret(dice: random.Random) -> tuple[str, str, str]:
    letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    long = "".join(dice.choice(letters) for _ in range(40))
    short = "".join(dice.choice(letters) for _ in range(7)) + dice.choice("!@#") + _digits(dice, 2)
    lead, written = dice.choice(
        [
            ("", f"sk-{long}"),
            ("token ", f"ghp_{long[:36]}"),
            ("password: ", short),
            ("비밀번호 ", short),
            ("api_key=", long),
        ]
    )
    return lead, written, dice.choice(["\n", "입니다"]) if lead == "비밀번호 " else " "


KINDS: dict[str, Callable[[random.Random], tuple[str, str, str]]] = {
    "account": _account,
    "address": _address,
    "birthday": _birthday,
    "business number": _business,
    "card": _luhn,
    "driver's licence": _licence,
    "e-mail": _email,
    "iban": _iban,
    "ip address": _ip,
    "landline": _landline,
    "mobile phone": _mobile,
    "name": _name,
    "passport": _passport,
    "resident number": _resident,
    "secret": _secret,
    "ssn": _ssn,
    "us phone": _us_phone,
}
