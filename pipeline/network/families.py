"""The networks of keras.applications: input size, scaling of pixels, and the file of ImageNet weights.

Taken from the source of Keras 3.15; a test compares the files with what Keras asks for. It states neither the
crop nor the filter that the photos of each family were resized with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# How pixels from 0 to 255 are scaled. `caffe` also reverses the channels; `inside`: by the network itself.
Scaling = Literal["[-1, 1]", "caffe", "torch", "inside"]
# Factor and offset for red, green and blue.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALINGS: dict[str, tuple[float | list[float], float | list[float]]] = {
    "[-1, 1]": (1 / 127.5, -1),
    "caffe": (1.0, [-123.68, -116.779, -103.939]),
    "torch": (
        [1 / (255 * std) for std in STD],
        [-mean / std for mean, std in zip(MEAN, STD, strict=True)],
    ),
}
BUCKET = "https://storage.googleapis.com/tensorflow/keras-applications/"
KERNELS = "_weights_tf_dim_ordering_tf_kernels.h5"


@dataclass(frozen=True)
class Family:
    """A function of keras.applications.

    `size` is that of its ImageNet model, `weights` the URL of its file, `alphas` the published widths.
    `hashes` are MD5 or SHA-256 that Keras states for the files, by width; empty if it states none.
    """

    size: int
    scaling: Scaling
    weights: str
    hashes: Mapping[float | None, str] = field(default_factory=dict)
    alphas: tuple[float, ...] = ()
    min_size: int = 32
    # The name in Keras's cache, if it is not that of the URL.
    cached_as: str = ""
    divides_by_std_twice: bool = False

    def url(self, alpha: float | None) -> str:
        """The URL of the weights with this width."""
        # MobileNet's own way of writing widths.
        width = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}.get(alpha or 0, "")
        return self.weights.format(alpha=alpha, width=width)


def _same(file_hash: str, scaling: Scaling, weights: str, size: int = 224, min_size: int = 32) -> Family:
    """A family whose weights are one file."""
    return Family(size, scaling, BUCKET + weights, {None: file_hash}, min_size=min_size)


def _efficientnet(number: int, size: int, file_hash: str) -> Family:
    url = f"https://storage.googleapis.com/keras-applications/efficientnetb{number}.h5"
    return Family(size, "inside", url, {None: file_hash}, divides_by_std_twice=True)


def _nasnet(name: str, size: int, file_hash: str) -> Family:
    url, cached_as = f"{BUCKET}nasnet/NASNet-{name}.h5", f"nasnet_{name}.h5"
    return Family(size, "[-1, 1]", url, {None: file_hash}, cached_as=cached_as)


def _mobilenet_v3(name: str, hashes: Mapping[float | None, str]) -> Family:
    url = f"{BUCKET}mobilenet_v3/weights_mobilenet_v3_{name}_224_{{alpha}}_float.h5"
    return Family(224, "inside", url, hashes, (0.75, 1.0))


FAMILIES: dict[str, Family] = {
    "MobileNetV2": Family(
        224,
        "[-1, 1]",
        BUCKET + "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224.h5",
        alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    ),
    "MobileNet": Family(
        224, "[-1, 1]", BUCKET + "mobilenet/mobilenet_{width}_224_tf.h5", alphas=(0.25, 0.5, 0.75, 1.0)
    ),
    "MobileNetV3Small": _mobilenet_v3(
        "small", {0.75: "cb65d4e5be93758266aa0a7f2c6708b7", 1.0: "8768d4c2e7dee89b9d02b2d03d65d862"}
    ),
    "MobileNetV3Large": _mobilenet_v3(
        "large", {0.75: "765b44a33ad4005b3ac83185abf1d0eb", 1.0: "59e551e166be033d707958cf9e29a6a7"}
    ),
    "EfficientNetB0": _efficientnet(0, 224, "902e53a9f72be733fc0bcb005b3ebbac"),
    "EfficientNetB1": _efficientnet(1, 240, "1d254153d4ab51201f1646940f018540"),
    "EfficientNetB2": _efficientnet(2, 260, "b15cce36ff4dcbd00b6dd88e7857a6ad"),
    "EfficientNetB3": _efficientnet(3, 300, "ffd1fdc53d0ce67064dc6a9c7960ede0"),
    "EfficientNetB4": _efficientnet(4, 380, "18c95ad55216b8f92d7e70b3a046e2fc"),
    "EfficientNetB5": _efficientnet(5, 456, "ace28f2a6363774853a83a0b21b9421a"),
    "EfficientNetB6": _efficientnet(6, 528, "165f6e37dce68623721b423839de8be5"),
    "EfficientNetB7": _efficientnet(7, 600, "8c03f828fec3ef71311cd463b6759d99"),
    **{
        f"EfficientNetV2{name.upper()}": _same(
            file_hash, "inside", f"efficientnet_v2/efficientnetv2-{name}.h5", size
        )
        for name, size, file_hash in [
            ("b0", 224, "21ecbf6da12460d5c40bb2f29ceb2188"),
            ("b1", 240, "069f0534ff22adf035c89e2d9547a9dc"),
            ("b2", 260, "424e49f28180edbde1e94797771950a7"),
            ("b3", 300, "1f1fc43bd98a6e4fd8fdfd551e02c7a0"),
            ("s", 384, "e1d88a8495beba45748fedd0cecbe016"),
            ("m", 480, "a3bf6aa3276309f4fc6a34aa114c95cd"),
            ("l", 480, "27e6d408b53c7ebc868fefa357689935"),
        ]
    },
    **{
        f"ResNet{name}": _same(
            file_hash, "[-1, 1]" if name.endswith("V2") else "caffe", f"resnet/resnet{name.lower()}{KERNELS}"
        )
        for name, file_hash in [
            ("50", "2cb95161c43110f7111970584f804107"),
            ("101", "f1aeb4b969a6efcfb50fad2f0c20cfc5"),
            ("152", "100835be76be38e30d865e96f2aaae62"),
            ("50V2", "3ef43a0b657b3be2300d5770ece849e0"),
            ("101V2", "6343647c601c52e1368623803854d971"),
            ("152V2", "a49b44d1979771252814e80f8ec446f9"),
        ]
    },
    **{
        f"DenseNet{depth}": _same(file_hash, "torch", f"densenet/densenet{depth}{KERNELS}")
        for depth, file_hash in [
            (121, "9d60b8095a5708f2dcce2bca79d332c7"),
            (169, "d699b8f76981ab1b30698df4c175e90b"),
            (201, "1ceb130c1ea1b78c3bf6114dbdfd8807"),
        ]
    },
    "Xception": _same(
        "0a58e3b7378bc2990ea3b43d5981f1f6", "[-1, 1]", f"xception/xception{KERNELS}", 299, min_size=71
    ),
    "InceptionV3": _same(
        "9a0d58056eeedaa3f26cb7ebd46da564", "[-1, 1]", f"inception_v3/inception_v3{KERNELS}", 299, min_size=75
    ),
    "InceptionResNetV2": _same(
        "e693bd0210a403b3192acc6073ad2e96",
        "[-1, 1]",
        f"inception_resnet_v2/inception_resnet_v2{KERNELS}",
        299,
        min_size=75,
    ),
    "NASNetMobile": _nasnet("mobile", 224, "020fb642bf7360b370c678b08e0adf61"),
    "NASNetLarge": _nasnet("large", 331, "11577c9a518f0070763c2b964a382f17"),
    **{
        f"ConvNeXt{name}": _same(file_hash, "inside", f"convnext/convnext_{name.lower()}.h5")
        for name, file_hash in [
            ("Tiny", "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff"),
            ("Small", "ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c"),
            ("Base", "52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6"),
            ("Large", "070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6"),
            ("XLarge", "c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee"),
        ]
    },
    "VGG16": _same("64373286793e3c8b2b4e3219cbf3544b", "caffe", f"vgg16/vgg16{KERNELS}"),
    "VGG19": _same("cbe5617147190e668d6c5d5026f83318", "caffe", f"vgg19/vgg19{KERNELS}"),
}
