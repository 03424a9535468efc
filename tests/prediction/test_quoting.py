"""Names that Hydra's grammar trips over: the error says how to write them, and that works."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import OverrideParseException

from sali.cli import explain
from sali.config import config_dir


@pytest.mark.parametrize(
    "name", ["it's b=c.mkv", 'a "b" {c}, d.mkv', "rtsp://u:p@h/x?t=1", "é=$x.ts"]
)
def test_the_error_of_a_name_without_quotes_gives_one_that_is_read(name):
    with initialize_config_dir(config_dir(), version_base="1.3"):
        with pytest.raises(OverrideParseException) as caught:
            compose("predict", overrides=[f"source={name}"])
        message = explain(caught.value, "predict")
        advice = message.partition("quotes of its own: ")[2].rpartition(", and the shell")[0]
        assert compose("predict", overrides=[advice]).source == name
