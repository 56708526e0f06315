"""Whether calls are those that BFCL accepts: its rule for Python functions, written anew from its description.

A call must name the function, give every required parameter and no unknown one, and each value must be of the declared
type and one of those allowed. Texts are compared without case, spaces and the signs ``,./-_*^``; a whole number stands
for a real one; ``""`` among the allowed values means that the parameter may be left out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

TYPES: Mapping[str, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "any": str,
}
Call = tuple[str, Mapping[str, Any]]
"""A function's name and its arguments."""


def all_match(
    calls: Sequence[Call], accepted: Sequence[Mapping[str, Any]], functions: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether the calls are the accepted ones, in any order.

    Args:
        calls: what the model called.
        accepted: BFCL's ``ground_truth``: function -> parameter -> allowed values.
        functions: BFCL's descriptions of the functions.
    """
    if len(calls) != len(accepted):
        return False
    left = list(calls)
    for one in accepted:
        ((name, parameters),) = one.items()
        function = next(function for function in functions if function["name"] == name)
        found = next((place for place, call in enumerate(left) if matches(call, parameters, function)), None)
        if found is None:
            return False
        del left[found]
    return True


def matches(call: Call, accepted: Mapping[str, Sequence[Any]], function: Mapping[str, Any]) -> bool:
    """Whether one call is an accepted one."""
    name, arguments = call
    declared = function["parameters"]["properties"]
    if name != function["name"] or any(one not in arguments for one in function["parameters"]["required"]):
        return False
    if any(one not in declared or one not in accepted for one in arguments):
        return False
    if any(one not in arguments and "" not in allowed for one, allowed in accepted.items()):
        return False
    return all(_value_matches(value, accepted[one], declared[one]) for one, value in arguments.items())


def _value_matches(value: Any, allowed: Sequence[Any], declared: Mapping[str, Any]) -> bool:
    expected = TYPES[declared["type"]]
    if declared["type"] == "float" and type(value) is int:
        value = float(value)
    kind = next((type(one) for one in allowed if one != ""), expected)
    is_other = kind is not expected  # BFCL's way to say: the name of a variable
    if type(value) is not expected:
        return type(value) is kind and value in allowed
    inner = TYPES[declared["items"]["type"]] if declared["type"] in ("array", "tuple") else None
    if inner is not None and not any(_items_fit(value, one, inner) for one in allowed):
        return False
    if is_other:
        return value in allowed
    if expected is dict:
        return any(_dict_matches(value, one) for one in allowed if one != "")
    if expected is list and inner is dict:
        return any(_dicts_match(value, one) for one in allowed if isinstance(one, list))
    if expected is str:
        return plain(value) in [plain(one) for one in allowed if isinstance(one, str)]
    if expected is list:
        return [plain(one) for one in value] in [[plain(part) for part in one] for one in allowed]
    return value in allowed


def _items_fit(value: Sequence[Any], allowed: Any, inner: type) -> bool:
    if not isinstance(allowed, list):
        return True
    kinds = {inner, *(type(one) for one in allowed if one != "")}
    return all(type(item) in kinds for item in value)


def _dicts_match(values: Sequence[Any], allowed: Sequence[Mapping[str, Any]]) -> bool:
    return len(values) == len(allowed) and all(map(_dict_matches, values, allowed))


def _dict_matches(value: Mapping[str, Any], allowed: Mapping[str, Sequence[Any]]) -> bool:
    if any(key not in allowed for key in value):
        return False
    if any(key not in value and "" not in values for key, values in allowed.items()):
        return False
    return all(plain(one) in [plain(each) for each in allowed[key]] for key, one in value.items())


def plain(value: Any) -> Any:
    """A text without what BFCL does not count; anything else as it is."""
    return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"') if isinstance(value, str) else value
