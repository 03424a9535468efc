"""What the page's script asks the server for, beside Gradio's own routes."""

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, JSONResponse

from sali.app.sessions import Sessions
from sali.errors import ConfigError, UserError

PATIENCE = 2.0
"""Seconds that a question for news stays open."""
GONE, UNFIT = 410, 409


def make_router(sessions: Sessions, capacity: int) -> APIRouter:
    """Routes below ``/live``.

    Args:
        sessions: open pages.
        capacity: pages that may wait for news at once, each in a thread.
    """
    router = APIRouter(prefix="/live/{token}")
    waiting = CapacityLimiter(capacity)
    writing = CapacityLimiter(capacity)

    @router.get("/news")
    async def news(token: str, after: int) -> Response:
        try:
            session = sessions.get(token)
        except ConfigError as error:
            return JSONResponse({"message": str(error)}, GONE)
        told = await to_thread.run_sync(session.news, after, PATIENCE, limiter=waiting)
        return JSONResponse(told, headers={"Cache-Control": "no-store"})

    @router.post("/export")
    async def export(token: str) -> Response:
        try:
            session = sessions.get(token)
            file = await to_thread.run_sync(session.export, limiter=writing)
        except UserError as error:
            return JSONResponse({"message": str(error)}, UNFIT)
        return JSONResponse({"file": f"{file.parent.name}/{file.name}"})

    @router.get("/{folder}/{name}")
    def download(token: str, folder: str, name: str) -> Response:
        try:
            home = sessions.get(token).folder
        except ConfigError as error:
            return JSONResponse({"message": str(error)}, GONE)
        ready = {f"{p.parent.name}/{p.name}": p for p in home.glob("result_*/*.zip")}
        file = ready.get(f"{folder}/{name}")
        if file is None:
            return JSONResponse({"message": "the result is gone; run again"}, GONE)
        return FileResponse(file, filename=name, headers={"Cache-Control": "no-store"})

    @router.post("/close")
    async def close(token: str) -> Response:
        await to_thread.run_sync(sessions.close, token, limiter=writing)
        return Response(status_code=204)

    return router
