"""Rows as they come in, by the rules that the SDK has too."""

from ingrain import row_rules
from ingrain.row_rules import GREATEST_LINE_BYTES, Row
from servicekit.errors import Invalid

__all__ = ["GREATEST_LINE_BYTES", "Row", "RowChecker"]


class RowChecker(row_rules.RowChecker):
    def refused(self, reason: str, message: str, field: str, row: int) -> Invalid:
        return Invalid(reason, message, field=field, row=row)
