"""Events as values: each event is a class, and its fields are those of its line in the log.

A stage tells what happens by `emit` (`runtime/emit.py`); the log, the page, Prometheus, CloudWatch,
traces and the demo's board subscribe and `match` on the class, so that no stage knows any of them.
A class is named as its event is: `push.built` is `PushBuilt`. Names, levels and fields are an
interface: `docs/observability.md` lists them, and a test compares. There are no other lines in the
log, not even for debugging.
"""
