"""Pushes with files that are large for git's memory, beside one without."""

import random
import zipfile
from io import BytesIO

from support.events import body
from support.repositories import SourceRepository
from support.service import environment, open_service, read_dead_letters, send, wait_settled

from asyncbuild.local.servers import journal
from asyncbuild.local.stack import BUCKET, open_stack

_MIB = 1024 * 1024


async def test_large_files_are_built_or_rejected_with_the_number() -> None:
    """A file stored whole is built; as a delta beyond the memory it is a dead letter."""
    noise = random.Random(1).randbytes(48 * _MIB)  # noqa: S311 - incompressible, not secret
    async with open_stack(["whole", "delta", "small"]) as stack:
        whole, delta, small = (
            SourceRepository(stack.directory / "remotes" / name)
            for name in ("whole", "delta", "small")
        )
        commits = {"whole": whole.commit({"large": noise}), "small": small.commit({"a": b"1"})}
        delta.commit({"large": noise + b"longer: what git makes the base"})
        commits["delta"] = delta.commit({"large": noise})
        delta.git("repack", "-adfq", "--depth=1", "--window=2")
        for name, commit in commits.items():
            made = {"event": "referenceCreated", "oldCommitId": None}
            await send(stack, body(repositoryName=name, commitId=commit, **made), name)
        git = {"memory_budget_bytes": 192 * _MIB, "depth": 0}
        async with open_service(environment(stack, git=git)) as service:
            await wait_settled(stack)
            assert [each for each in service.log if each.get("event") == "archive.large"]
        built = {each.project: each.variables["COMMIT_ID"] for each in journal.read(stack.journal)}
        assert built == {name: commits[name] for name in ("whole", "small")}
        (letter,) = await read_dead_letters(stack)
        reason = letter["MessageAttributes"]["Reason"]["StringValue"]
        assert "git.memory_budget_bytes is 201326592" in reason
        found = await stack.s3.list_objects_v2(Bucket=BUCKET)
        (key,) = (each["Key"] for each in found["Contents"] if commits["whole"] in each["Key"])
        content = await (await stack.s3.get_object(Bucket=BUCKET, Key=key))["Body"].read()
        assert zipfile.ZipFile(BytesIO(content)).read("large") == noise
