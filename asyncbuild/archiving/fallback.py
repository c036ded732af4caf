"""Why an archive is made anew although an older one might do."""


class FallBack(Exception):
    """Make it anew. `reason` is one of a few words, to be counted; `detail` is for people.

    `changes` is how many paths differ from the base, if they were counted.
    """

    def __init__(self, reason: str, detail: str = "", *, changes: int = 0) -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail
        self.changes = changes
