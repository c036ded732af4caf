"""Token bucket: how long bytes must wait so that a link keeps to its rate. Reads no clock."""


class TokenBucket:
    """Bytes that may pass at a rate, and at once as many as have been saved up.

    Args:
        bytes_per_second: The rate.
        burst_bytes: The most that is saved up while nothing passes.
    """

    def __init__(self, bytes_per_second: float, burst_bytes: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._burst_seconds = burst_bytes / bytes_per_second
        self._paid_until = float("-inf")  # the moment at which all that has passed is paid for

    def take(self, nbytes: int, now: float) -> float:
        """Take so many bytes; return the seconds to wait before they may pass.

        Args:
            nbytes: Bytes that are to pass.
            now: The moment, of any clock that does not go backwards, in seconds.
        """
        begun = max(self._paid_until, now - self._burst_seconds)
        self._paid_until = begun + nbytes / self._bytes_per_second
        return max(0.0, self._paid_until - now)
