"""FastAPI and Uvicorn on two cores, as people write it by hand.

Its documentation recommends several worker processes on several cores, `def` for functions that block, which
run in a thread pool, a lifespan function that loads the model, and `UploadFile` for files of a form. Defaults
are left as they are: 40 threads in each worker, and a log line for each request. Also tried: one worker, an
`async def` function, and the photo as the body, which on a busy machine took about as much CPU time for a
request; five workers, which took more with 64 clients.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from classifier import Classifier
from fastapi import FastAPI, UploadFile

models: dict[str, Classifier] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    models["classifier"] = Classifier()
    yield
    models.clear()


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
def predict(image: UploadFile) -> list[dict[str, Any]]:
    return models["classifier"].top(image.file.read())
