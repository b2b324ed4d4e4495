"""Proofs for config.settings: a run is what its command line says, no more."""

from __future__ import annotations

import pickle
import re

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from distrinews.config.flags import parse
from distrinews.config.settings import (
    LEARNING_RATES,
    NEWSWIRE_ROWS,
    DistributedSettings,
    TrainSettings,
)
from distrinews.errors import SettingsError

# Flags without which something simply does not happen.
OFF_BY_DEFAULT = {
    *("max_steps", "save_every_steps", "patience"),
    *("resume", "deterministic", "tensorboard"),
}


def read(*arguments: str) -> DistributedSettings:
    return parse(DistributedSettings, about="Question", arguments=arguments)


def test_help_lists_every_setting_with_its_default_and_its_unit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # WHY: one flag a line, however long
    with pytest.raises(SystemExit) as ended:
        read("--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "Question" in text
    # Each flag's part of the text, from its name to the next one's.
    parts = re.split(r"\n  (?=--[a-z])", text)
    assert len(parts) == 1 + len(DistributedSettings.model_fields)
    for name, field in DistributedSettings.model_fields.items():
        flag = "--" + name.replace("_", "-")
        [part] = [" ".join(x.split()) for x in parts if x.split()[0] == flag]
        assert field.description, flag
        assert " ".join(field.description.split()) in part, flag
        if field.annotation is bool or name in OFF_BY_DEFAULT:
            continue
        if field.default is not None and name != "run_name":
            assert f"default: {field.default}" in part, flag
        else:
            assert "default" in part, flag
    units = {"rows", "tokens", "steps", "epochs", "ranks", "micro-batches"}
    assert {u for u in units if re.search(rf"\[{u}[;\]]", text)} == units


def test_every_setting_can_be_given_as_a_flag() -> None:
    settings = read(
        *("--preset", "tiny", "--data", "news.csv", "--train-rows", "100"),
        *("--validation-rows", "10", "--test-rows", "20", "--max-length", "64"),
        *("--global-batch-size", "16", "--epochs", "3", "--max-steps", "9"),
        *("--optimizer", "sgd", "--learning-rate", "0.5", "--seed", "4"),
        *("--warmup-fraction", "0.2", "--weight-decay", "0.3", "--dropout", "0.4"),
        *("--max-gradient-norm", "2.5", "--run-name", "mine", "--runs-dir", "out"),
        *("--resume", "--num-ranks", "4", "--learning-rate-rule", "sqrt"),
        *("--deterministic", "--tensorboard", "--batches", "shuffled"),
        *("--accumulation-steps", "2", "--save-every-steps", "7", "--patience", "3"),
        *("--text-columns", "title,body", "--label-column", "topic"),
        *("--averaging", "shared"),
    )
    values = settings.model_dump()
    assert values.keys() == DistributedSettings.model_fields.keys()
    assert values == {
        "preset": "tiny",
        "data": "news.csv",
        "text_columns": "title,body",
        "label_column": "topic",
        "train_rows": 100,
        "validation_rows": 10,
        "test_rows": 20,
        "max_length": 64,
        "global_batch_size": 16,
        "epochs": 3,
        "max_steps": 9,
        "optimizer": "sgd",
        "learning_rate": 0.5,
        "warmup_fraction": 0.2,
        "weight_decay": 0.3,
        "dropout": 0.4,
        "max_gradient_norm": 2.5,
        "seed": 4,
        "run_name": "mine",
        "runs_dir": "out",
        "resume": True,
        "num_ranks": 4,
        "learning_rate_rule": "sqrt",
        "deterministic": True,
        "tensorboard": True,
        "batches": "shuffled",
        "accumulation_steps": 2,
        "averaging": "shared",
        "save_every_steps": 7,
        "patience": 3,
    }


def test_settings_cannot_change_under_way() -> None:
    settings = TrainSettings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match=r"[Ee]xtra"):
        TrainSettings(sede=1)  # type: ignore[call-arg]


class Plain(BaseSettings):
    """What one would write without thinking of it."""

    seed: int = 0
    data: str = "newswire"


def test_environment_variables_do_not_leak_into_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEED", "7")
    monkeypatch.setenv("DATA", "/somebody/elses")
    for settings in (TrainSettings(), read()):
        assert (settings.seed, settings.data) == (0, "newswire")
    # Negative control: a plain BaseSettings takes them.
    assert (Plain().seed, Plain().data) == (7, "/somebody/elses")


def test_settings_survive_the_trip_to_a_spawned_rank() -> None:
    settings = read("--preset", "tiny", "--max-steps", "3")
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings
    assert again.run_name == settings.run_name, "a new clock would be another run"


