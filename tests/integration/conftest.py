"""Fixtures for tests with real servers and real git."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.mirrors import Site, open_site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Open a git server with the empty repository `web`."""
    async with open_site(tmp_path) as site:
        yield site
