"""DynamoDB's expressions on top-level attributes, as functions of an item and the expression's values.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html
"""

import functools
import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

Item = dict[str, dict[str, Any]]
Values = Mapping[str, dict[str, Any]]
Operand = Callable[[Item, Values], dict[str, Any] | None]
Condition = Callable[[Item, Values], bool]
Names = tuple[tuple[str, str], ...]

_TOKEN = re.compile(r"\s*(<=|>=|<>|[=<>(),+-]|[:#]?[A-Za-z_][\w.]*)")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def comparable(value: dict[str, Any]) -> Any:
    """An attribute's value as Python compares it."""
    ((kind, content),) = value.items()
    return Decimal(content) if kind == "N" else content


@functools.cache
def condition(text: str, names: Names) -> Condition:
    """A condition, filter or key condition."""
    parser = _Parser(text, names)
    parsed = parser.disjunction()
    parser.end()
    return parsed


@functools.cache
def update(text: str, names: Names) -> Callable[[Item, Values], None]:
    """An update expression: a function that changes the item."""
    parser = _Parser(text, names)
    actions = []
    while not parser.is_at_end():
        actions += parser.clause()

    def apply(item: Item, values: Values) -> None:
        before = dict(item)
        for action in actions:
            action(before, item, values)

    return apply


class _Parser:
    def __init__(self, text: str, names: Names) -> None:
        self._tokens: list[str] = []
        self._names = dict(names)
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if not match:
                raise ValueError(f"the model does not understand {text[at:]!r}")
            self._tokens.append(match[1])
            at = match.end()
        self._at = 0

    def is_at_end(self) -> bool:
        return self._at >= len(self._tokens)

    def end(self) -> None:
        if not self.is_at_end():
            raise ValueError(f"the model does not understand {self._tokens[self._at :]}")

    def disjunction(self) -> Condition:
        left = self._conjunction()
        while self._accept("OR"):
            left = _either(left, self._conjunction())
        return left

    def clause(self) -> list[Callable[[Item, Item, Values], None]]:
        """One of SET, REMOVE and ADD with what follows it."""
        keyword = self._next().upper()
        one = {"SET": self._set, "REMOVE": self._remove, "ADD": self._add}[keyword]
        actions = [one()]
        while self._accept(","):
            actions.append(one())
        return actions

    def _conjunction(self) -> Condition:
        left = self._term()
        while self._accept("AND"):
            left = _both(left, self._term())
        return left

    def _term(self) -> Condition:
        if self._accept("NOT"):
            negated = self._term()
            return lambda item, values: not negated(item, values)
        if self._accept("("):
            inner = self.disjunction()
            self._expect(")")
            return inner
        if self._peek() in {"attribute_exists", "attribute_not_exists", "begins_with", "contains"}:
            return self._function()
        left = self._operand()
        if self._accept("BETWEEN"):
            low = self._operand()
            self._expect("AND")
            high = self._operand()
            return _both(_compare(">=", left, low), _compare("<=", left, high))
        return _compare(self._next(), left, self._operand())

    def _function(self) -> Condition:
        function = self._next()
        self._expect("(")
        first = self._operand()
        second = self._operand() if self._accept(",") else None
        self._expect(")")
        match function:
            case "attribute_exists":
                return lambda item, values: first(item, values) is not None
            case "attribute_not_exists":
                return lambda item, values: first(item, values) is None
        assert second
        if function == "begins_with":
            return _compared(lambda a, b: bool(a.startswith(b)), first, second)
        return _compared(lambda a, b: b in a, first, second)

    def _operand(self) -> Operand:
        token = self._next()
        if token == "if_not_exists":  # noqa: S105
            self._expect("(")
            attribute = self._operand()
            self._expect(",")
            otherwise = self._operand()
            self._expect(")")
            return lambda item, values: attribute(item, values) or otherwise(item, values)
        if token.startswith(":"):
            return lambda item, values: values[token]
        name = self._name(token)
        return lambda item, values: item.get(name)

    def _set(self) -> Callable[[Item, Item, Values], None]:
        name = self._name(self._next())
        self._expect("=")
        value = self._operand()
        if self._peek() in {"+", "-"}:
            sign = 1 if self._next() == "+" else -1
            value = _sum(value, self._operand(), sign)

        def action(before: Item, item: Item, values: Values) -> None:
            found = value(before, values)
            assert found is not None
            item[name] = found

        return action

    def _remove(self) -> Callable[[Item, Item, Values], None]:
        name = self._name(self._next())

        def action(before: Item, item: Item, values: Values) -> None:
            item.pop(name, None)

        return action

    def _add(self) -> Callable[[Item, Item, Values], None]:
        name, token = self._name(self._next()), self._next()

        def action(before: Item, item: Item, values: Values) -> None:
            added = Decimal(values[token]["N"]) + Decimal(before.get(name, {"N": "0"})["N"])
            item[name] = {"N": str(added)}

        return action

    def _name(self, token: str) -> str:
        if "." in token:
            raise ValueError("the model knows top-level attributes only")
        return self._names[token] if token.startswith("#") else token

    def _peek(self) -> str:
        return "" if self.is_at_end() else self._tokens[self._at]

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _accept(self, token: str) -> bool:
        if self._peek().upper() != token:
            return False
        self._at += 1
        return True

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise ValueError(f"the model expects {token} before {self._tokens[self._at :]}")


def _both(left: Condition, right: Condition) -> Condition:
    return lambda item, values: left(item, values) and right(item, values)


def _either(left: Condition, right: Condition) -> Condition:
    return lambda item, values: left(item, values) or right(item, values)


def _compare(comparator: str, left: Operand, right: Operand) -> Condition:
    return _compared(_COMPARE[comparator], left, right)


def _compared(compare: Callable[[Any, Any], bool], left: Operand, right: Operand) -> Condition:
    def holds(item: Item, values: Values) -> bool:
        one, other = left(item, values), right(item, values)
        if one is None or other is None or one.keys() != other.keys():
            return False
        return compare(comparable(one), comparable(other))

    return holds


def _sum(left: Operand, right: Operand, sign: int) -> Operand:
    def value(item: Item, values: Values) -> dict[str, Any]:
        one, other = left(item, values), right(item, values)
        assert one
        assert other
        return {"N": str(Decimal(one["N"]) + sign * Decimal(other["N"]))}

    return value