@pytest.mark.parametrize("preset", LEARNING_RATES)
def test_the_learning_rate_follows_the_preset_unless_it_is_given(preset: str) -> None:
    settings = read("--preset", preset)
    assert settings.peak_learning_rate == LEARNING_RATES[preset]
    # What is saved beside the results is the number, not "by preset".
    assert settings.model_dump()["learning_rate"] == LEARNING_RATES[preset]
    assert read("--preset", preset, "--learning-rate", "1").peak_learning_rate == 1


@pytest.mark.parametrize(
    ("rule", "rows", "want"),
    [
        ("constant", 256, 1.0),
        ("linear", 256, 8.0),  # eight times the 32 rows that rates are given for
        ("linear", 8, 0.25),
        ("sqrt", 128, 2.0),
        ("sqrt", 32, 1.0),
    ],
)
def test_the_peak_rate_grows_with_the_global_batch_as_the_rule_says(
    rule: str, rows: int, want: float
) -> None:
    arguments = ("--learning-rate-rule", rule, "--global-batch-size", str(rows))
    settings = read(*arguments, "--learning-rate", "1")
    assert settings.peak_learning_rate == pytest.approx(want)
    assert settings.learning_rate == 1, "the saved setting is the one that was given"
    # More ranks at the same global batch are the same step: no rule applies.
    more = read(*arguments, "--learning-rate", "1", "--num-ranks", "8")
    assert more.peak_learning_rate == settings.peak_learning_rate


def test_newswire_has_as_many_rows_as_the_help_says_and_other_data_has_all() -> None:
    rows = (NEWSWIRE_ROWS["train"], NEWSWIRE_ROWS["test"])
    assert (read().train_rows, read().test_rows) == rows
    for split, number in NEWSWIRE_ROWS.items():
        description = TrainSettings.model_fields[f"{split}_rows"].description
        assert f"newswire {number}" in str(description)
    other = read("--data", "ag_news")
    assert (other.train_rows, other.test_rows) == (None, None)
    assert read("--train-rows", "64").train_rows == 64


def test_to_resume_needs_the_name_of_a_run() -> None:
    with pytest.raises(SettingsError, match="--resume needs the --run-name"):
        read("--resume")
    assert read("--resume", "--run-name", "mine").resume


def test_two_runs_have_two_names_that_any_system_can_use() -> None:
    name = read().run_name
    assert re.fullmatch(r"\d{8}-\d{6}-\d{3}", name)
    assert sorted([name, "20200101-000000-000"])[0] == "20200101-000000-000"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--preset", "bert"),
        ("--optimizer", "lion"),
        ("--epochs", "0"),
        ("--epochs", "1.5"),
        ("--epochs", "many"),
        ("--global-batch-size", "-32"),
        ("--max-length", "7"),
        ("--max-length", "513"),
        ("--learning-rate", "0"),
        ("--learning-rate", "nan"),
        ("--dropout", "1"),
        ("--warmup-fraction", "1"),
        ("--max-gradient-norm", "0"),
        ("--max-steps", "0"),
        ("--learning-rate", "inf"),
        ("--learning-rate-rule", "cubic"),
        ("--batches", "sorted"),
        ("--accumulation-steps", "0"),
        ("--save-every-steps", "0"),
        ("--patience", "0"),
        ("--seed", "-1"),
        ("--seed", str(2**31)),
        ("--train-rows", "0"),
        ("--num-ranks", "0"),
        ("--run-name", "../../etc"),
        ("--run-name", "a/b"),
        ("--run-name", ".hidden"),
        ("--run-name", "nul"),  # no folder of Windows can have it
        ("--run-name", "COM1.old"),
        ("--run-name", "mine."),  # Windows drops the dot: another folder
        ("--run-name", ""),
        ("--runs-dir", ""),
    ],
)
def test_a_value_that_cannot_work_is_an_error_that_names_its_flag(
    flag: str, value: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(f"{flag}={value}")
    assert f"{flag} {value}:" in caught.value.what
    assert "--help" in caught.value.fix


def test_every_wrong_flag_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"--epochs 0: .*--dropout 2: "):
        read("--epochs", "0", "--dropout", "2")


def test_validation_rows_must_leave_rows_to_train_on() -> None:
    with pytest.raises(SettingsError, match=r"validation_rows \(50\).*train_rows"):
        read("--train-rows", "50", "--validation-rows", "50")
    assert read("--train-rows", "51", "--validation-rows", "50").train_rows == 51


def test_a_mistyped_flag_ends_the_program_with_code_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        read("--epoch-count", "3")
    assert ended.value.code == 2
    assert "--epoch-count" in capsys.readouterr().err


@pytest.mark.parametrize("data", ["newswire", "ag_news"])
def test_columns_are_for_files_only(data: str) -> None:
    with pytest.raises(SettingsError, match="not for --data " + data):
        read("--data", data, "--label-column", "topic")
    assert read("--data", "mine.csv", "--label-column", "topic").label_column == "topic"
