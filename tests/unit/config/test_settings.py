"""Settings: the example file agrees with the code, and all faults are reported at once."""

import re
import tomllib
from pathlib import Path

import pytest

from asyncbuild.config import Settings, StorageSettings, load, setting_names
from asyncbuild.config.faults import ENGINE_BYTES
from asyncbuild.domain.errors import ConfigError
from asyncbuild.zip.engine import WORKING_BYTES

_EXAMPLE = Path(__file__).parents[3] / "config.example.toml"


def test_the_example_is_the_default() -> None:
    """Every value in the example is the default of its setting."""
    assert load(_EXAMPLE) == Settings()


def test_the_example_names_every_setting() -> None:
    """Set or commented out, each setting stands in its section."""
    section = ""
    named = set()
    for line in _EXAMPLE.read_text().splitlines():
        header = re.match(r"(?:# )?\[\[?([\w.]+)\]\]?", line)
        setting = re.match(r"(?:# )?(\w+) = ", line)
        if header:
            section = header[1] + "."
        elif setting:
            named.add(section + setting[1])
    assert set(setting_names()) <= named


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    """Unknown names with the nearest known one, bad values with the value, bad templates."""
    path = tmp_path / "config.toml"
    path.write_text(
        """
        consumer = 3
        shutdown_grace_seconds = -1
        [queue]
        uri = "x"
        batch = 11
        [storage]
        key = "{repo}.zip"
        [[rules]]
        repository = "!a"
        action = "bild"
        [[rules]]
        action = "build"
        variables = { CODEBUILD_X = "1" }
        """
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    text = caught.value.reason
    for expected in (
        "consumer: no such setting; did you mean consumers?",
        "shutdown_grace_seconds = -1: input should be greater than 0",
        "queue.uri: no such setting; did you mean queue.url?",
        "queue.batch = 11: input should be less than or equal to 10",
        "storage.key = '{repo}.zip': {repo} is not a field of a push",
        "rules[0].repository = '!a': names nothing to include",
        "rules[0].action = 'bild'",
        "CODEBUILD_X: CodeBuild keeps names",
    ):
        assert expected in text
    assert str(path) in text


def test_the_environment_overrides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable comes before the file; lists of tables are JSON."""
    path = tmp_path / "config.toml"
    path.write_text('consumers = 3\n[queue]\nurl = "https://host/file"\nbatch = 5\n')
    monkeypatch.setenv("ASYNCBUILD_QUEUE__URL", "https://host/environment")
    monkeypatch.setenv("ASYNCBUILD_RULES", '[{"action": "ignore"}]')
    settings = load(path)
    assert (settings.consumers, settings.queue.batch) == (3, 5)
    assert settings.queue.url == "https://host/environment"
    assert [rule.action for rule in settings.rules] == ["ignore"]


def test_an_unknown_variable_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo in a variable is reported like one in the file."""
    monkeypatch.setenv("ASYNCBUILD_QUEUE__ULR", "x")
    with pytest.raises(ConfigError, match="did you mean ASYNCBUILD_QUEUE__URL"):
        load(None)


def test_a_bad_value_in_a_variable_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a user would look for it in the file."""
    monkeypatch.setenv("ASYNCBUILD_QUEUE__BATCH", "many")
    with pytest.raises(ConfigError, match="ASYNCBUILD_QUEUE__BATCH"):
        load(None)


@pytest.mark.parametrize("name", ["RULES", "QUEUE"])
def test_a_variable_that_is_not_json_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists and whole sections: a message with the variable's name, no traceback."""
    monkeypatch.setenv(f"ASYNCBUILD_{name}", "[{")
    with pytest.raises(ConfigError, match=f"ASYNCBUILD_{name}: not JSON"):
        load(None)


@pytest.mark.parametrize("url", ["", "localhost:4566", "ftp://host", "http://"])
def test_an_endpoint_that_is_not_a_url_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes at the start, not with the first call."""
    monkeypatch.setenv("ASYNCBUILD_AWS__ENDPOINT_URL", url)
    with pytest.raises(ConfigError, match=r"aws\.endpoint_url = .*: write a URL"):
        load(None)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('url = "https://host/pushes.fifo"', "is the queue of pushes"),
        ('url = "https://host/others.fifo"', "is a FIFO queue"),
        ('url = "https://host/r"\ndead_letter_url = "https://host/d.fifo"', "is a FIFO queue"),
        ('url = "https://host/r"\ndead_letter_url = "https://host/r"', "is the queue of results"),
    ],
)
def test_results_need_queues_of_their_own(tmp_path: Path, table: str, said: str) -> None:
    """Else pushes would be taken for results, or a dead letter be received without end."""
    path = tmp_path / "config.toml"
    path.write_text(f'[queue]\nurl = "https://host/pushes.fifo"\n[results]\n{table}\n')
    with pytest.raises(ConfigError, match=said):
        load(path)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('url = "https://host/r"', "is not a FIFO queue"),
        ('url = "https://host/pushes.fifo"', "is the queue of pushes"),
        ('url = "https://host/r.fifo"\ndead_letter_url = "https://host/d"', "must keep its group"),
        (
            'url = "https://host/r.fifo"\ndead_letter_url = "https://host/r.fifo"',
            "without end",
        ),
        (
            (
                'url = "https://sqs.eu-west-2.amazonaws.com/123456789012/r.fifo"\n'
                '[aws]\nregion = "eu-west-1"'
            ),
            r"reports\.url: .*eu-west-2",
        ),
    ],
)
def test_reports_need_fifo_queues_of_their_own(tmp_path: Path, table: str, said: str) -> None:
    """In the Region that calls go to; else nothing would be posted, or in no order."""
    path = tmp_path / "config.toml"
    queues = '[queue]\nurl = "https://host/pushes.fifo"\n[results]\nurl = "https://host/results"\n'
    path.write_text(f"{queues}[reports]\n{table}\n")
    with pytest.raises(ConfigError, match=said):
        load(path)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('url = "https://host/r"', "is not a FIFO queue"),
        ('url = "https://host/pushes.fifo"', r"is queue\.url"),
        ('url = "https://host/reports.fifo"', r"is reports\.url"),
        (
            'url = "https://host/r.fifo"\ndead_letter_url = "https://host/r.fifo"',
            "without end",
        ),
        (
            (
                'url = "https://sqs.eu-west-2.amazonaws.com/123456789012/r.fifo"\n'
                '[aws]\nregion = "eu-west-1"'
            ),
            r"reconcile\.url: .*eu-west-2",
        ),
    ],
)
def test_rounds_need_a_fifo_queue_of_their_own(tmp_path: Path, table: str, said: str) -> None:
    """Else rounds would be taken for pushes, or two tasks look at one repository at a time."""
    path = tmp_path / "config.toml"
    queues = (
        '[queue]\nurl = "https://host/pushes.fifo"\n[results]\nurl = "https://host/results"\n'
        '[reports]\nurl = "https://host/reports.fifo"\n'
    )
    path.write_text(f"{queues}[reconcile]\n{table}\n")
    with pytest.raises(ConfigError, match=said):
        load(path)


def test_an_unused_kms_key_is_refused(tmp_path: Path) -> None:
    """A user who names a KMS key expects it to be used."""
    path = tmp_path / "config.toml"
    path.write_text('[storage]\nkms_key_id = "k"\n')
    with pytest.raises(ConfigError, match="storage: kms_key_id is used with"):
        load(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("consumers = ", "line 1, column 12: invalid value\n  consumers =\n             ^"),
        (
            "[queue]\nurl = https://x\n",
            "line 2, column 7: invalid value\n  url = https://x\n        ^",
        ),
        ("\tqueue]\n\n", "line 1, column 7: expected '='"),
        ("a = 1\n\n[queue\n", "line 3, column 7"),
        ("a = 1\na = 2", "cannot overwrite a value"),
    ],
)
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """One message has the file, the place, the line itself, and what TOML expects."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        load(path)
    assert said in caught.value.reason
    assert "https://toml.io" in caught.value.remedy


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """The message has the line, the byte, and a remedy."""
    path = tmp_path / "config.toml"
    path.write_bytes(b"consumers = 3\n# caf\xe9\n")
    with pytest.raises(ConfigError, match="line 2: byte 0xe9 is not UTF-8") as caught:
        load(path)
    assert "UTF-8" in caught.value.remedy


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """The message has the system's reason, and the user that needs to read the file."""
    with pytest.raises(ConfigError, match="cannot be read: Is a directory") as caught:
        load(tmp_path)
    assert "may read" in caught.value.remedy


def test_settings_that_disagree_are_refused(tmp_path: Path) -> None:
    """Both names, both values, and what to change; together with all other faults."""
    path = tmp_path / "config.toml"
    path.write_text(
        """
        aws = { read_timeout_seconds = 20 }
        storage = { part_bytes = 134217728 }
        """
    )
    with pytest.raises(ConfigError, match="2 faults in") as caught:
        load(path)
    assert "aws.read_timeout_seconds = 20: would cut every long poll" in caught.value.reason
    assert "queue.wait_seconds = 20; set it higher" in caught.value.reason
    assert "storage.part_bytes = 134217728: " in caught.value.reason
    assert "archive.memory_budget_bytes = 100663296 does not hold one" in caught.value.reason


def test_the_largest_accepted_part_fits_into_memory() -> None:
    """Memory reserved for the engine is at least what the engine uses."""
    assert WORKING_BYTES <= ENGINE_BYTES


@pytest.mark.parametrize(("written", "read"), [("ledger", "ledger/"), ("a/b/", "a/b/"), ("", "")])
def test_the_ledger_prefix_ends_in_a_slash(written: str, read: str) -> None:
    """Without it, `ledgerpush/…` would lie outside a policy for `ledger/*`."""
    assert StorageSettings(ledger_prefix=written).ledger_prefix == read


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The remedy names the example."""
    with pytest.raises(ConfigError, match="does not exist"):
        load(tmp_path / "none.toml")


def test_settings_are_frozen() -> None:
    """One frozen value is passed to all that use it."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().consumers = 3  # type: ignore[misc] # that is the point

    names = {name for table in tomllib.loads(_EXAMPLE.read_text()) for name in (table,)}
    assert names <= set(Settings.model_fields)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ('action = "pipeline"', "names no pipeline"),
        ('action = "build"\npipeline = "deploy"', 'pipeline is used with action = "pipeline"'),
        ('action = "upload"\nsource_action = "A"', "source_action is used with action"),
        ('action = "pipeline"\npipeline = "a"\nproject = "b"', "project is not used"),
        ('action = "pipeline"\npipeline = "{brunch}"', "{brunch} is not a field of a push"),
        ('action = "pipeline"\npipeline = "a"\nsource_action = "a b"', "source_action"),
        (
            'action = "pipeline"\npipeline = "a"\nvariables = { COMMIT_ID = "x" }',
            "COMMIT_ID is set by asyncbuild",
        ),
    ],
)
def test_a_pipeline_rule_names_what_it_starts(rule: str, words: str, tmp_path: Path) -> None:
    """A name that the action does not use is a fault, and so is a missing one."""
    path = tmp_path / "config.toml"
    path.write_text(f"[[rules]]\n{rule}\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert words in caught.value.reason


def test_a_pipeline_rule_takes_one_name_or_a_list(tmp_path: Path) -> None:
    """Projects are written in the same two ways."""
    path = tmp_path / "config.toml"
    one = '[[rules]]\naction = "pipeline"\npipeline = "deploy"\n'
    path.write_text(one + one.replace('"deploy"', '["a", "b"]'))
    assert [rule.pipeline for rule in load(path).rules] == [("deploy",), ("a", "b")]
