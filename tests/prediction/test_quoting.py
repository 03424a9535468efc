"""Names that Hydra's grammar does not take: quoted for the user, or the error says how."""

import os

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import OverrideParseException

from sali.cli import explain, with_arguments
from sali.config import config_dir

NAMES = ["it's b=c.mkv", 'a "b" {c}, d.mkv', "rtsp://u:p@h/x?t=1", "é=$x.ts", "/data/é (2)/a;b#c"]


@pytest.mark.parametrize("name", [*NAMES, "a,b.mp4", "~/é", "/plain/a b", "'/in quotes/a=b'"])
def test_a_path_is_taken_as_it_is(name):
    with initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = compose("predict", overrides=with_arguments([f"source={name}"]))
    assert cfg.source == os.path.expanduser(name).strip("'")


@pytest.mark.parametrize("name", NAMES)
def test_the_error_of_a_name_without_quotes_gives_one_that_is_read(name):
    with initialize_config_dir(config_dir(), version_base="1.3"):
        with pytest.raises(OverrideParseException) as caught:
            compose("predict", overrides=[f"source={name}"])
        message = explain(caught.value, "predict")
        advice = message.partition("quotes of its own: ")[2].rpartition(", and the shell")[0]
        assert compose("predict", overrides=[advice]).source == name


@pytest.mark.parametrize("flag", ["-m", "--multirun", "sweep=modules", "hydra.mode=MULTIRUN"])
def test_commas_separate_the_values_of_a_multirun(flag):
    assert with_arguments([flag, "init_ckpt=a,b"]) == [flag, "init_ckpt=a,b"]
    assert with_arguments([flag, "source=a,b c=d"]) == [flag, "source='a,b c=d'"]
