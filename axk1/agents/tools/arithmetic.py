"""Arithmetic: exact, by a parser of our own small grammar; nothing is evaluated as a program.

    sum     = product (("+" | "-") product)*
    product = power (("*" | "/" | "%" | "×" | "÷") power)*
    power   = ("-" | "+") power | value ("^" power)?
    value   = number | "(" sum ")" | function "(" sum ("," sum)* ")" | date
    number  = digits with "," and ".", then "%", or units: 만, 억, 조, 천, 백

Two dates less one another are days; a date and a number of days are a date.
"""

import re
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from axk1.agents.tool import Effect, Outcome, Tool, ToolContext, ToolRefusal, tool

Value = Fraction | date
_UNITS = {"십": 10, "백": 100, "천": 1000, "만": 10**4, "억": 10**8, "조": 10**12}
_TOKEN = re.compile(
    r"\s*(?:(?P<date>\d{4}-\d{2}-\d{2})|(?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)|(?P<unit>[십백천만억조])|(?P<name>[a-z]+)"
    r"|(?P<sign>\*\*|[-+*/^%(),×÷−]))"
)
_IN_LIST = re.compile(_TOKEN.pattern.replace(r"\d{1,3}(?:,\d{3})+(?!\d)|", ""))
"""The same between the parentheses of a function, where a comma parts its values."""
_LONGEST, _DEEPEST, _LARGEST_POWER, _MOST_DIGITS = 1000, 60, 1000, 2000
_FUNCTIONS: dict[str, Callable[..., Fraction]] = {
    "abs": abs,
    "floor": lambda x: Fraction(x.__floor__()),
    "ceil": lambda x: Fraction(x.__ceil__()),
    "round": lambda x, n=Fraction(0): _rounded(x, n),
    "min": min,
    "max": max,
    "sum": lambda *xs: sum(xs, Fraction(0)),
    "mean": lambda *xs: sum(xs, Fraction(0)) / len(xs),
}


@tool(effect=Effect.READ)
def calculate(context: ToolContext, expression: str) -> Outcome:
    """Calculates exactly: + - * / ^ %, parentheses, round, floor, ceil, min, max, mean; 3만 5천; 2026-11-23 + 30."""
    del context
    return Outcome({"expression": expression, "result": written(evaluate(expression))})


def evaluate(expression: str) -> Value:
    """The value of an expression. Raises ToolRefusal that says where it is wrong."""
    if len(expression) > _LONGEST:
        raise ToolRefusal(f"expression has {len(expression)} characters; allowed: {_LONGEST}")
    parser = _Parser(expression)
    value = parser.sum()
    parser.expect_end()
    return value


def written(value: Value) -> str:
    """A value in digits: exact where it ends, otherwise to 12 places with the fraction beside it."""
    if isinstance(value, date):
        return value.isoformat()
    if value.denominator == 1:
        return str(value.numerator)
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest == 1 and value.denominator.bit_length() < 200:
        digits = Decimal(value.numerator) / Decimal(value.denominator)
        if Fraction(digits) == value:
            return f"{digits.normalize():f}"
    return f"{float(value):.12g} ({value.numerator}/{value.denominator})"


