"""Rows as the fake takes them in, by the platform's own rules."""

from ingrain import row_rules
from ingrain.testing.store import Refused


class Rows(row_rules.RowChecker):
    def read(self, content: bytes) -> list[str]:
        """The rows of JSONL as they are stored, one line each."""
        checked = map(self.check_line, content.split(b"\n"))
        rows = [self.fitting(row).decode() for row in checked if row is not None]
        if not rows:
            raise Refused("INVALID_ARGUMENT", "EMPTY_DATASET", "the data set has no rows", "rows")
        return rows

    def refused(self, reason: str, message: str, field: str, row: int) -> Refused:
        return Refused("INVALID_ARGUMENT", reason, message, field, row=row)
