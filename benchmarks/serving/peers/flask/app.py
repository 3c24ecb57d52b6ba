"""Flask and Gunicorn on two cores, written by hand.

TODO
"""

from typing import Any

from classifier import Classifier
from flask import Flask, request

app = Flask(__name__)
classifier = Classifier()


@app.post("/predict")
def predict() -> list[dict[str, Any]]:
    return classifier.top(request.files["image"].read())