class _Parser:
    """Reads an expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth, self._lists = text, 0, 0, 0
        self._kind, self._token = "", ""
        self._next()

    def sum(self) -> Value:
        """A sum, which is the whole grammar."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ToolRefusal("the expression is nested too deeply")
        value = self._product()
        while self._token in ("+", "-", "−"):
            sign = -1 if self._take() in ("-", "−") else 1
            value = self._added(value, self._product(), sign)
        self._depth -= 1
        return value

    def expect_end(self) -> None:
        """Raises ToolRefusal where something is left."""
        if self._kind:
            raise self._wrong(f"{self._token!r} is not expected there")

    def _product(self) -> Value:
        value = self._power()
        while self._token in ("*", "/", "%", "×", "÷"):
            sign = self._take()
            one, other = self._number(value), self._number(self._power())
            if sign in ("/", "÷", "%") and other == 0:
                raise ToolRefusal("a division by zero")
            value = _checked(one * other if sign in ("*", "×") else one / other if sign in ("/", "÷") else one % other)
        return value

    def _power(self) -> Value:
        if self._token in ("-", "−", "+"):
            self._depth += 1
            if self._depth > _DEEPEST:
                raise ToolRefusal("the expression is nested too deeply")
            sign, value = self._take(), self._power()
            self._depth -= 1
            return self._number(value) * (1 if sign == "+" else -1)
        value = self._value()
        if self._token not in ("^", "**"):
            return value
        self._take()
        base, power = self._number(value), self._number(self._power())
        if power.denominator != 1 or abs(power) > _LARGEST_POWER:
            raise ToolRefusal(f"a power of {written(power)}; allowed: whole numbers up to {_LARGEST_POWER}")
        if base == 0 and power < 0:
            raise ToolRefusal("a division by zero")
        if max(abs(base.numerator), base.denominator).bit_length() * abs(power) > 4 * _MOST_DIGITS:
            raise ToolRefusal("the result has too many digits")
        return base ** int(power)

    def _value(self) -> Value:
        if self._kind == "date":
            try:
                return date.fromisoformat(self._take())
            except ValueError as error:
                raise self._wrong(str(error)) from None
        if self._kind in ("number", "unit"):
            return self._digits()
        if self._kind == "name":
            return self._function()
        if self._token == "(":
            self._take()
            value = self.sum()
            self._expect(")")
            return value
        raise self._wrong("a number is expected there")

    def _digits(self) -> Fraction:
        """``3만 5천``, ``1.5억``, ``12,000``, ``15%``."""
        total, begun = Fraction(0), False
        while self._kind in ("number", "unit"):
            if begun and self._kind == "number" and not self._has_unit():
                if total and self._last_unit:
                    total += self._plain(self._take())
                break
            total, begun = self._with_units(total), True
        if self._token == "%" and self._is_percent():
            self._take()
            total /= 100
        return total

    _last_unit = False

    def _with_units(self, total: Fraction) -> Fraction:
        number = self._plain(self._take()) if self._kind == "number" else Fraction(1)
        self._last_unit = False
        while self._kind == "unit":
            number, self._last_unit = number * _UNITS[self._take()], True
        return total + number

    def _has_unit(self) -> bool:
        """Whether the number here is followed by a unit, as in the second part of ``3만 5천``."""
        found = _TOKEN.match(self._text, self._at)
        return bool(found and found.lastgroup == "unit")

    def _is_percent(self) -> bool:
        """``15% of`` is a share; ``15 % 4`` is a rest."""
        found = _TOKEN.match(self._text, self._at)
        return not found or (found.lastgroup == "sign" and found[found.lastgroup] != "(")

    def _function(self) -> Fraction:
        name = self._take()
        if name not in _FUNCTIONS:
            raise ToolRefusal(f"{name!r} is not a function; allowed: {', '.join(_FUNCTIONS)}")
        self._lists += 1
        self._expect("(")
        values = [self._number(self.sum())]
        while self._token == ",":
            self._take()
            values.append(self._number(self.sum()))
        self._lists -= 1
        self._expect(")")
        try:
            return _FUNCTIONS[name](*values)
        except TypeError:
            if name in ("min", "max"):
                return values[0]
            raise ToolRefusal(f"{name} does not take {len(values)} values") from None

    def _added(self, one: Value, other: Value, sign: int) -> Value:
        if isinstance(one, date) and isinstance(other, date):
            if sign > 0:
                raise ToolRefusal("two dates cannot be added")
            return Fraction((one - other).days)
        if isinstance(one, date) or isinstance(other, date):
            day, days = (one, other) if isinstance(one, date) else (other, one)
            if isinstance(other, date) and sign < 0:
                raise ToolRefusal("a date cannot be taken from a number")
            try:
                return day + timedelta(days=sign * int(self._number(days)))
            except OverflowError:
                raise ToolRefusal("the date is out of range") from None
        return _checked(one + sign * other)

    def _plain(self, token: str) -> Fraction:
        return Fraction(token.replace(",", ""))

    def _number(self, value: Value) -> Fraction:
        if isinstance(value, date):
            raise ToolRefusal("a date can only be added to days, or taken from another date")
        return value

    def _expect(self, token: str) -> None:
        if self._token != token:
            raise self._wrong(f"{token!r} is expected there")
        self._take()

    def _take(self) -> str:
        token = self._token
        self._next()
        return token

    def _next(self) -> None:
        if not self._text[self._at :].strip():
            self._kind = self._token = ""
            return
        found = (_IN_LIST if self._lists else _TOKEN).match(self._text, self._at)
        if found is None:
            raise self._wrong(f"{self._text[self._at :].strip()[:1]!r} is not known here")
        self._kind, self._at = str(found.lastgroup), found.end()
        self._token = found[self._kind]

    def _wrong(self, why: str) -> ToolRefusal:
        return ToolRefusal(f"expression = {self._text!r} at character {self._at}: {why}")


def _checked(value: Fraction) -> Fraction:
    if max(abs(value.numerator), value.denominator).bit_length() > 4 * _MOST_DIGITS:
        raise ToolRefusal("the result has too many digits")
    return value


def _rounded(value: Fraction, digits: Fraction) -> Fraction:
    """Half away from zero, as people round."""
    if digits.denominator != 1 or abs(digits) > 100:
        raise ToolRefusal("round takes a whole number of digits up to 100")
    scale = Fraction(10) ** int(digits)
    whole = (abs(value) * scale + Fraction(1, 2)).__floor__()
    return Fraction(whole if value >= 0 else -whole) / scale


def arithmetic_tools() -> list[Tool]:
    """The tools of this file."""
    return [calculate]
