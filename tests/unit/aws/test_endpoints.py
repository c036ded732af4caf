"""The endpoint of a bucket is chosen once, whatever the keys."""

import botocore.loaders
import pytest
from botocore.endpoint_provider import RuleSet

from asyncbuild.aws.session import Aws
from asyncbuild.config.settings import Settings


def test_no_rule_for_endpoints_of_s3_reads_a_key() -> None:
    """So the clients need not tell it."""
    found = botocore.loaders.Loader().load_service_model("s3", "endpoint-rule-set-1")
    assert "Key" in found["parameters"]
    assert "'Bucket'" in repr(found["rules"])
    assert "'Key'" not in repr(found["rules"])


async def test_the_second_key_of_a_bucket_needs_no_look_at_the_rules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The two URLs are those of the keys all the same."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    looks = []
    evaluate = RuleSet.evaluate

    def look(rules: RuleSet, parameters: dict[str, object]) -> object:
        looks.append(parameters)
        return evaluate(rules, parameters)

    monkeypatch.setattr(RuleSet, "evaluate", look)
    settings = Settings.model_validate({"aws": {"region": "eu-west-1"}})
    async with Aws(settings).open_s3(pool=1) as client:
        urls = [
            await client.generate_presigned_url(
                "get_object", Params={"Bucket": "archives", "Key": key}
            )
            for key in ("a.zip", "b.zip")
        ]
    assert [url.partition("?")[0].rpartition("/")[2] for url in urls] == ["a.zip", "b.zip"]
    assert len(looks) == 1
