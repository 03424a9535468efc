"""Users of the web app, without a browser."""

import json
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

_PATIENCE = 600.0
"""Seconds that a user waits for an answer: others may be in the line."""


class User(threading.Thread):
    """Opens the page, uploads a video, runs it, takes the download, and leaves; again and again.

    Args:
        url: Address of the page.
        videos: The uploads, one for each visit.
    """

    def __init__(self, url: str, videos: list[Path]) -> None:
        super().__init__(daemon=True)
        self.failures: list[str] = []
        self.done = 0
        self._url, self._videos = url.rstrip("/"), videos

    def run(self) -> None:
        for video in self._videos:
            try:
                self._visit(video)
                self.done += 1
            except (httpx.HTTPError, RuntimeError, KeyError, StopIteration) as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    def _visit(self, video: Path) -> None:
        page = secrets.token_hex(6)
        with httpx.Client(base_url=self._url, timeout=_PATIENCE) as client:
            config = client.get("/config").json()
            ask = {one["api_name"]: one["id"] for one in config["dependencies"]}
            gone = threading.Event()
            presence = threading.Thread(target=self._stay, args=(page, gone), daemon=True)
            presence.start()
            try:
                self._event(client, page, ask["_opened"], [])
                files = {"files": (video.name, video.read_bytes())}
                (stored,) = client.post("/gradio_api/upload", files=files).json()
                given = {"path": stored, "meta": {"_type": "gradio.FileData"}}
                shown = self._event(client, page, ask["_uploaded"], [given])
                clip = shown[2]["value"]
                model = next(c for c in config["components"] if c["props"].get("label") == "Model")
                options = [clip, 0.5, model["props"]["value"], "32", 5, 5]
                self._event(client, page, ask["_play"], options)
                self._event(client, page, ask["_export"], [])
            finally:
                gone.set()
                presence.join()

    def _stay(self, page: str, gone: threading.Event) -> None:
        """Keep the connection open by which the server knows that a page is there."""
        address = f"{self._url}/gradio_api/heartbeat/{page}"
        with httpx.stream("GET", address, timeout=_PATIENCE) as answer:
            for _ in answer.iter_raw():
                if gone.is_set():
                    return

    def _event(self, client: httpx.Client, page: str, number: int, data: list[Any]) -> list[Any]:
        """Send an event of the page and return its last output."""
        asked = {"data": data, "fn_index": number, "session_hash": page, "trigger_id": None}
        joined = client.post("/gradio_api/queue/join", json=asked)
        if joined.status_code != 200:
            raise RuntimeError(f"{joined.status_code}: {joined.text}")
        for message in self._messages(client, page):
            if message["msg"] == "process_completed":
                if not message["success"]:
                    raise RuntimeError(str(message["output"]))
                return message["output"].get("data", [])
        raise RuntimeError("the server closed the connection before the end")

    def _messages(self, client: httpx.Client, page: str) -> Iterator[dict[str, Any]]:
        address = f"/gradio_api/queue/data?session_hash={page}"
        with client.stream("GET", address) as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])
