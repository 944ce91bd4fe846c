"""The floor of any answer: an endpoint that does nothing, served as the node is served."""

import sys

import uvicorn
from fastapi import FastAPI, Request

app = FastAPI()


@app.get("/")
async def nothing() -> dict[str, bool]:
    """A small JSON."""
    return {"ok": True}


@app.post("/")
async def taken(request: Request) -> dict[str, bool]:
    """The same, for a body that is received and not looked at."""
    await request.body()
    return {"ok": True}


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
    )
