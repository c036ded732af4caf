"""Fixtures for tests with real servers and real git."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.mirrors import Site, open_site
from support.seed_site import SeedSite
from support.servers import REGION, open_s3_client

from asyncbuild.local.servers.children import LocalServer


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Open a git server with the empty repository `web`."""
    async with open_site(tmp_path) as site:
        yield site


@pytest.fixture
async def seeds(site: Site, seaweedfs: LocalServer) -> AsyncIterator[SeedSite]:
    """Open a git server and an empty bucket."""
    bucket = f"seeds-{uuid.uuid4()}"
    async with open_s3_client(seaweedfs, s3={"addressing_style": "path"}) as client:
        await client.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield SeedSite(site, seaweedfs.endpoint_url, bucket, client)
