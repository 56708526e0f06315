"""Check digits of numbers that states and banks give out: a string of digits -> whether it can be such a number."""

import datetime


def _weighted(digits: str, weights: str) -> int:
    return sum(int(digit) * int(weight) for digit, weight in zip(digits, weights, strict=False))


def is_resident(digits: str) -> bool:
    """Korean resident registration number (13 digits). Numbers given out since October 2020 are random and may fail."""
    return (11 - _weighted(digits[:12], "234567892345") % 11) % 10 == int(digits[12])


def is_foreigner(digits: str) -> bool:
    """Korean alien registration number (13 digits), of the form before October 2020."""
    return (13 - _weighted(digits[:12], "234567892345") % 11) % 10 == int(digits[12])


def is_business(digits: str) -> bool:
    """Korean business registration number (10 digits)."""
    total = _weighted(digits[:9], "137137135") + int(digits[8]) * 5 // 10
    return (10 - total % 10) % 10 == int(digits[9])


def is_corporate(digits: str) -> bool:
    """Korean corporation registration number (13 digits)."""
    return (10 - _weighted(digits[:12], "121212121212") % 10) % 10 == int(digits[12])


def is_luhn(digits: str) -> bool:
    """Payment card number (ISO/IEC 7812-1)."""
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return sum(one - 9 if one > 9 else one for one in doubled) % 10 == 0


def is_iban(code: str) -> bool:
    """International bank account number (ISO 13616), without spaces, in capitals."""
    turned = code[4:] + code[:4]
    return int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1


def is_date(year: int, month: int, day: int) -> bool:
    """Whether the calendar has this day."""
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    return True


def is_birthday(digits: str) -> bool:
    """Whether the first seven of 13 digits are a birthday and the digit that tells the century."""
    century = {"1": 1900, "2": 1900, "5": 1900, "6": 1900, "3": 2000, "4": 2000, "7": 2000, "8": 2000}.get(digits[6])
    return century is not None and is_date(century + int(digits[:2]), int(digits[2:4]), int(digits[4:6]))
