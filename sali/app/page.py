"""The page: layout and events, a thin shell round sessions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from sali.app.limits import Limits
from sali.app.models import Models, Options
from sali.app.sessions import Sessions
from sali.errors import UserError
from sali.prediction import Recorded
from sali.report.overlay import FOOTER

HERE = Path(__file__).parent
STYLE = HERE / "live.css"
NONE_PICKED = "no clip is picked; pick one, or upload a video"
INTRODUCTION = f"""\
# Polyp segmentation, live
**{FOOTER}.** Do not use it to guide an examination. Nothing leaves this machine: what you upload,
and what comes of it, is deleted when you close this page.
"""
THEME = gr.themes.Base(
    primary_hue="teal",
    neutral_hue="slate",
    font=["system-ui", "sans-serif"],  # those of the machine; Gradio's own come from the network
    font_mono=["ui-monospace", "monospace"],
)


@dataclass(frozen=True)
class Choices:
    """What the page offers.

    Attributes:
        precisions: name in configurations -> name on the page.
        precision: picked at the start.
        threshold: at the start.
        largest_memory: end of the slider, frames.
        largest_every: end of the slider, frames.
    """

    precisions: Mapping[str, str]
    precision: str
    threshold: float
    largest_memory: int
    largest_every: int


class Page:
    """Builds ``blocks`` and answers its events.

    Args:
        sessions: of open pages.
        samples: clips by the names that a user sees.
        models: networks.
        limits: of uploads, told to the user.
        choices: offered.
        keep_seconds: after which Gradio deletes what it still has of an upload.
    """

    def __init__(
        self,
        sessions: Sessions,
        samples: Mapping[str, Recorded],
        models: Models,
        limits: Limits,
        choices: Choices,
        keep_seconds: int,
    ) -> None:
        self._sessions = sessions
        self._samples = dict(samples)
        self._models = models
        self._limits = limits
        self._choices = choices
        title = "SALI: polyp segmentation, live"
        with gr.Blocks(
            title=title, analytics_enabled=False, delete_cache=(60, keep_seconds), fill_width=True
        ) as self.blocks:
            self._lay_out()
            self._connect()
        self.blocks.queue(default_concurrency_limit=None, api_open=False)

    def _lay_out(self) -> None:
        choices, first = self._choices, self._models.names[0]
        settings = {"max_frames": 0, "every": 1} | self._models.settings(first)["video"]
        self.token = gr.State("")
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                names = list(self._samples)
                self.clip = gr.Dropdown(names, value=names[0] if names else None, label="Clip")
                suffixes = list(self._limits.suffixes)
                limits = f"{self._limits.megabytes:g} MB, {self._limits.seconds:g} s"
                self.file = gr.File(
                    label=f"Or upload a video (up to {limits})", file_types=suffixes, height=180
                )
                # Gradio's own would leave an empty file behind for every upload.
                vars(self.file)["preprocess"] = _path_of
                self.model = gr.Dropdown(self._models.names, value=first, label="Model")
                with gr.Accordion("Settings", open=False):
                    self.memory = gr.Slider(
                        0,
                        max(choices.largest_memory, settings["max_frames"]),
                        value=settings["max_frames"],
                        step=1,
                        label="Memory, frames (0: off)",
                    )
                    self.every = gr.Slider(
                        1,
                        max(choices.largest_every, settings["every"]),
                        value=settings["every"],
                        step=1,
                        label="Remember every n-th frame",
                    )
                    precisions = [(shown, name) for name, shown in choices.precisions.items()]
                    self.precision = gr.Radio(
                        precisions, value=choices.precision, label="Numbers of the network"
                    )
                self.start = gr.Button("Start", variant="primary", elem_id="start")
            with gr.Column(scale=3, min_width=320):
                with gr.Row():
                    self.pause = gr.Button("Pause", interactive=False, min_width=90, scale=1)
                    self.cancel = gr.Button("Cancel", interactive=False, min_width=90, scale=1)
                    self.threshold = gr.Slider(
                        0.01,
                        0.99,
                        value=choices.threshold,
                        step=0.01,
                        label="Threshold: polyp from this probability on",
                        scale=4,
                        min_width=280,
                    )
                self.live = gr.HTML(
                    "",
                    html_template=(HERE / "live.html").read_text(),
                    js_on_load=(HERE / "live.js").read_text(),
                    elem_id="live",
                )

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        quick = {**quiet, "queue": False}
        buttons = [self.start, self.pause, self.cancel]
        options = [self.model, self.precision, self.memory, self.every]
        self.blocks.load(self._opened, outputs=[self.token, self.live, self.clip], **quiet)
        self.file.upload(
            self._uploaded,
            [self.token, self.file],
            [self.file, self.clip],
            api_visibility="private",
        )
        self.model.input(
            self._model_picked, [self.token, self.model], [self.memory, self.every], **quiet
        )
        self.start.click(
            self._start, [self.token, self.clip, self.threshold, *options], buttons, **quiet
        )
        self.pause.click(self._pause, [self.token], buttons, **quick)
        self.cancel.click(self._cancel, [self.token], buttons, **quick)
        self.threshold.input(
            self._set_threshold,
            [self.token, self.threshold],
            trigger_mode="always_last",
            **quick,
        )
        self.live.turned(self._buttons, [self.token], buttons, **quick)

    # Events

    def _opened(self) -> tuple[str, str, Any]:
        try:
            session = self._sessions.open()
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return session.token, session.token, gr.update(choices=list(self._samples))

    def _uploaded(self, token: str, file: str | None) -> tuple[None, Any]:
        if file is None:
            return None, gr.skip()
        session = self._session(token)
        try:
            session.take_upload(Path(file), Path(file).name)
        except UserError:  # told on the page
            return None, gr.skip()
        name = _name_of_upload(Path(file).name)
        return None, gr.update(choices=[*self._samples, name], value=name)

    def _model_picked(self, token: str, model: str) -> tuple[Any, Any]:
        try:
            settings = {"max_frames": 0, "every": 1} | self._models.settings(model)["video"]
        except UserError as error:
            self._session(token).tell(str(error))
            return gr.skip(), gr.skip()
        memory = self._models.has_memory(model)
        return (
            gr.update(value=settings["max_frames"] if memory else 0, interactive=memory),
            gr.update(value=settings["every"], interactive=memory),
        )

    def _start(
        self,
        token: str,
        clip: str | None,
        threshold: float,
        model: str,
        precision: str,
        memory: float,
        every: float,
    ) -> tuple[Any, ...]:
        session = self._session(token)
        upload = session.upload
        is_upload = upload is not None and clip not in self._samples
        source = upload if is_upload else self._samples.get(clip or "")
        if source is None:
            session.tell(NONE_PICKED)
            return self._buttons(token)
        session.set_threshold(threshold)
        try:
            session.start(source, Options(model, precision, int(memory), int(every)))
        except UserError as error:
            session.tell(str(error))
        return self._buttons(token)

    def _pause(self, token: str) -> tuple[Any, ...]:
        self._session(token).pause_or_resume()
        return self._buttons(token)

    def _cancel(self, token: str) -> tuple[Any, ...]:
        self._session(token).cancel()
        return self._buttons(token)

    def _set_threshold(self, token: str, threshold: float) -> None:
        self._session(token).set_threshold(threshold)

    def _buttons(self, token: str) -> tuple[Any, ...]:
        """Start, pause and cancel as they fit the state of the job."""
        session = self._session(token)
        active, job = session.active, session.job
        paused = active and job is not None and job.paused
        return (
            gr.update(interactive=not active),
            gr.update(value="Continue" if paused else "Pause", interactive=active),
            gr.update(interactive=active),
        )

    def _session(self, token: str) -> Any:
        try:
            return self._sessions.get(token)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error


def _path_of(payload: Any) -> str | None:
    """Of what Gradio's page sends for an upload."""
    return None if payload is None else payload.path


def _name_of_upload(name: str) -> str:
    return f"uploaded: {name}"
