"""Why a training cannot be."""


class CannotTrain(Exception):
    """Trying again would not help. `reason` is UPPER_SNAKE, `message` says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message
