"""The expression language of `data` templates: expr-lang's, parsed by lark and evaluated within bounds (spec 5.21)."""

from lifecycle.expression.evaluate import Limits, evaluate
from lifecycle.expression.parse import parse

__all__ = ["Limits", "evaluate", "parse"]
