"""Adds, subtracts, multiplies and divides: four plugins in one distribution."""

from pluginapi import Operation, PluginError


class Add(Operation):
    """a + b."""

    symbol = "+"

    def execute(self, a: float, b: float) -> float:
        return a + b


class Subtract(Operation):
    """a - b."""

    symbol = "-"

    def execute(self, a: float, b: float) -> float:
        return a - b


class Multiply(Operation):
    """a * b."""

    symbol = "*"

    def execute(self, a: float, b: float) -> float:
        return a * b


class Divide(Operation):
    """a / b."""

    symbol = "/"

    def execute(self, a: float, b: float) -> float:
        if b == 0:
            raise PluginError("division by zero")
        return a / b


NewAdd, NewSubtract, NewMultiply, NewDivide = Add, Subtract, Multiply, Divide
