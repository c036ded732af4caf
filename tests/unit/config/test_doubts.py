"""Settings that are refused or questioned, each with its place."""

import fnmatch
import itertools
import re
from pathlib import Path

import pytest
from annotated_types import Ge, Gt, Le
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from asyncbuild import config
from asyncbuild.config import Settings, load
from asyncbuild.config.globs import includes_all
from asyncbuild.config.places import queue_fault, region_of_queue
from asyncbuild.domain.errors import ConfigError

_EXAMPLE = Path(__file__).parents[3] / "config.example.toml"
_QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/pushes.fifo"
_RESULTS = "https://sqs.eu-west-1.amazonaws.com/123456789012/results"


def _write(directory: Path, text: str) -> Path:
    path = directory / "config.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[git]\nremote = "git://host/{repository}"',
            "line 2: git.remote: nothing is fetched by git://; begin with https://",
        ),
        ('[git]\nremote = "host:{repository}"', "line 2: git.remote: nothing is fetched by this"),
        (
            '[git]\nremote = "https://host/{name}"',
            "line 2: git.remote: has a placeholder that is not known; there are {account}",
        ),
        ("\nrules = []", "line 2: rules: without a rule every push is ignored"),
        ("[rules]\naction = 'build'", "line 1: rules: is a list of tables; write [[rules]]"),
        ("[hosts]\nhost = 'github.com'", "line 1: hosts: is a list of tables; write [[hosts]]"),
        ("\n[[queue]]\nbatch = 1", "line 2: queue: is one table; write [queue]"),
        (
            "[queue]\nurl = 'arn:aws:sqs:eu-west-1:123456789012:pushes.fifo'",
            (
                "line 2: queue.url = 'arn:aws:sqs:eu-west-1:123456789012:pushes.fifo': is the ARN "
                f'of the queue; write its URL: "{_QUEUE}"'
            ),
        ),
        ("[queue]\nurl = 'pushes.fifo'", "line 2: queue.url = 'pushes.fifo': write the URL"),
        ("[queue]\ndead_letter_url = 'x.fifo'", "line 2: queue.dead_letter_url = 'x.fifo': write"),
        (
            f"[aws]\nregion = 'us-east-1'\n[queue]\nurl = '{_QUEUE}'",
            (
                f"line 4 and line 2: queue.url: the queue {_QUEUE} is in eu-west-1, and calls go "
                'to us-east-1; correct the URL, or set aws.region = "eu-west-1"'
            ),
        ),
        ("[[rules]]\n[[rules]]\naction = 'build'", "line 1: rules[0].action: field required"),
        (
            "[archive]\nmemory_budget_bytes = 50_331_648\n[storage]\npart_bytes = 50_000_000",
            "line 4 and line 2: storage.part_bytes = 50000000: a part is in memory",
        ),
        (
            "[[rules]]\naction = 'build'\nchanges_since = 'passed'",
            "changes_since says what changes is compared with; add changes, or leave it out",
        ),
        (
            "[[rules]]\naction = 'upload'\nchanges = 'a'\nchanges_since = 'started'",
            'changes_since is not used with action = "upload", which starts nothing',
        ),
        (
            "[[rules]]\naction = 'upload'\ncancel_superseded = true",
            'cancel_superseded is used with action "build" or "pipeline"; leave it out',
        ),
        ("[[rules]]\naction = 'build'\nskip = ['']", "'' is empty; write a text, such as"),
        (
            "[[rules]]\naction = 'build'\nskip = ['a', \"b\\nc\"]",
            "is not one line of at most 100 characters",
        ),
        (
            "[[rules]]\naction = 'ignore'\nskip = '[skip ci]'",
            'skip is not used with action = "ignore", which builds nothing; leave it out',
        ),
        ("\nshutdown_grace_seconds = inf", "line 2: shutdown_grace_seconds = inf: input should be"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_line(
    tmp_path: Path, text: str, said: str
) -> None:
    """Key, line, value and a remedy; where two settings disagree, the lines of both."""
    with pytest.raises(ConfigError) as caught:
        load(_write(tmp_path, text))
    assert said in caught.value.reason


def test_a_login_in_a_remote_is_not_quoted(tmp_path: Path) -> None:
    """A template that is refused may hold a password (I10)."""
    path = _write(tmp_path, '[git]\nremote = "git://bot:hunter2@host/{repository}"')
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert "hunter2" not in caught.value.reason


_NUMBERS = [
    (f"{section}.{name}" if section else name, value)
    for section, model in [
        ("", Settings),
        *((n, f.annotation) for n, f in Settings.model_fields.items()),
    ]
    if isinstance(model, type) and issubclass(model, BaseModel)
    for name, value in model.model_fields.items()
    if isinstance(value.default, int | float) and not isinstance(value.default, bool)
]


@pytest.mark.parametrize(("name", "field"), _NUMBERS, ids=[name for name, _ in _NUMBERS])
def test_every_number_has_limits(name: str, field: FieldInfo, tmp_path: Path) -> None:
    """A number beyond either limit is refused with its name, and infinity is not a number."""
    assert any(isinstance(each, Le) for each in field.metadata), name
    assert any(isinstance(each, Ge | Gt) for each in field.metadata), name
    section, _, last = name.rpartition(".")
    for absurd in ("1e400", "-1", "9" * 30):
        value = absurd if isinstance(field.default, float) else absurd.replace("1e400", "1" * 40)
        header = f"[{section}]\n" if section else ""
        with pytest.raises(ConfigError, match=re.escape(f"{name} = ")):
            load(_write(tmp_path, f"{header}{last} = {value}\n"))


@pytest.mark.parametrize("bom", [b"\xef\xbb\xbf", b""])
def test_a_byte_order_mark_is_skipped(tmp_path: Path, bom: bytes) -> None:
    """Some editors begin every UTF-8 file with one; lines are counted without it."""
    path = tmp_path / "config.toml"
    path.write_bytes(bom + b"consumers = 3\n")
    assert load(path).consumers == 3
    path.write_bytes(bom + b"consumers = 3\nbatch = 1\n")
    with pytest.raises(ConfigError, match=r"line 2: batch: no such setting"):
        load(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_file_in_another_encoding_is_refused_with_its_name(tmp_path: Path, encoding: str) -> None:
    """Windows' "Unicode" is UTF-16."""
    path = tmp_path / "config.toml"
    path.write_text(
        "\ufeffconsumers = 3\n" if encoding.endswith("be") else "consumers = 3\n", encoding
    )
    with pytest.raises(ConfigError, match="is UTF-16") as caught:
        load(path)
    assert "UTF-8" in caught.value.remedy


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("QUEUE__ULR", "x", "1 fault in the environment:\n  environment variable ASYNCBUILD_QUEUE"),
        ("QUEUE__ULR__X", "x", "1 fault in the environment:\n  environment variable ASYNCBUILD_Q"),
        (
            "QUEUE",
            '{"ulr": 1}',
            "1 fault in the environment:\n  ASYNCBUILD_QUEUE: queue.ulr: no such",
        ),
        (
            "QUEUE__BATCH",
            "11",
            "1 fault in the environment:\n  ASYNCBUILD_QUEUE__BATCH: queue.batch = ",
        ),
        (
            "QUEUE",
            '{"batch": 11}',
            "1 fault in the environment:\n  ASYNCBUILD_QUEUE: queue.batch = 11",
        ),
        (
            "RULES",
            "[{}]",
            "1 fault in the environment:\n  ASYNCBUILD_RULES: rules[0].action: field",
        ),
    ],
)
def test_a_faulty_variable_is_named_once_without_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    """A valid file with the same settings is not where the error is."""
    path = _write(tmp_path, "[queue]\nbatch = 5\n")
    monkeypatch.setenv(f"ASYNCBUILD_{variable}", value)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert said in caught.value.reason


