"""The page."""

from aiohttp import web

from asyncbuild.status.survey import Survey


def add_page(app: web.Application, survey: Survey) -> None:
    """Routes."""
