"""Why an archive is made anew although an older one might do."""


class FallBack(Exception):
    """Make it anew. `reason` is one of a few words, to be counted; `detail` is for people."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail
