"""Tables that may be repeated: `[[accounts]]` and `[[rules]]`."""

from collections.abc import Iterable, Mapping
from typing import Self

from pydantic import Field, field_validator, model_validator

from asyncbuild.config.sections import Section, Texts
from asyncbuild.domain.archive_options import (
    ArchiveOptions,
    ExportAttributes,
    Lfs,
    Submodules,
    check_pathspec,
    check_subtree,
)
from asyncbuild.domain.contents.compared_content import ChangesSince
from asyncbuild.domain.key_template import check_template
from asyncbuild.domain.model import Action
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.rules.rule_keys import key_of
from asyncbuild.domain.rules.rule_variables import variable_fault
from asyncbuild.domain.rules.skip_markers import check_marker


class AccountSettings(Section):
    """Entry of `[[accounts]]`: an account that owns repositories, and the role that pulls them."""

    account: str = Field(pattern=r"^\d{12}$")
    role_arn: str = Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")
    regions: tuple[str, ...] = ()
    external_id: str | None = None
    session_name: str = "asyncbuild"


class RuleSettings(Section):
    """Entry of `[[rules]]`: the first that matches a push decides. `!` before a glob excludes."""

    name: str = ""
    repository: Texts = ("*",)
    ref: Texts = ("refs/heads/*",)
    action: Action
    project: Texts = ()
    pipeline: Texts = ()
    # CodePipeline API, ActionName
    source_action: str = Field(default="", pattern=r"^[A-Za-z0-9.@_-]{0,100}$")
    key: str | None = None
    variables: Mapping[str, str] = Field(default_factory=dict)
    changes: Texts = ()
    changes_since: ChangesSince = ChangesSince.PUSH
    final: bool = True
    subtree: str = ""
    paths: Texts = ()
    export_attributes: ExportAttributes = ExportAttributes.HONOUR
    submodules: Submodules = Submodules.EMPTY
    lfs: Lfs = Lfs.POINTERS
    cancel_superseded: bool = False
    skip: Texts = ()

    @property
    def options(self) -> ArchiveOptions:
        """Options of the archive, as one value."""
        return ArchiveOptions(
            subtree=self.subtree,
            paths=self.paths,
            export_attributes=self.export_attributes,
            submodules=self.submodules,
            lfs=self.lfs,
        )

    @field_validator("repository", "ref")
    @classmethod
    def _something_included(cls, globs: tuple[str, ...]) -> tuple[str, ...]:
        if not any(glob and not glob.startswith("!") for glob in globs):
            msg = 'names nothing to include; begin with a glob without "!", such as "*"'
            raise ValueError(msg)
        return globs

    @field_validator("subtree")
    @classmethod
    def _is_directory(cls, subtree: str) -> str:
        return check_subtree(subtree) if subtree else subtree

    @field_validator("changes", "paths")
    @classmethod
    def _are_pathspecs(cls, pathspecs: tuple[str, ...]) -> tuple[str, ...]:
        checked = []
        for each in pathspecs:
            try:
                checked.append(check_pathspec(each))
            except ValueError as error:
                msg = f"{each!r} {error}"
                raise ValueError(msg) from error
        return tuple(checked)

    @field_validator("skip")
    @classmethod
    def _are_markers(cls, markers: tuple[str, ...]) -> tuple[str, ...]:
        checked = []
        for each in markers:
            try:
                checked.append(check_marker(each))
            except ValueError as error:
                msg = f"{each!r} {error}"
                raise ValueError(msg) from error
        return tuple(checked)

    @field_validator("variables")
    @classmethod
    def _names_are_free(cls, variables: Mapping[str, str]) -> Mapping[str, str]:
        faults = [fault for name in variables if (fault := variable_fault(name))]
        if faults:
            raise ValueError("; ".join(faults))
        return variables

    @model_validator(mode="after")
    def _templates(self) -> Self:
        for template in (
            *self.project,
            *self.pipeline,
            *self.variables.values(),
            self.key or "",
        ):
            check_template(template)
        return self

    @model_validator(mode="after")
    def _compares_something(self) -> Self:
        """Refuse a comparison without anything that is compared, or started."""
        if self.changes_since is ChangesSince.PUSH:
            return self
        if not self.changes:
            msg = "changes_since says what changes is compared with; add changes, or leave it out"
            raise ValueError(msg)
        if self.action not in {Action.BUILD, Action.PIPELINE}:
            msg = f'changes_since is not used with action = "{self.action}", which starts nothing'
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _names_what_it_starts(self) -> Self:
        """Refuse settings that the action does not use: the user probably meant another action."""
        starts = self.action is Action.PIPELINE
        if starts and not any(self.pipeline):
            msg = 'names no pipeline; add pipeline = "NAME", or choose another action'
            raise ValueError(msg)
        if not starts and (self.pipeline or self.source_action):
            name = "pipeline" if self.pipeline else "source_action"
            msg = f'{name} is used with action = "pipeline" only; set that, or leave it out'
            raise ValueError(msg)
        if starts and self.project:
            msg = 'project is not used with action = "pipeline"; leave it out'
            raise ValueError(msg)
        if self.cancel_superseded and self.action not in {Action.BUILD, Action.PIPELINE}:
            msg = 'cancel_superseded is used with action "build" or "pipeline"; leave it out'
            raise ValueError(msg)
        if self.skip and self.action is Action.IGNORE:
            msg = 'skip is not used with action = "ignore", which builds nothing; leave it out'
            raise ValueError(msg)
        return self


def default_rules() -> tuple[RuleSettings, ...]:
    """Return the default rules: upload every branch, build all but three.

    The script that this service replaced did the same.
    """
    kept = ("refs/heads/test", "refs/heads/develop", "refs/heads/staging")
    return (
        RuleSettings(name="deployment-branches", ref=kept, action=Action.UPLOAD),
        RuleSettings(name="every-branch", action=Action.BUILD),
    )


def fill_rules(
    rules: Iterable[RuleSettings],
    *,
    key: str,
    project: str,
    buildspec: str = "",
    reserved: tuple[str, ...] = (),
) -> tuple[Rule, ...]:
    """Return `[[rules]]` with the defaults of `[storage]` and `[builds]` filled in.

    Args:
        rules: The entries, in their order.
        key: Default template of keys (`storage.key`).
        project: Default template of projects (`builds.project`).
        buildspec: Build commands of all projects (`builds.buildspec`).
        reserved: Prefixes that no archive's key may have: those of records and of seeds.
    """
    return tuple(
        Rule(
            name=rule.name or f"rules[{number}]",
            repository=rule.repository,
            ref=rule.ref,
            action=rule.action,
            projects=rule.project or (project,),
            key=rule.key or key_of(key, rule.options),
            variables=rule.variables,
            pipelines=rule.pipeline,
            source_action=rule.source_action,
            options=rule.options,
            changes=rule.changes,
            changes_since=rule.changes_since,
            final=rule.final,
            buildspec=buildspec,
            reserved=reserved,
            cancel_superseded=rule.cancel_superseded,
            skip=rule.skip,
        )
        for number, rule in enumerate(rules)
    )