@pytest.mark.parametrize(
    ("variable", "value"), [("QUEUE__WAIT_SECONDS", "20"), ("QUEUE", '{"wait_seconds": 20}')]
)
def test_a_variable_that_disagrees_with_the_file_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """Settings that disagree, one here and one there: both places are named."""
    path = _write(tmp_path, "\n[aws]\nread_timeout_seconds = 1\n")
    monkeypatch.setenv(f"ASYNCBUILD_{variable}", value)
    with pytest.raises(ConfigError) as caught:
        load(path)
    said = caught.value.reason
    assert f"1 fault in {path} and the environment:" in said
    assert f"line 3 and ASYNCBUILD_{variable}: aws.read_timeout_seconds = 1: would cut" in said


_RULE = "[[rules]]\naction = 'build'\n"


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (
            "[lanes]\nlookahead = 11",
            "config.lookahead",
            "line 2: lanes.lookahead = 11 is more than",
        ),
        (
            "[lanes]\nretry_first_seconds = 40",
            "config.retry",
            "line 2: lanes.retry_first_seconds = 40 is more than lanes.retry_most_seconds = 30",
        ),
        (
            "[git]\ntimeout_seconds = 60",
            "config.git-timeouts",
            "line 2: git.silence_timeout_seconds = 120 is more than git.timeout_seconds = 60",
        ),
        ("[git]\nremote = '/one'", "config.remote", "line 2: git.remote has no {repository}"),
        (
            f"{_RULE}[[rules]]\nname = 'late'\nref = 'main'\naction = 'upload'",
            "config.shadowed-rule",
            "line 3 and line 1: rule 'late' is never reached",
        ),
        (
            f"{_RULE}ref = 'origin/main'",
            "config.ref",
            "line 3: rules[0]: ref 'origin/main' is the branch refs/heads/origin/main",
        ),
        (
            f"{_RULE}ref = ['*', '!heads/main']",
            "config.ref",
            "line 3: rules[0]: ref '!heads/main' is the branch refs/heads/heads/main",
        ),
        (
            f"{_RULE}changes = 'a'\nchanges_since = 'passed'",
            "config.passed",
            'line 4: rules[0] has changes_since = "passed", and results.url is empty',
        ),
        (
            f"{_RULE}name = 'all'\ncancel_superseded = true",
            "config.cancel-superseded",
            "line 4: rule 'all': cancel_superseded = true, and results.url is empty",
        ),
        (
            "[storage]\nkey = 'latest.zip'",
            "config.key",
            (
                "line 2: rule 'deployment-branches': key 'latest.zip' is the same for different "
                "repositories and refs"
            ),
        ),
        (
            f"{_RULE}repository = 'web'\nkey = '{{repository}}.zip'",
            "config.key",
            "line 4: rules[0]: key '{repository}.zip' is the same for different refs",
        ),
    ],
)
def test_unlikely_settings_raise_a_doubt(tmp_path: Path, text: str, name: str, said: str) -> None:
    """The settings are accepted; the doubt names key, line, reason and remedy."""
    path = _write(tmp_path, text)
    found = config.warnings(path, load(path))
    doubt = next(each for each in found if each.name == name)
    assert said in doubt.what
    assert doubt.why
    assert doubt.remedy


