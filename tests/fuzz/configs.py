"""Configurations of all commands, drawn by hypothesis from all groups, keys and odd values."""

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import CompactHydraException
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from omegaconf.errors import OmegaConfBaseException

from fuzz.engine import Case, Kind
from fuzz.mutations import ODD, Random
from sali.cli import explain, names_in_a_list, no_option, with_arguments
from sali.config import check_config, commands, config_dir, groups, known_keys
from sali.errors import ConfigError

EXAMPLES = 5
"""Configurations of one case."""

numbers = st.one_of(
    st.integers(-3, 3000), st.floats(-2, 1000), st.sampled_from([1e-30, 1e30, 2**63, -(2**63)])
)
values = st.one_of(
    numbers,
    st.sampled_from(["true", "false", "null", "auto", "???", "nan", "inf", "[]", "{}", "''", "~"]),
    st.sampled_from([one for one in ODD if isinstance(one, str)]),
    st.lists(numbers, max_size=3),
    st.dictionaries(st.sampled_from(["_target_", "a", "lr", "0"]), numbers, max_size=2),
    st.text(max_size=6),
    st.builds("${{{}}}".format, st.text("abcdelr.:_,", max_size=8)),
)


@cache
def _options(group: str) -> list[str]:
    return sorted(file.stem for file in (Path(config_dir()) / group).glob("*.yaml"))


@st.composite
def overrides(draw: Any) -> tuple[str, list[str]]:
    """Draw a command and arguments for it."""
    command = draw(st.sampled_from(commands()))
    keys = sorted(known_keys(command))
    arguments = []
    if command == "train":
        for group in draw(st.lists(st.sampled_from(sorted(groups())), max_size=4, unique=True)):
            option = draw(st.sampled_from([*_options(group), "nothing", "null"]))
            arguments.append(f"{group}={option}")
    for key in draw(st.lists(st.sampled_from(keys), max_size=3)):
        sign = draw(st.sampled_from(["", "", "", "", "+", "++", "~"]))
        arguments.append(f"{sign}{key}={draw(values)}")
    if draw(st.booleans()) and draw(st.booleans()):
        arguments.append(draw(st.text(max_size=20)))
    return command, arguments


HOME = ["paths.output_dir=run"]
"""Outside of a command Hydra does not choose the folder of a training."""


def composed(command: str, arguments: list[str]) -> None:
    """Compose and check as a command does it, up to where files would be read."""
    arguments = with_arguments(arguments)
    if wrong := no_option(arguments):
        raise ConfigError(wrong)
    try:
        with initialize_config_dir(config_dir(), version_base="1.3"):
            overrides = arguments + (HOME if command == "train" else [])
            cfg = compose(command, overrides=overrides)
    except (CompactHydraException, OmegaConfBaseException, ValueError) as error:
        if type(error) is ValueError and not names_in_a_list(error):
            raise
        raise ConfigError(explain(error, command)) from error
    check_config(cfg, command)
    _built(command, cfg)


def _built(command: str, cfg: Any) -> None:
    """Make what the commands make of values before they look for files."""
    from omegaconf import OmegaConf

    from sali.build import clinical_rules
    from sali.config import build
    from sali.data.importing import home_of
    from sali.evaluate import settings_from
    from sali.predict import _check_values
    from sali.report.options import ReportOptions

    match command:
        case "evaluate":
            settings_from(cfg)
        case "predict":
            _check_values(cfg)
        case "import_coco":
            home_of(cfg.clip, cfg.subset)
        case "train":
            clinical_rules(cfg)
            build(cfg.loss)
            build(cfg.data)
    if "report" in cfg and command in ("train", "evaluate"):
        ReportOptions(**OmegaConf.to_container(cfg.report, resolve=True))


def _prepare(folder: Path) -> Case:
    import matplotlib.pyplot  # noqa: F401  (makes folders of its own when it is first imported)
    import wandb  # noqa: F401  (likewise)

    set_hypothesis_home_dir(folder)
    GlobalHydra.instance().clear()
    composed("train", [])  # imports PyTorch's compiler, which makes a folder too

    def case(rng: Random) -> None:
        @seed(int(rng.integers(2**32)))
        @settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(overrides())
        def all_of_them(drawn: tuple[str, list[str]]) -> None:
            try:
                with suppress(ConfigError):  # which is one line
                    composed(*drawn)
            except Exception as error:
                raise AssertionError(f"{drawn}: {type(error).__name__}: {error}") from error

        all_of_them()

    return case


CONFIGS = Kind(_prepare, (), seconds=120)
