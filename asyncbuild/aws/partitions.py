"""Partitions of AWS: the domain names of their regions, as botocore knows them.

botocore is imported when the first region is looked up: repositories of other hosts have none.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from asyncbuild.domain.errors import Reject

if TYPE_CHECKING:
    from botocore.regions import EndpointResolver


@lru_cache(maxsize=64)
def dns_suffix(region: str) -> str:
    """Return the domain of the region's partition: `amazonaws.com`, in China `amazonaws.com.cn`.

    Raises:
        Reject: The region does not belong to a partition that botocore knows.
    """
    from botocore import exceptions as boto  # noqa: PLC0415 - see above

    resolver = _endpoints()
    try:
        partition = resolver.get_partition_for_region(region)
    except boto.BotoCoreError as error:
        raise Reject(f"region {region!a} belongs to no AWS partition") from error
    return str(resolver.get_partition_dns_suffix(partition))


@lru_cache(maxsize=1)
def _endpoints() -> "EndpointResolver":
    from botocore.loaders import create_loader  # noqa: PLC0415 - see above
    from botocore.regions import EndpointResolver  # noqa: PLC0415 - see above

    return EndpointResolver(create_loader().load_data("endpoints"))
