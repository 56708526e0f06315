"""Tasks on small whole numbers: sums, equations, complex numbers, divisors, primes."""

import math
import re
from typing import ClassVar

from axk1.eval.tasks.task import Entry, Language, Options, Questions, Task

_SO: dict[Language, str] = {"en": "so", "ko": "답은"}


def so(answer: object, language: Language) -> str:
    """The last step of a line of reasoning: the answer."""
    return f"{_SO[language]} {answer}"


class ChainSum(Task):
    """Two digits, added or subtracted."""

    name = "chain_sum"
    options: ClassVar[Options] = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    questions: ClassVar[Questions] = {
        "en": ("What is {expression}?", "Calculate {expression}."),
        "ko": ("{expression:은/는} 얼마인가요?", "{expression:을/를} 계산하세요."),
    }

    def operands(self, entry: Entry) -> str:
        left, sign, right = _parts(entry)
        return f"{left}-{right}" if sign == "-" else f"{min(left, right)}+{max(left, right)}"

    def fields(self, entry: Entry, language: Language) -> dict[str, str]:
        return {"expression": entry["metadata"]["expression"]}

    def reasoning(self, entry: Entry, language: Language) -> str:
        left, sign, right = _parts(entry)
        if sign == "-" and left < right:
            return f"{right}-{left}={right - left}, {left}<{right}, {so(entry['answer'], language)}"
        return f"{left}{sign}{right}={entry['answer']}"


class SimpleEquations(Task):
    """One unknown, added to a digit or subtracted from or by it."""

    name = "simple_equations"
    options: ClassVar[Options] = {
        "min_terms": 2,
        "max_terms": 2,
        "max_value": 9,
        "operators": ("+", "-"),
        "operators_weights": [0.5, 0.5],
    }
    questions: ClassVar[Questions] = {
        "en": ("{question}", "If {equation}, what is {variable}?"),
        "ko": ("{equation}일 때 {variable:은/는} 얼마인가요?", "{equation}에서 {variable:을/를} 구하세요."),
    }

    def operands(self, entry: Entry) -> str:
        metadata = entry["metadata"]
        return metadata["equation"].replace(metadata["variable"], "x").replace(" ", "")

    def fields(self, entry: Entry, language: Language) -> dict[str, str]:
        return {"equation": entry["metadata"]["equation"], "variable": entry["metadata"]["variable"]}

    def reasoning(self, entry: Entry, language: Language) -> str:
        return f"{entry['metadata']['variable']}={_isolated(self.operands(entry))}={entry['answer']}"


class ComplexArithmetic(Task):
    """Two complex numbers with small parts, added or subtracted."""

    name = "complex_arithmetic"
    options: ClassVar[Options] = {
        "min_real": 0,
        "max_real": 5,
        "min_imag": 0,
        "max_imag": 5,
        "operations": ("+", "-"),
        "operations_weights": [0.5, 0.5],
    }
    questions: ClassVar[Questions] = {
        "en": ("What is {expression}?", "Calculate {expression}."),
        "ko": ("{expression:은/는} 얼마인가요?", "{expression:을/를} 계산하세요."),
    }

    def operands(self, entry: Entry) -> str:
        metadata = entry["metadata"]
        terms = [_complex(metadata["num1"]), _complex(metadata["num2"])]
        return metadata["operation"].join(sorted(terms) if metadata["operation"] == "+" else terms)

    def fields(self, entry: Entry, language: Language) -> dict[str, str]:
        metadata = entry["metadata"]
        left, right = _complex(metadata["num1"]), _complex(metadata["num2"])
        return {"expression": f"({left}) {metadata['operation']} ({right})"}

    def reasoning(self, entry: Entry, language: Language) -> str:
        metadata = entry["metadata"]
        sign = metadata["operation"]
        pairs = zip(metadata["num1"], metadata["num2"], metadata["result"], strict=True)
        return ", ".join(f"{int(left)}{sign}{int(right)}={result}" for left, right, result in pairs)

    def answer(self, entry: Entry, language: Language) -> str:
        return _complex(entry["metadata"]["result"])


class GreatestCommonDivisor(Task):
    """The greatest common divisor of two numbers, by Euclid's remainders."""

    name = "gcd"
    options: ClassVar[Options] = {"min_numbers": 2, "max_numbers": 2, "min_value": 1, "max_value": 20}
    questions: ClassVar[Questions] = {
        "en": ("What is the greatest common divisor of {first} and {second}?", "Find the GCD of {first} and {second}."),
        "ko": ("{first:과/와} {second}의 최대공약수는 얼마인가요?", "{first:과/와} {second}의 최대공약수를 구하세요."),
    }

    def operands(self, entry: Entry) -> str:
        return ",".join(map(str, sorted(entry["metadata"]["numbers"])))

    def fields(self, entry: Entry, language: Language) -> dict[str, int]:
        first, second = entry["metadata"]["numbers"]
        return {"first": first, "second": second}

    def reasoning(self, entry: Entry, language: Language) -> str:
        smaller, larger = sorted(entry["metadata"]["numbers"])
        steps = []
        while smaller:
            steps.append(f"{larger}%{smaller}={larger % smaller}")
            larger, smaller = smaller, larger % smaller
        return f"{', '.join(steps)}, {so(math.gcd(*entry['metadata']['numbers']), language)}"


class CountPrimes(Task):
    """The primes in a short interval, one after another."""

    name = "count_primes"
    options: ClassVar[Options] = {"min_n": 1, "max_n": 30}
    questions: ClassVar[Questions] = {
        "en": ("How many primes are there from {start} to {end}?", "Count the primes from {start} to {end}."),
        "ko": ("{start}부터 {end}까지 소수는 몇 개인가요?", "{start}부터 {end}까지의 소수를 세어 보세요."),
    }

    def operands(self, entry: Entry) -> str:
        return f"{entry['metadata']['start']}..{entry['metadata']['end']}"

    def fields(self, entry: Entry, language: Language) -> dict[str, int]:
        return {"start": entry["metadata"]["start"], "end": entry["metadata"]["end"]}

    def reasoning(self, entry: Entry, language: Language) -> str:
        primes = entry["metadata"]["primes"]
        steps = [f"{i}) {prime}" for i, prime in enumerate(primes, start=1)]
        return ", ".join([*steps, so(len(primes), language)])


def _parts(entry: Entry) -> tuple[int, str, int]:
    left, sign, right = entry["metadata"]["expression"].split()
    return int(left), sign, int(right)


def _isolated(equation: str) -> str:
    """The sum that gives x: x+5=12 -> 12-5, x-5=-2 -> 5-2, x-5=7 -> 7+5, 5-x=-7 -> 5+7, 5-x=2 -> 5-2."""
    left, right = equation.split("=")
    result = int(right)
    if left.startswith("x+"):
        return f"{result}-{left[2:]}"
    if left.startswith("x-"):
        return f"{result}+{left[2:]}" if result >= 0 else f"{left[2:]}-{-result}"
    number = re.fullmatch(r"(\d+)-x", left)[1]
    return f"{number}-{result}" if result >= 0 else f"{number}+{-result}"


def _complex(parts: tuple[float, float]) -> str:
    real, imaginary = map(int, parts)
    return f"{real} {'-' if imaginary < 0 else '+'} {abs(imaginary)}i"
