"""Questions about builds and batches to the stand-in for CodeBuild: shared calls, unknown ids."""

from support.codebuild import open_codebuild_client
from support.codepipeline import open_codepipeline_client
from support.codepipeline_server import open_codepipeline_standin, pipeline_of

from asyncbuild.domain.results.build_result import BuildStatus, StartedId, StartedKind
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.codebuild_server import open_codebuild_standin
from asyncbuild.local.servers.stored_build import batch_document
from asyncbuild.results.build_questions import BuildQuestions
from asyncbuild.results.facts.attempt_facts import AttemptFacts
from asyncbuild.runtime.tasks import both


async def test_batches_and_builds_are_asked_for_apart() -> None:
    """Each by a call with a right of its own; what the service does not know is left out."""
    async with (
        open_codebuild_standin(["web"]) as standin,
        open_codebuild_client(standin.endpoint_url) as codebuild,
        open_codepipeline_client(standin.endpoint_url) as codepipeline,  # never asked
    ):
        standin.script = Script(queued_seconds=0, build_seconds=0)
        answer = await codebuild.start_build(projectName="web")
        number = answer["build"]["id"].rpartition(":")[2]
        batch = batch_document("web:b1", "FAILED", begun=1, until=2)
        standin.batches[batch["id"]] = batch
        questions = BuildQuestions(codebuild, codepipeline)
        of_batch = StartedId(StartedKind.BATCH, "web", "b1")
        of_build = StartedId(StartedKind.BUILD, "web", number)
        gone = StartedId(StartedKind.BATCH, "web", "none")
        found = await questions.ask_all([of_batch, of_build, gone])
        assert {of: _status(each) for of, each in found.items()} == {
            of_batch: BuildStatus.FAILED,
            of_build: BuildStatus.SUCCEEDED,
        }
        alone, unknown = await both(lambda: questions.ask(of_batch), lambda: questions.ask(gone))
        assert _status(alone) is BuildStatus.FAILED
        assert unknown is None


async def test_all_actions_of_an_execution_are_read() -> None:
    """Their number tells the attempt: with the newest page alone it could go back."""
    async with (
        open_codepipeline_standin() as standin,
        open_codepipeline_client(standin.endpoint_url) as codepipeline,
        open_codebuild_client(standin.endpoint_url) as codebuild,  # never asked
    ):
        standin.run_seconds, standin.actions_a_page = 0, 1
        standin.put_pipeline(pipeline := pipeline_of("deploy"))
        answer = await codepipeline.start_pipeline_execution(name="deploy")
        of = StartedId(StartedKind.EXECUTION, "deploy", answer["pipelineExecutionId"])
        facts = await BuildQuestions(codebuild, codepipeline).ask(of)
        assert _status(facts) is BuildStatus.SUCCEEDED
        actions = sum(len(stage["actions"]) for stage in pipeline["stages"])
        assert standin.calls["ListActionExecutions"] == actions > 1


def _status(facts: object) -> BuildStatus:
    assert isinstance(facts, AttemptFacts)
    return facts.result.status
