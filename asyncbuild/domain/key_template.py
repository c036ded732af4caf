"""Templates of S3 keys: fields of a push that they may contain. Pure."""

from string import Formatter

FIELDS = (
    *("account", "region", "repository", "ref", "branch", "kind", "commit", "short_commit"),
    "options",
)


def is_own(commit: str, key: str) -> bool:
    """Return whether a key names this commit; then its object may be overwritten at any time."""
    return commit[:12] in key


def check_template(template: str) -> None:
    """Refuse a template with a field that a push does not have.

    Raises:
        ValueError: The template has such a field; the text names it and the known ones.
    """
    for _, name, spec, conversion in Formatter().parse(template):
        if name is not None and (name not in FIELDS or spec or conversion):
            known = ", ".join(f"{{{each}}}" for each in FIELDS)
            msg = f"{{{name}}} is not a field of a push; there are {known}"
            raise ValueError(msg)
