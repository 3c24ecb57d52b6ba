"""The tutorial's app that this project began as, rewritten: Keras in eager mode, Flask, one route."""

import numpy as np
from flask import Flask, jsonify, request
from keras.applications.mobilenet_v2 import MobileNetV2, decode_predictions
from PIL import Image

app = Flask(__name__)
model = MobileNetV2(weights="imagenet")


@app.get("/")
def index():
    return jsonify(outcome="endpoint working successfully")


@app.post("/inference")
def inference():
    image = Image.open(request.files["image"]).convert("RGB").resize((224, 224))
    batch = np.asarray(image, dtype=np.float32)[np.newaxis] / 255
    (best,) = decode_predictions(model(batch, training=False).numpy(), top=5)
    return jsonify({name: float(score) for _, name, score in best})
