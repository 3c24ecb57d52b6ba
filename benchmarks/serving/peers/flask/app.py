"""Flask and Gunicorn on two cores, as people write it by hand: the plain `gthread` app.

Gunicorn's documentation recommends to begin with (2 x cores) + 1 workers, and 2 to 4 threads for each core.
Also tried: one, two and four workers with four threads, two with two, and five with eight. On a busy machine
all took about as much CPU time for a request.
"""

from typing import Any

from classifier import Classifier
from flask import Flask, request

app = Flask(__name__)
classifier = Classifier()


@app.post("/predict")
def predict() -> list[dict[str, Any]]:
    return classifier.top(request.files["image"].read())
