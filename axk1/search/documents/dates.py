"""The day of a document, from what its metadata or its file name say."""

import datetime
import re

_DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)(?:([-_.]?)(\d\d)\2(\d\d)(?!\d)|년\s*(\d{1,2})월\s*(\d{1,2})일)")


def day_of(value: object) -> str:
    """YYYY-MM-DD from a date, a time, or a text that begins with or holds one; empty where there is none.

    Understands ``2024-03-01``, ``20240301``, ``2024.03.01``, ``2024_03_01`` and ``2024년 3월 1일``.
    """
    if isinstance(value, datetime.date):  # a datetime is one too
        return value.strftime("%Y-%m-%d") if value.year >= 1900 else ""
    for match in _DAY.finditer(str(value or "")):
        year, _, month, day, korean_month, korean_day = match.groups()
        try:
            return datetime.date(int(year), int(month or korean_month), int(day or korean_day)).isoformat()
        except ValueError:
            continue  # digits that are no day
    return ""
