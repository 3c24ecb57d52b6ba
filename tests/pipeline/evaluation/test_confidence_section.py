"""The model card and the terminal say what was measured of confidence, and what was not."""

from typing import Any

import pytest

from pipeline.evaluation.confidence_section import confidence_lines, confidence_summary

ERROR = {"value": 0.0224, "interval": [0.011, 0.035], "if_calibrated": 0.026}
UNCALIBRATED = {"value": 0.156, "interval": [0.137, 0.175], "if_calibrated": 0.02}
GROUP = {"images": 20, "auroc": 0.9345, "interval": [0.9, 0.957], "unfamiliar_share": 0.667}
FOREIGN = {
    "source": "built in",
    "unreadable": {"files": 0, "first": []},
    "groups": {"letters": GROUP},
    "all": GROUP | {"images": 30, "auroc": 0.959},
}
ROWS = [
    {
        "threshold": 0.5,
        "answered": 0.94,
        "answered_interval": [0.92, 0.955],
        "accuracy": 0.928,
        "accuracy_interval": [0.906, 0.944],
    },
    {
        "threshold": 0.95,
        "answered": 0.0,
        "answered_interval": [0.0, 0.01],
        "accuracy": None,
        "accuracy_interval": None,
    },
]
WHOLE: dict[str, Any] = {
    "temperature": 0.659,
    "images": 236,
    "calibration_error": ERROR,
    "uncalibrated_error": UNCALIBRATED,
    "label_sets": [
        {
            "level": 0.9,
            "coverage": 0.932,
            "coverage_interval": [0.91, 0.95],
            "mean_size": 1.1,
            "above_threshold": 0.92,
            "band": [0.86, 0.94],
        }
    ],
    "abstention": ROWS,
    "familiar": {"threshold": 5.852, "unfamiliar_share": 0.048, "foreign": FOREIGN},
}


def card(**changed: Any) -> str:  # noqa: ANN401  (JSON)
    return "\n".join(confidence_lines(WHOLE | changed))


def familiar(**changed: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON)
    return {"familiar": WHOLE["familiar"] | changed}


@pytest.mark.parametrize(
    "text",
    [
        "![Reliability diagram](reliability.png)",
        "a temperature of 0.659, fitted on 236 validation images",
        "15.6 % (13.7 to 17.5 %)",
        "2.2 % (1.1 to 3.5 %)",
        "| 90% | 93.2 % (91.0 to 95.0 %) | 1.10 |",
        "`GOLDFISH_ABSTAIN_BELOW`",
        "| 0.5 | 94.0 % (92.0 to 95.5 %) | 92.8 % (90.6 to 94.4 %) |",
        "| 0.95 | 0.0 % (0.0 to 1.0 %) |  |",
        "energy below 5.852 are called unfamiliar: 4.8 % of the test images",
        "Foreign images (built in)",
        "| `letters` | 20 | 0.934 | 0.900 to 0.957 | 66.7 % |",
        "| all | 30 | 0.959 | 0.900 to 0.957 | 66.7 % |",
    ],
)
def test_what_was_measured_is_on_the_card(text: str) -> None:
    assert text in card()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"temperature": None, "images": 40}, "No temperature was fitted: 40 validation images are too few."),
        (
            {"temperature": 1.0},
            "The temperature is 1: on 236 validation images none was significantly better.",
        ),
        ({"label_sets": []}, "Label sets: no guarantee"),
        ({"familiar": None}, "not recognised, for the model does not end in a softmax"),
        (familiar(threshold=None, unfamiliar_share=None), "no threshold, for there are too few"),
        (familiar(foreign=None), "was not measured: there are none in `data/foreign/`"),
        (
            familiar(foreign=FOREIGN | {"source": "data/foreign/x", "all": None}),
            "was not measured: `data/foreign/x` has none",
        ),
        (
            familiar(foreign=FOREIGN | {"unreadable": {"files": 7, "first": ["a|b.txt"]}}),
            "No images that the server decodes: `a¦b.txt` and 6 more.",
        ),
    ],
)
def test_what_is_absent_is_said_to_be_absent(changed: dict[str, Any], text: str) -> None:
    assert text in card(**changed)


def test_the_line_on_the_terminal() -> None:
    assert confidence_summary(WHOLE) == (
        "calibration error 2.2% (15.6% before a temperature of 0.659), sets of 90% have 93.2%, "
        "AUROC of 30 foreign images 0.959"
    )
    few = WHOLE | {"temperature": None, "label_sets": [], "familiar": None}
    assert confidence_summary(few) == "calibration error 2.2%"
