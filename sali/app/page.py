"""The page: layout and events; Gradio brings queue, state, streaming and deletion."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from sali.app.models import Models, Options
from sali.app.play import ENDS, Play
from sali.app.session import Session
from sali.app.view import OPENING, View
from sali.data.video.files import VIDEO_SUFFIXES
from sali.errors import UserError
from sali.prediction import FileSource
from sali.report.overlay import FOOTER

HERE = Path(__file__).parent
STYLE = HERE / "live.css"
UPLOADED = "uploaded: "
NUMBERS = {"32": "float32", "bf16": "bfloat16", "16": "float16"}
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


class Page:
    """Builds `blocks` and answers its events, each page with a session that `make_session` makes.

    Samples are clips by the names that a user sees; `cfg` are the values of configs/demo.yaml.
    """

    def __init__(
        self,
        models: Models,
        samples: Mapping[str, FileSource],
        view: View,
        make_session: Callable[[], Session],
        cfg: Any,
    ) -> None:
        self._models, self._samples, self._view = models, samples, view
        self._make_session, self._cfg = make_session, cfg
        self._open: dict[str, Session] = {}
        keep = 60 * cfg.keep_minutes
        with gr.Blocks(
            title="SALI: polyp segmentation, live",
            analytics_enabled=False,
            delete_cache=(60, max(1, round(keep))),
            fill_width=True,
        ) as self.blocks:
            self._lay_out(keep)
            self._connect()
        self.blocks.queue(
            default_concurrency_limit=cfg.max_users,
            max_size=cfg.max_waiting,
            api_open=False,
        )

    def close(self) -> None:
        """End all runs and delete everything."""
        for session in list(self._open.values()):
            session.close()

    def _lay_out(self, keep: float) -> None:
        cfg, models = self._cfg, self._models
        first = next(iter(models.paths))
        on_gpu = models.device.type == "cuda"
        precisions = [p for p in NUMBERS if p != "16" or on_gpu or p == str(cfg.precision)]
        # Whenever an event writes it, its time begins anew.
        self.kept = gr.State(None, time_to_live=keep, delete_callback=Session.close)
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                names = list(self._samples)
                self.clip = gr.Dropdown(names, value=names[0] if names else None, label="Clip")
                most = f"{cfg.limits.megabytes:g} MB, {cfg.limits.seconds:g} s"
                self.file = gr.File(
                    label=f"Or upload a video (up to {most})",
                    file_types=sorted(VIDEO_SUFFIXES),
                    height=180,
                )
                self.file.preprocess = _path_of  # type: ignore[method-assign, assignment]
                self.model = gr.Dropdown([*models.paths], value=first, label="Model")
                with gr.Accordion("Settings", open=False):
                    memory, every = self._sliders(first)
                    self.memory = gr.Slider(0, step=1, label="Memory, frames (0: off)", **memory)
                    self.every = gr.Slider(1, step=1, label="Remember every n-th frame", **every)
                    self.precision = gr.Radio(
                        [(NUMBERS[name], name) for name in precisions],
                        value=str(cfg.precision),
                        label="Numbers of the network",
                    )
                self.start = gr.Button("Start", variant="primary")
            with gr.Column(scale=3, min_width=320):
                with gr.Row():
                    self.pause = gr.Button("Pause", interactive=False, min_width=80)
                    self.step = gr.Button("Step", interactive=False, min_width=80)
                    self.cancel = gr.Button("Cancel", min_width=80)
                    self.threshold = gr.Slider(
                        0.01,
                        0.999,
                        value=cfg.threshold,
                        step=0.001,
                        label="Threshold: polyp from this probability on",
                        scale=4,
                        min_width=280,
                    )
                self.live = gr.HTML(
                    OPENING,
                    html_template=(HERE / "live.html").read_text(),
                    js_on_load=None,
                )
                self.download = gr.Button("Download the result")
                self.file_made = gr.DownloadButton(visible="hidden", elem_id="made")

    def _connect(self) -> None:
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
        buttons = [self.pause, self.step]
        memory = [self.memory, self.every]
        self.blocks.load(self._opened, None, [self.kept, self.live], **quick)
        self.blocks.unload(self._left)
        uploaded = [self.kept, self.file, self.clip]
        self.file.upload(self._uploaded, [self.file], uploaded, concurrency_limit=None)
        self.model.input(self._model_picked, [self.model], memory, **quick)
        options = [self.clip, self.threshold, self.model, self.precision, *memory]
        shown = [self.kept, self.live, *buttons]
        started = self.start.click(self._play, options, shown, show_progress_on=self.live)
        self.pause.click(self._pause, None, buttons, **quick)
        self.step.click(self._step, None, buttons, **quick)
        self.cancel.click(self._cancel, None, shown, cancels=[started], **quick)
        self.threshold.input(
            self._set_threshold, [self.threshold], [self.live], trigger_mode="always_last", **quick
        )
        self.download.click(
            self._export, None, [self.kept, self.file_made], show_progress_on=self.live
        ).success(None, js="() => document.querySelector('#made').click()")

    # Events

    def _opened(self, request: gr.Request) -> tuple[Any, ...]:
        self._left(request)  # a page is opened once; what runs under its name ends
        for name, one in list(self._open.items()):  # other pages open meanwhile
            if one.closed:
                self._open.pop(name, None)
        session = self._open[_page_of(request)] = self._make_session()
        return session, self._shown(session)

    def _left(self, request: gr.Request) -> None:
        if (session := self._open.pop(_page_of(request), None)) is not None:
            session.close()

    def _session(self, request: gr.Request) -> Session:
        session = self._open.get(_page_of(request))
        if session is None or session.closed:
            raise _told("this page was deleted after a time without use; reload it")
        return session

    def _uploaded(self, file: str | None, request: gr.Request) -> tuple[Any, ...]:
        session = self._session(request)
        if file is None:
            return session, None, gr.skip()
        name = UPLOADED + Path(file).name
        try:
            session.take_upload(Path(file))
        except UserError as error:
            gr.Warning(str(error), duration=None, title="Not uploaded")
            return session, None, gr.skip()
        return session, None, gr.update(choices=[*self._samples, name], value=name)

    def _sliders(self, model: str) -> Iterator[dict[str, Any]]:
        """Yield the properties of the memory's sliders, as a model was trained."""
        _, settings = self._models.load(model)
        video, cfg = settings["video"], self._cfg
        ends = (("max_frames", 0, cfg.largest_memory), ("every", 1, cfg.largest_every))
        for name, least, largest in ends:
            value = video.get(name, least)
            known = name in video
            yield {"value": value, "maximum": max(value, largest), "interactive": known}

    def _model_picked(self, model: str) -> list[Any]:
        try:
            return [gr.update(**properties) for properties in self._sliders(model)]
        except UserError as error:
            raise _told(error) from error

    def _play(
        self,
        clip: str | None,
        threshold: float,
        model: str,
        precision: str,
        memory: float,
        every: float,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        session = self._session(request)
        source = self._samples.get(clip or "", session.upload)
        if source is None:
            raise _told("no clip is picked; pick one, or upload a video")
        session.set_threshold(threshold)
        try:
            play = session.start(source, Options(model, precision, int(memory), int(every)))
        except UserError as error:
            raise _told(error) from error
        seen, buttons = None, _buttons(play)
        try:
            while play.state not in ENDS:
                began = time.monotonic()
                now = play.state, len(play.peaks), play.unreadable, session.threshold
                if now != seen:
                    yield session, self._shown(session), *buttons
                    seen, buttons = now, (gr.skip(), gr.skip())
                pause = began + 1 / self._cfg.pictures_per_second - time.monotonic()
                time.sleep(max(0.0, pause))
        finally:  # also if nobody looks any more, so that no more than max_users run
            play.cancel()
        yield session, self._shown(session), *_buttons(play)

    def _shown(self, session: Session) -> dict[str, Any]:
        return self._view.show(session.play, session.point)

    def _pause(self, request: gr.Request) -> tuple[Any, ...]:
        play = self._session(request).play
        if play is not None:
            play.go() if play.paused else play.go(0)
        return _buttons(play)

    def _step(self, request: gr.Request) -> tuple[Any, ...]:
        play = self._session(request).play
        if play is not None:
            play.go(1)
        return _buttons(play)

    def _cancel(self, request: gr.Request) -> tuple[Any, ...]:
        session = self._session(request)
        session.cancel()
        return session, self._shown(session), *_buttons(session.play)

    def _set_threshold(self, threshold: float, request: gr.Request) -> Any:
        session = self._session(request)
        session.set_threshold(threshold)
        return gr.skip() if session.active else self._shown(session)

    def _export(
        self,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Session, str]:
        session = self._session(request)
        try:
            file = session.export(lambda done: progress(done, desc="Writing the download"))
        except UserError as error:
            raise _told(error) from error
        return session, str(file)


def _path_of(upload: FileData | None) -> str | None:
    """Return the path of an uploaded file; Gradio's own function leaves an empty file each time."""
    return None if upload is None else upload.path


def _page_of(request: gr.Request) -> str:
    return request.session_hash or ""


def _buttons(play: Play | None) -> tuple[Any, Any]:
    """Pause and step as they fit a run."""
    active = play is not None and play.state not in ENDS
    paused = active and play is not None and play.paused
    return (
        gr.update(value="Continue" if paused else "Pause", interactive=active),
        gr.update(interactive=active),
    )


def _told(error: UserError | str) -> gr.Error:
    return gr.Error(str(error), duration=None, print_exception=False)
