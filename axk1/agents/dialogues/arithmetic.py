"""Arithmetic of whole numbers, for the world's ``calculate``."""

import ast
import operator
from collections.abc import Callable

from axk1.agents.tool import ToolRefusal

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


def value_of(expression: str) -> int:
    """The value of sums, differences and products of whole numbers. Raises ToolRefusal for anything else."""
    try:
        return _value(ast.parse(expression[:200], mode="eval").body)
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError):
        raise ToolRefusal(f"{expression[:200]!r} is no sum, difference or product of whole numbers") from None


def _value(node: ast.expr) -> int:
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    raise TypeError(type(node).__name__)
