"""Questions to builds about the files that they got, and the answers. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from asyncbuild.checks.judges.probe_answer import Answer, Question
from asyncbuild.checks.judges.probe_zips import (
    DESCRIPTORS,
    FILES_BEYOND_ZIP32,
    LINKS,
    NAMES,
    Member,
)
from asyncbuild.checks.judges.probe_zips import wide_members as _wide_members

VARIABLE: Final = "ASYNCBUILD_PROBE_TOLD"


@dataclass(frozen=True, slots=True)
class Asked:
    """One value that the build reports: its question, the shell command, and the expected value."""

    question: Question
    shell: str
    wanted: str


@dataclass(frozen=True, slots=True)
class ProbeArchive:
    """One archive, and the questions to a build about it."""

    name: str
    members: Callable[[], list[Member]]
    asked: tuple[Asked, ...]

    def buildspec(self) -> str:
        """Return a buildspec that needs nothing of the archive and reports by an exported variable.

        `exportedEnvironmentVariables` come with BatchGetBuilds (API reference, Build): no log has
        to be read.
        """
        return (
            "version: 0.2\n"
            "env:\n"
            "  exported-variables:\n"
            f"    - {VARIABLE}\n"
            "phases:\n"
            "  build:\n"
            "    commands:\n"
            "      - |\n" + "".join(f"        {line}\n" for line in self.script())
        )

    def script(self) -> tuple[str, ...]:
        """Return lines for a POSIX shell that set the variable; it runs in the archive's folder."""
        told = ";".join(f"$({each.shell})" for each in self.asked)
        return _KIND, f'export {VARIABLE}="{told}"'

    def judge(self, build: Mapping[str, Any]) -> Iterator[Answer]:
        """Yield the answers of a build that has ended, as BatchGetBuilds describes it."""
        told = {
            each["name"]: each.get("value", "")
            for each in build.get("exportedEnvironmentVariables", [])
        }.get(VARIABLE)
        if told is None:
            yield from (_answer_without_report(each.question, build) for each in self.asked)
            return
        answers = told.split(";")
        if len(answers) != len(self.asked):
            yield from (each.question.unknown(f"the build told {told!r}") for each in self.asked)
            return
        for each, seen in zip(self.asked, answers, strict=True):
            if seen == each.wanted:
                yield each.question.yes(f"the build saw {seen}")
            else:
                yield each.question.no(f"the build saw {seen or 'nothing'}, not {each.wanted}")


def _answer_without_report(question: Question, build: Mapping[str, Any]) -> Answer:
    for phase in build.get("phases", []):
        if phase.get("phaseType") == "DOWNLOAD_SOURCE" and phase.get("phaseStatus") == "FAILED":
            said = " ".join(each.get("message", "") for each in phase.get("contexts", []))
            return question.no(f"the build could not unpack its source: {said}".strip(" :"))
    status = build.get("buildStatus", "unknown")
    return question.unknown(
        f"the build ended ({status}) and told nothing: its buildspec was not run, or not by a "
        "POSIX shell"
    )


# Shell function that prints the kind of a path in one word that survives a command line.
_KIND: Final = (
    'kind() { if [ -L "$1" ]; then printf "link-to-%s" "$(readlink "$1")"; '
    'elif [ -d "$1" ]; then printf directory; elif [ -f "$1" ]; then printf file; '
    "else printf nothing; fi; }"
)
_LINKS_EFFECT: Final = (
    "Archives hold links as links, as git archive does. With a no a build finds a small text file "
    "in a link's place: commit what such a link points to, or make the link in the buildspec."
)
PROBES: Final = (
    ProbeArchive(
        "links",
        lambda: list(LINKS),
        (
            Asked(
                Question("source.link", "Is a symbolic link a link in a build?", _LINKS_EFFECT),
                "kind links/to-file",
                "link-to-file.txt",
            ),
            Asked(
                Question("source.link-to-folder", "Is a link to a folder one?", _LINKS_EFFECT),
                "kind links/to-folder",
                "link-to-folder",
            ),
            Asked(
                Question("source.link-to-nothing", "Is a dangling link one?", _LINKS_EFFECT),
                "kind links/to-nothing",
                "link-to-not-there",
            ),
            Asked(
                Question(
                    "source.executable",
                    "Is an executable file executable in a build?",
                    "Archives hold Unix modes. With a no call scripts by their interpreter: "
                    "sh ./script.sh.",
                ),
                "if [ -x links/run.sh ]; then printf executable; else printf plain; fi",
                "executable",
            ),
            Asked(
                Question(
                    "source.empty-folder",
                    "Is an empty folder there in a build?",
                    "Git has none but submodules; their folders are in the archive.",
                ),
                "kind links/folder",
                "directory",
            ),
        ),
    ),
    ProbeArchive(
        "descriptors",
        lambda: list(DESCRIPTORS),
        (
            Asked(
                Question(
                    "source.data-descriptor",
                    "Are members with data descriptors unpacked whole?",
                    "Files above 1 MiB have them, as in every zip that is made as it streams. With "
                    "a no no push with such a file can be built, and no setting helps.",
                ),
                "cat descriptors/first.txt descriptors/last.txt | wc -c | tr -d ' '",
                str(sum(len(each.body) for each in DESCRIPTORS)),
            ),
        ),
    ),
    ProbeArchive(
        "zip64",
        lambda: list(_wide_members()),
        (
            Asked(
                Question(
                    "source.zip64-member",
                    "Is a member with zip64 sizes unpacked whole?",
                    "Members of 4 GiB and more have them. With a no keep such files out of git.",
                ),
                "wc -c < zip64/wide.txt | tr -d ' '",
                "5000",
            ),
            Asked(
                Question(
                    "source.zip64-directory",
                    "Are more than 65,535 files unpacked?",
                    "Trees of that many files have a zip64 directory. With a no leave folders out "
                    "by export-ignore in .gitattributes.",
                ),
                "ls zip64/many | wc -l | tr -d ' '",
                str(FILES_BEYOND_ZIP32),
            ),
        ),
    ),
    ProbeArchive(
        "names",
        lambda: list(NAMES),
        (
            Asked(
                Question(
                    "source.names",
                    "Do names beyond ASCII arrive as they are?",
                    "Names are UTF-8 and flagged so. With a no set LC_ALL=C.UTF-8 in the project.",
                ),
                "cat names/über.txt 'names/価格 表.csv' | tr -d '\\n'",
                "uk",
            ),
        ),
    ),
)