@pytest.mark.parametrize(
    "text",
    [
        "",
        # A rule behind one that has `changes`, is not final, or matches less.
        f"{_RULE}changes = 'a'\n{_RULE}",
        f"{_RULE}final = false\n{_RULE}",
        f"{_RULE}ref = ['*', '!main']\n{_RULE}ref = 'main'",
        f"{_RULE}repository = 'a'\n{_RULE}repository = 'a*'",
        f"{_RULE}cancel_superseded = true\n[results]\nurl = '{_RESULTS}'",
        # A pipeline's fixed object: one repository, one ref.
        "[[rules]]\naction = 'upload'\nrepository = 'a'\nref = 'main'\nkey = 'latest.zip'",
        f"{_RULE}ref = ['feature/*', 'refs/heads/origin/main', 'refs/tags/v1']",
    ],
)
def test_plausible_settings_raise_no_doubt(tmp_path: Path, text: str) -> None:
    """Warnings without cause would be ignored, and the others with them."""
    path = _write(tmp_path, text)
    assert config.warnings(path, load(path)) == []


def test_the_example_raises_no_doubt() -> None:
    """Users begin with the example."""
    assert config.warnings(_EXAMPLE, load(_EXAMPLE)) == []


_GLOBS = st.lists(st.sampled_from(["a", "b", "/", "*", "?", "[ab]", "[!a]", "["]), max_size=4).map(
    "".join
)
_SHORT = ["".join(signs) for size in range(5) for signs in itertools.product("ab/", repeat=size)]


@given(st.lists(_GLOBS, min_size=1, max_size=2), _GLOBS)
def test_a_rule_is_called_shadowed_only_if_it_is(globs: list[str], other: str) -> None:
    """Names that the later glob matches are all matched by an earlier one."""
    if includes_all(globs, [other]):
        for name in _SHORT:
            if fnmatch.fnmatchcase(name, other):
                assert any(fnmatch.fnmatchcase(name, glob) for glob in globs), name


@pytest.mark.parametrize("globs", [["*"], ["ma*"], ["?ain", "x"], ["[lm]ain"], ["main"], ["*n"]])
def test_a_plain_name_is_shadowed_by_each_glob_that_matches_it(globs: list[str]) -> None:
    """Plain names are the usual case."""
    assert includes_all(globs, ["main"])


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (_QUEUE, "eu-west-1"),
        ("https://eu-west-1.queue.amazonaws.com/1/q", "eu-west-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/q", "us-gov-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1"),
        ("https://vpce-0a-1b.sqs.eu-central-1.vpce.amazonaws.com/1/q", "eu-central-1"),
        ("http://127.0.0.1:4566/000000000000/q.fifo", None),
        ("https://sqs.eu-west-1.example.com/1/q", None),
    ],
)
def test_the_region_of_a_queue_is_read_from_its_url(url: str, region: str | None) -> None:
    """AWS's host names contain it; for other hosts it is unknown, and no doubt is raised."""
    assert queue_fault(url) == ""
    assert region_of_queue(url) == region
