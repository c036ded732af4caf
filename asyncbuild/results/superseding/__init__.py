"""Stops of running builds that a newer push of their ref has superseded."""
