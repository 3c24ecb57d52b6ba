"""FastAPI and Uvicorn on two cores, written by hand.

TODO
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
